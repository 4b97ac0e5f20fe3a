//! Why a command failed, and the exit code that says so.

use std::io;

use crate::{
    config::ConfigError,
    store::{StartupError, StoreError},
};

/// `EX_UNAVAILABLE` of sysexits.
pub(super) const DATABASE_NOT_USABLE: u8 = 69;

/// A command's failure. Its text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked cannot be done, or was refused.
    #[error("{0}")]
    Failed(String),
    /// The arguments contradict each other or cannot be read.
    #[error("{0}")]
    Usage(String),
    /// A setting is wrong.
    #[error("bad configuration: {0}")]
    Config(#[from] ConfigError),
    /// There is no such subscription, or not any more.
    #[error("{0}")]
    Gone(String),
    /// The service ended the stream, and its reason was printed as it came. Only the exit code is left.
    #[error("it was ended")]
    AlreadyPrinted {
        /// The exit code.
        code: u8,
    },
    /// The credential is missing, ran out, or does not allow this.
    #[error("{0}")]
    NotAllowed(String),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The service ended with a failure that knows its own exit code.
    #[error("{text}")]
    Service {
        /// What happened.
        text: String,
        /// The exit code.
        code: u8,
    },
}

impl Failure {
    /// A setting's value was refused.
    pub(crate) fn setting(setting: &'static str, reason: &impl ToString) -> Self {
        Self::Config(ConfigError::refused(setting, reason.to_string()))
    }

    /// The database stands in the way: 69 where it cannot be reached or used, 64 where the connection
    /// string is wrong or the database is somebody else's, 1 where it can be used and its migrations are the trouble.
    pub(crate) fn store(error: &StoreError) -> Self {
        let code = match error {
            StoreError::Startup(startup) => match startup.as_ref() {
                StartupError::BadUri { reason } => return Self::setting("mongodb_uri", reason),
                StartupError::NotOurs { .. } => return Self::setting("database", error),
                StartupError::PendingMigrations { .. }
                | StartupError::Differs { .. }
                | StartupError::Unmendable { .. }
                | StartupError::EditedMigration { .. }
                | StartupError::FailedMigration { .. } => 1,
                _ => DATABASE_NOT_USABLE,
            },
            error if error.is_unavailable() => DATABASE_NOT_USABLE,
            _ => 1,
        };
        Self::Service {
            text: error.to_string(),
            code,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Gone(_) => 3,
            Self::NotAllowed(_) => 4,
            Self::Config(_) => 64,
            Self::Service { code, .. } | Self::AlreadyPrinted { code } => *code,
        }
    }

    /// Whether the user knows already.
    pub const fn is_already_printed(&self) -> bool {
        matches!(self, Self::AlreadyPrinted { .. })
    }

    /// Whether whoever read the output has had enough (`tidegate … | head`): nothing to complain of.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
