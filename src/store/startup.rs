//! Why the service does not start on a database: one clear line each.

use std::time::Duration;

/// What stands in the way of starting. The command line has an exit code for each (`docs/cli.md`).
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The connection string cannot be used.
    #[error("the connection string cannot be used: {reason}")]
    BadUri {
        /// What is wrong with it.
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
        /// How long was waited.
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
    /// The server is older than 6.0.
    #[error("MongoDB {version} is too old: 6.0 or later is needed")]
    TooOld {
        /// What the server says it is.
        version: String,
    },
    /// User name or password is wrong, or the mechanism is not the server's.
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
    /// Migrations are pending and were not to be applied.
    #[error("pending migrations: {}; run `tidegate migrate`, or start without --no-migrate", .names.join(", "))]
    PendingMigrations {
        /// The names, in order.
        names: Vec<String>,
    },
    /// A migration that was applied reads differently in this binary.
    #[error(
        "migration {name} was edited after it was applied (recorded {recorded}, this binary has {ours}): \
         restore the file, and put the change into a new one"
    )]
    EditedMigration {
        /// The migration.
        name: String,
        /// The checksum on record.
        recorded: String,
        /// The checksum of the file in this binary.
        ours: String,
    },
    /// A command of a migration failed.
    #[error("migration {name}: {reason}")]
    FailedMigration {
        /// The migration.
        name: String,
        /// Why.
        reason: String,
    },
}

impl StartupError {
    /// Whether trying again later may help.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
