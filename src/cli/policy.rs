//! `tidegate policy`: row policies over HTTP.

mod delete;
mod get;
mod list;
mod set;
mod test;

use super::failure::Failure;

/// A command on row policies.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy set default policy.json
  tidegate policy get default
  tidegate policy test default --claims '{\"tenant\": \"acme\"}' --event @event.json
  tidegate policy delete default

The scope is admin: TIDEGATE_TOKEN has an operator's key.";

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Store a policy, or replace the one of that name
    Set(set::Args),
    /// List policies
    List(list::Args),
    /// Show a policy
    Get(get::Args),
    /// Show whether a caller would receive an event, and why
    Test(test::Args),
    /// Delete policies: the connections that they narrow end
    Delete(delete::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Set(args) => set::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Test(args) => test::run(args).await,
        Command::Delete(args) => delete::run(args).await,
    }
}
