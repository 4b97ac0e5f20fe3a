//! The reasons why the service does not start on a database: one clear line each.

use std::{fmt, time::Duration};

/// An obstacle to starting. The command line has an exit code for each (`docs/cli.md`).
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The connection string cannot be used.
    #[error("the connection string cannot be used: {reason}")]
    BadUri {
        /// The fault.
        reason: String,
    },
    /// No server answered in time.
    #[error(
        "no usable MongoDB at {hosts} within {}: {reason}",
        humantime::format_duration(*.waited)
    )]
    Unreachable {
        /// The addresses in the connection string.
        hosts: String,
        /// Time that the start waited.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
    /// A server that is not a member of a replica set has no change streams.
    #[error(
        "the server at {hosts} is not a member of a replica set, and change streams need one: \
         start it with --replSet NAME and run rs.initiate() once"
    )]
    NotReplicaSet {
        /// The addresses in the connection string.
        hosts: String,
    },
    /// The server is a router of a sharded cluster.
    #[error(
        "the server at {hosts} is mongos, the router of a sharded cluster, whose order of changes is not exact enough \
         to resume from: connect to a replica set"
    )]
    ShardedCluster {
        /// The addresses in the connection string.
        hosts: String,
    },
    /// The server is older than 6.0.
    #[error("MongoDB {version} is too old: 6.0 or later is needed")]
    TooOld {
        /// Its version, in its own words.
        version: String,
    },
    /// The user name or the password is wrong, or the server does not use this mechanism.
    #[error(
        "the server does not accept the credentials in the connection string: {detail} \
         (check user name, password and authSource)"
    )]
    WrongCredentials {
        /// The server's words.
        detail: String,
    },
    /// The user lacks a right.
    #[error(
        "the user lacks a right on database {database}: {detail}. \
         Grant it readWrite and dbAdmin there: \
         db.grantRolesToUser(USER, [{{role: \"readWrite\", db: \"{database}\"}}, \
         {{role: \"dbAdmin\", db: \"{database}\"}}])"
    )]
    MissingRight {
        /// The database.
        database: String,
        /// The server's words.
        detail: String,
    },
    /// Collections of somebody else have names that the service needs.
    #[error("{}", not_ours(database, foreign, *begun))]
    NotOurs {
        /// The database.
        database: String,
        /// The collections, each with the reason.
        foreign: Vec<ForeignCollection>,
        /// True if that came about while the service was already making collections.
        begun: bool,
    },
    /// The collections differ from the migrations, and were not to be changed.
    #[error("the collections are not as they must be: {}; run `tidegate migrate`, or start without --no-migrate", .differences.join("; "))]
    Differs {
        /// The differences.
        differences: Vec<String>,
    },
    /// The collections differ from the migrations, and the service cannot change that.
    #[error("the collections are not as they have to be, and the service cannot mend this: {}", .differences.join("; "))]
    Unmendable {
        /// The differences, each with what to do about it.
        differences: Vec<String>,
    },
    /// Migrations are pending and were not to be applied.
    #[error("pending migrations: {}; run `tidegate migrate`, or start without --no-migrate", .names.join(", "))]
    PendingMigrations {
        /// Their names, in order.
        names: Vec<String>,
    },
    /// The file of an applied migration was changed.
    #[error(
        "migration {name} was edited after it was applied (recorded {recorded}, this binary has {ours}): \
         restore the file, and put the change into a new one"
    )]
    EditedMigration {
        /// The migration.
        name: String,
        /// The recorded checksum.
        recorded: String,
        /// The checksum of the file in this binary.
        ours: String,
    },
    /// A command of a migration failed.
    #[error("migration {name}: {reason}")]
    FailedMigration {
        /// The migration.
        name: String,
        /// The reason.
        reason: String,
    },
}

/// A collection with a name of ours that we did not make.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ForeignCollection {
    /// Its name.
    pub collection: String,
    /// The reason why the service does not use it.
    pub reason: String,
    /// True if the operator can hand it over.
    pub adoptable: bool,
}

impl fmt::Display for ForeignCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.collection, self.reason)
    }
}

impl StartupError {
    /// Whether trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Describes the collections in the way, and the ways out.
fn not_ours(database: &str, foreign: &[ForeignCollection], begun: bool) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let all = list(foreign.iter().map(ForeignCollection::to_string).collect());
    let flags = |foreign: &ForeignCollection| format!("--adopt {}", foreign.collection);
    let adoptable: Vec<_> = foreign
        .iter()
        .filter(|one| one.adoptable)
        .map(flags)
        .collect();
    let adopt = match adoptable.as_slice() {
        [] => String::new(),
        flags => format!(
            ". Only if its content is really meant for this service: {}; then our rules apply to it: events are \
             deleted after `retention`, subscriptions and all else when they expire",
            flags.join(" ")
        ),
    };
    let changed = if begun {
        "It has its own options again, and its content was not changed; other collections that were missing may have \
         been made"
    } else {
        "Nothing was changed"
    };
    format!(
        "the database {database} holds collections that this service did not make, under names that it \
         needs: {all}. {changed}. Give it a database of its own (--database NAME){adopt}"
    )
}
