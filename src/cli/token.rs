//! `tidegate token`: says which check refuses a token, and takes tokens away, straight on the database.

mod check;
mod revoke;

use super::failure::Failure;

/// Tokens of issuers.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Say which check refuses a token, or what it gives
    Check(check::Args),
    /// Take tokens away before their end: their sockets close on every node
    Revoke(revoke::Args),
}

const EXAMPLES: &str = "\
Examples:
  tidegate token check --config tidegate.toml --token-file token.txt
  tidegate token revoke --sub 42 --reason 'has left'";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Check(args) => check::run(args).await,
        Action::Revoke(args) => revoke::run(args).await,
    }
}
