//! `tidegate migrate`: brings a database to the state this version needs.

use serde_json::json;

use super::{
    failure::Failure,
    settings::Settings,
    style::{self, BAD, GOOD, WARN, paint},
};
use crate::store::{MigrationState, MigrationStatus, Store};

/// The migrations of a database.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// List all migrations with their state, and change nothing
    #[arg(long)]
    list: bool,
    /// Print one line of JSON per migration
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate migrate --list
  tidegate migrate --mongodb-uri 'mongodb://admin:…@db1/?replicaSet=rs0'

`tidegate serve` applies pending migrations by itself, unless it is given --no-migrate. Any number
of nodes may migrate at once: one works, and the others wait for it.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?;
    let store = Store::connect(&config)
        .await
        .map_err(|error| Failure::store(&error))?;
    if args.list {
        list(&store, args.json).await
    } else {
        apply(&store, args.json).await
    }
}

async fn apply(store: &Store, json: bool) -> Result<(), Failure> {
    let applied = store
        .migrate()
        .await
        .map_err(|error| Failure::store(&error))?;
    for name in &applied {
        if json {
            style::print_json(json!({"name": name, "state": "applied"}))?;
        } else {
            style::print(format!("{} {name}", paint(GOOD, "applied")))?;
        }
    }
    if applied.is_empty() && !json {
        style::note("nothing to do: all migrations are applied");
    }
    Ok(())
}

async fn list(store: &Store, json: bool) -> Result<(), Failure> {
    let all = store
        .migration_status()
        .await
        .map_err(|error| Failure::store(&error))?;
    let width = all.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for one in &all {
        if json {
            style::print_json(to_json(one))?;
        } else {
            style::print(format!("{:width$}  {}", one.name, in_words(&one.state)))?;
        }
    }
    Ok(())
}

fn to_json(status: &MigrationStatus) -> serde_json::Value {
    let (state, at) = match &status.state {
        MigrationState::Pending => ("pending", None),
        MigrationState::Applied(at) => ("applied", Some(*at)),
        MigrationState::Edited { .. } => ("edited", None),
        MigrationState::Unknown(at) => ("unknown", Some(*at)),
    };
    json!({"name": status.name, "state": state, "appliedAt": at.map(time)})
}

fn in_words(state: &MigrationState) -> String {
    match state {
        MigrationState::Pending => paint(WARN, "pending"),
        MigrationState::Applied(at) => format!("{} {}", paint(GOOD, "applied"), time(*at)),
        MigrationState::Edited { recorded, ours } => {
            let edited = paint(BAD, "edited since it was applied");
            format!("{edited} (recorded {recorded}, this version has {ours})")
        }
        MigrationState::Unknown(at) => {
            format!("applied {} by a newer version; not in this one", time(*at))
        }
    }
}

fn time(at: bson::DateTime) -> String {
    at.try_to_rfc3339_string()
        .unwrap_or_else(|_| at.to_string())
}
