//! `tidegate subscription get`.

use reqwest::Method;

use super::view;
use crate::cli::{
    client::{Client, ServerArgs, path_id},
    failure::Failure,
};

/// One subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// Print it as one line of JSON
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
    let client = Client::new(&args.server)?;
    let request = client.request(Method::GET, &["subscriptions", &args.id]);
    let (_, subscription) = client.call(request).await?;
    view::print_warnings(&subscription);
    view::print_one(&subscription, args.json)
}
