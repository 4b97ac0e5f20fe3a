//! `tidegate subscription list`.

use reqwest::Method;
use serde_json::Value;

use super::view::Table;
use crate::{
    cli::{
        failure::Failure,
        server::{ServerArgs, call},
        style,
    },
    client::Client,
};

/// The size of a page.
const PAGE: usize = 100;

/// A selection of subscriptions.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only subscriptions with this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only subscriptions with this name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// At most this many [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print one line of JSON per subscription
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Status {
    Active,
    Paused,
    Invalid,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription list
  tidegate subscription list --status invalid --json | jq -r '.id + \": \" + .error'
  tidegate subscription list --limit 10";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut table = Table::new();
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut cursor = None;
    while left > 0 {
        let page = page(&client, &args, left, cursor.as_deref()).await?;
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        let items = &items[..items.len().min(left)];
        left -= items.len();
        if args.json {
            items.iter().try_for_each(style::print_json)?;
        } else {
            table.print(items)?;
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if !args.json && table.is_empty() {
        style::note("no subscriptions");
    }
    Ok(())
}

async fn page(
    client: &Client,
    args: &Args,
    left: usize,
    cursor: Option<&str>,
) -> Result<Value, Failure> {
    let status = args.status.map(|status| match status {
        Status::Active => "active",
        Status::Paused => "paused",
        Status::Invalid => "invalid",
    });
    let request = client
        .request(Method::GET, &["subscriptions"])
        .query(&[("limit", left.min(PAGE))])
        .query(&[
            ("status", status),
            ("name", args.name.as_deref()),
            ("cursor", cursor),
        ]);
    Ok(call(client, request).await?.body)
}
