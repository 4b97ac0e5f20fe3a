//! The command line, one file a command: arguments in, an exit code out.
//!
//! `dev`, `serve`, `migrate`, `doctor`, `key` and `token` take a configuration and work on the database. The others are
//! clients, and so is `key` with `--server`: they know a running service by its address alone.

mod answers;
mod bench;
mod descriptors;
mod dev;
mod doctor;
mod failure;
mod json_argument;
mod key;
mod listen;
mod migrate;
mod node;
mod policy;
mod publish;
mod serve;
mod server;
mod settings;
mod signals;
mod style;
mod subscription;
mod ticket;
mod time_argument;
mod token;
mod whoami;

use clap::{
    Parser as _,
    error::{ContextKind, ContextValue},
};

pub use failure::Failure;
pub use style::error;

/// The program's arguments.
#[derive(clap::Parser, Debug)]
#[command(name = "tidegate", version, about, styles = style::HELP, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate dev
  tidegate subscription create --id demo --filter '{\"type\": \"demo\"}'
  tidegate listen demo
  tidegate publish --type demo --data '{\"n\": 1}'

Each command has its own --help, with examples. Exit codes: 0 done; 1 failed; 2 wrong usage;
64 bad configuration; 69 database not reachable. `listen` has two more.";

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Run everything on this machine: a private mongod and the service
    Dev(dev::Args),
    /// Run the service on your MongoDB
    Serve(serve::Args),
    /// Bring a database to the state this version needs
    Migrate(migrate::Args),
    /// Check a database, and say what to fix
    Doctor(doctor::Args),
    /// Make, list and revoke API keys
    Key(key::Args),
    /// Check tokens of issuers, and revoke them
    Token(token::Args),
    /// Create, list, show, change, delete and explain subscriptions
    Subscription(subscription::Args),
    /// Store, list, show, delete and try row policies
    Policy(policy::Args),
    /// Show who a key or token makes its holder, and what it may do
    Whoami(whoami::Args),
    /// Make a ticket, with which a browser opens one stream
    Ticket(ticket::Args),
    /// Publish one event, or many from a file or standard input
    Publish(publish::Args),
    /// Print a subscription's events
    Listen(listen::Args),
    /// Measure a running service under load
    Bench(bench::Args),
}

/// Parses the arguments of this process, and ends it if they make no sense. A connection string, a key or a token in the
/// wrong place is not repeated.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let secret = |value: &ContextValue| {
            let text = value.to_string();
            let is_credential = text.starts_with("tgk_") || text.starts_with("eyJ");
            is_credential || (text.contains("://") && text.contains('@'))
        };
        for kind in [
            ContextKind::InvalidArg,
            ContextKind::InvalidValue,
            ContextKind::Suggested,
        ] {
            if error.get(kind).is_some_and(secret) {
                error.remove(kind);
            }
        }
        error.exit()
    })
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Key(args) => key::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Subscription(args) => subscription::run(args).await,
            Command::Policy(args) => policy::run(args).await,
            Command::Whoami(args) => whoami::run(args).await,
            Command::Ticket(args) => ticket::run(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Listen(args) => listen::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    }
}
