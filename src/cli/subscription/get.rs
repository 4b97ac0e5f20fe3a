//! `tidegate subscription get`.

use reqwest::Method;

use super::view;
use crate::cli::{
    answers::print_warnings,
    failure::Failure,
    server::{ServerArgs, call, path_id},
};

/// One subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// Print the subscription as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription get large
  tidegate subscription get large --json | jq .filter";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let request = client.request(Method::GET, &["subscriptions", &args.id]);
    let subscription = call(&client, request).await?.body;
    print_warnings(&subscription);
    view::print_one(&subscription, args.json)
}
