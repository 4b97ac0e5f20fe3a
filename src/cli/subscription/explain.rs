//! `tidegate subscription explain`: whether a subscription matches an event, and why.

use reqwest::Method;
use serde_json::json;

use crate::cli::{
    answers::{self, verdict},
    failure::Failure,
    json_argument,
    server::{ServerArgs, call, path_id},
    style,
};

/// One event against one subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// The event as it would be stored: a JSON object, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    event: String,
    /// Print the service's answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription explain large --event '{\"type\": \"transfer\", \"data\": {\"amount\": 5}}'
  tidegate subscription explain large --event @event.json --json | jq .matches";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let event = json_argument::parse_object("--event", &args.event)?;
    let client = args.server.client()?;
    let request = client.request(Method::POST, &["subscriptions", &args.id, "match"]);
    let request = request.json(&json!({"event": event}));
    let answer = call(&client, request).await?.body;
    if args.json {
        return style::print_json(answer);
    }
    if answer["status"] == "paused" {
        style::warn("the subscription is paused: nothing is delivered now");
    }
    let tree = answers::tree(&answer["explain"], "#/filter", 0);
    style::print(format!("{}\n{tree}", verdict(&answer)).trim_end())
}
