//! `tidegate subscription`: subscriptions over HTTP.

mod create;
mod delete;
mod explain;
mod fields;
mod get;
mod list;
mod update;
mod view;

use super::failure::Failure;

/// A command on subscriptions.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription create --filter '{\"type\": \"transfer\", \"data.amount\": {\"$gte\": 1000}}'
  tidegate subscription list --status active
  tidegate subscription update large --status paused
  tidegate subscription delete large

Any other program can write the same documents to the collection `subscriptions`.";

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Create a subscription, or replace the one with your id
    Create(create::Args),
    /// List subscriptions
    List(list::Args),
    /// Show one subscription
    Get(get::Args),
    /// Change some fields of a subscription; its connections stay open
    Update(update::Args),
    /// Delete subscriptions and close their connections
    Delete(delete::Args),
    /// Show why an event matches a subscription, or does not
    Explain(explain::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Update(args) => update::run(args).await,
        Command::Delete(args) => delete::run(args).await,
        Command::Explain(args) => explain::run(args).await,
    }
}
