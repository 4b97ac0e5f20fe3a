//! `tidegate policy set`.

use reqwest::{Method, StatusCode};

use crate::cli::{
    answers::print_warnings,
    failure::Failure,
    json_argument,
    server::{ServerArgs, call, path_id},
    style,
};

/// A policy to store.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the policy
    #[arg(value_parser = path_id)]
    name: String,
    /// The file with the policy as JSON, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Print the service's answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy set default policy.json
  echo '{\"read\": {\"tenant\": \"$claims.tenant\"}}' | tidegate policy set default -

Warnings go to standard error. What cannot be used is refused, and nothing is stored.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let from = match &*args.file {
        "-" => "-".to_owned(),
        path => format!("@{path}"),
    };
    let policy = json_argument::parse_object("FILE", &from)?;
    let client = args.server.client()?;
    let request = client.request(Method::PUT, &["policies", &args.name]);
    let stored = call(&client, request.json(&policy)).await?;
    print_warnings(&stored.body);
    if args.json {
        return style::print_json(stored.body);
    }
    style::note(match stored.status {
        StatusCode::CREATED => format!("created {}", args.name),
        _ => format!("replaced {}", args.name),
    });
    Ok(())
}
