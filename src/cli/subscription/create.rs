//! `tidegate subscription create`.

use reqwest::{Method, StatusCode};

use super::{fields::Fields, view};
use crate::cli::{
    answers::print_warnings,
    failure::Failure,
    server::{ServerArgs, call, path_id},
    style,
};

/// A new subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// An id you choose: creates the subscription, or replaces the one with this id
    #[arg(long, value_name = "ID", value_parser = path_id)]
    id: Option<String>,
    /// The events to match: a MongoDB query as JSON, @FILE, or - for standard input; {} matches all
    #[arg(long, value_name = "JSON")]
    filter: String,
    #[command(flatten)]
    fields: Fields,
    /// Print the subscription as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription create --name 'large transfers' \\
      --filter '{\"type\": \"transfer\", \"data.amount\": {\"$gte\": 1000}}'
  tidegate subscription create --id everything --filter '{}' --expires-at 2h
  tidegate subscription create --durable --filter @filter.json
  ID=$(tidegate subscription create --filter '{\"type\": \"transfer\"}' --json | jq -r .id)";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let request = match &args.id {
        Some(id) => client.request(Method::PUT, &["subscriptions", id]),
        None => client.request(Method::POST, &["subscriptions"]),
    };
    let body = args.fields.with_filter(Some(&args.filter))?;
    let created = call(&client, request.json(&body)).await?;
    print_warnings(&created.body);
    if !args.json {
        style::note(match created.status {
            StatusCode::CREATED => "created",
            _ => "replaced",
        });
    }
    view::print_one(&created.body, args.json)
}
