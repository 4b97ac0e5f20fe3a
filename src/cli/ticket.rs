//! `tidegate ticket`: makes a ticket, with which a browser opens one stream.

use reqwest::Method;
use serde_json::json;

use super::{
    failure::Failure,
    server::{ServerArgs, call, path_id},
    style,
};

/// The subscriptions of a ticket.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription (repeatable)
    #[arg(required = true, value_parser = path_id)]
    ids: Vec<String>,
    /// Print the ticket, its address and its end as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate ticket large
  tidegate ticket large --json | jq -r .url

A ticket opens one stream, within 30 s (the service's setting tickets.lifetime), with what the key or token
that made it may do. It goes to standard output, and its end to standard error.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let body = match args.ids.as_slice() {
        [id] => json!({"subscription": id}),
        ids => json!({"subscriptions": ids}),
    };
    let request = client.request(Method::POST, &["tickets"]).json(&body);
    let ticket = call(&client, request).await?.body;
    if args.json {
        return style::print_json(&ticket);
    }
    let end = ticket["expiresAt"].as_str().unwrap_or("");
    style::note(format!("it can be used until {}", style::printable(end)));
    style::print(style::printable(ticket["ticket"].as_str().unwrap_or("")))
}
