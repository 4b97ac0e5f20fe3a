//! The command line: one file a command. Arguments in, an exit code out.
//!
//! `dev`, `serve`, `migrate` and `doctor` are given a configuration and work on the database; the others are
//! clients, and know a running service by its address alone.

mod bench;
mod descriptors;
mod dev;
mod doctor;
mod failure;
mod json;
mod listen;
mod migrate;
mod moment;
mod publish;
mod serve;
mod server;
mod service;
mod settings;
mod signals;
mod style;
mod subscription;

use clap::{
    Parser as _,
    error::{ContextKind, ContextValue},
};

pub use failure::Failure;
pub use style::error;

/// The arguments.
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
    /// Run everything on this machine: a private mongod, and the service on it
    Dev(dev::Args),
    /// Run the service on a database of yours
    Serve(serve::Args),
    /// Bring the database to the state that this version needs
    Migrate(migrate::Args),
    /// Say what a database lacks for this service, and what to do about it
    Doctor(doctor::Args),
    /// Create, list, show, change, delete and explain subscriptions
    Subscription(subscription::Args),
    /// Publish one event, or many from a file or standard input
    Publish(publish::Args),
    /// Print a subscription's events as they come
    Listen(listen::Args),
    /// Put load on a running service, and measure
    Bench(bench::Args),
}

/// The arguments of this process; ends it where they make no sense. A connection string that stands in
/// the wrong place is not repeated: it may hold a password.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let secret = |value: &ContextValue| {
            let text = value.to_string();
            text.contains("://") && text.contains('@')
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
    /// Runs the command that was given.
    pub async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Subscription(args) => subscription::run(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Listen(args) => listen::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    }
}
