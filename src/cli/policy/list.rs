//! `tidegate policy list`.

use reqwest::Method;
use serde_json::Value;

use crate::cli::{
    answers::plain,
    failure::Failure,
    server::{ServerArgs, call},
    style::{self, BAD, GOOD, WARN, paint},
};

/// All policies.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one line of JSON per policy
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy list
  tidegate policy list --json | jq -r 'select(.error).id'";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut cursor: Option<String> = None;
    let mut any = false;
    loop {
        let request = client.request(Method::GET, &["policies"]);
        let request = request.query(&[("cursor", cursor.as_deref())]);
        let page = call(&client, request).await?.body;
        for policy in page["items"].as_array().into_iter().flatten() {
            any = true;
            if args.json {
                style::print_json(policy)?;
            } else {
                style::print(row(policy))?;
            }
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if !args.json && !any {
        style::note("no policies");
    }
    Ok(())
}

fn row(policy: &Value) -> String {
    let warnings = policy["warnings"].as_array().map_or(0, Vec::len);
    let state = match (policy["error"].is_object(), warnings) {
        (true, _) => paint(BAD, "broken"),
        (false, 0) => paint(GOOD, "sound"),
        (false, 1) => paint(WARN, "1 warning"),
        (false, many) => paint(WARN, format!("{many} warnings")),
    };
    format!(
        "{}  {state}  {}",
        plain(&policy["id"]),
        plain(&policy["read"])
    )
}
