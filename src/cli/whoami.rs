//! `tidegate whoami`: who the key or token makes its holder, as the service sees it.

use reqwest::Method;
use serde_json::Value;

use super::{
    answers::plain,
    failure::Failure,
    server::{ServerArgs, call},
    style,
};

/// The caller.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the service's answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate whoami
  tidegate whoami --token-file token.txt --json | jq -r .tenant

The key or token in TIDEGATE_TOKEN, or in the file, is presented to the service, and not shown.
A line that is missing says that there is none: without a tenant the caller is an operator.
Exit code 1 if it does not stand.";

/// The fields of the answer, in the order of the lines.
const FIELDS: [&str; 7] = [
    "kind",
    "id",
    "owner",
    "tenant",
    "scopes",
    "policy",
    "expiresAt",
];

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let request = client.request(Method::GET, &["whoami"]);
    let caller = call(&client, request).await?.body;
    if args.json {
        return style::print_json(&caller);
    }
    for field in FIELDS {
        if let Some(shown) = shown(&caller[field]) {
            style::print(format!("{field:10}{shown}"))?;
        }
    }
    Ok(())
}

/// Returns a value as a line shows it; `None` if there is none.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => Some(values.iter().map(plain).collect::<Vec<_>>().join(" ")),
        value => Some(plain(value)),
    }
}
