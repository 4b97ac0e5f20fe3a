//! `tidegate policy get`.

use reqwest::Method;

use crate::cli::{
    answers::print_warnings,
    failure::Failure,
    server::{ServerArgs, call, path_id},
    style,
};

/// One policy.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the policy
    #[arg(value_parser = path_id)]
    name: String,
    /// Print the service's answer as one line of JSON, with `warnings`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy get default
  tidegate policy get default > policy.json

What it prints can be stored again with `policy set`. Warnings go to standard error.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let request = client.request(Method::GET, &["policies", &args.name]);
    let mut policy = call(&client, request).await?.body;
    if args.json {
        return style::print_json(policy);
    }
    print_warnings(&policy);
    if let (Some(pointer), Some(detail)) = (
        policy["error"]["pointer"].as_str(),
        policy["error"]["detail"].as_str(),
    ) {
        let text = format!("{pointer} {detail}: the policy grants nothing");
        style::warn(style::printable(&text));
    }
    if let Some(fields) = policy.as_object_mut() {
        fields.retain(|name, _| !["id", "warnings", "error"].contains(&name.as_str()));
    }
    style::print(format!("{policy:#}"))
}
