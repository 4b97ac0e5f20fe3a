//! The failures of commands, and their exit codes.

use std::io;

use crate::{
    config::ConfigError,
    store::{StartupError, StoreError},
};

/// `EX_UNAVAILABLE` of sysexits.
const DATABASE_NOT_USABLE: u8 = 69;

/// A command's failure, with a text for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command cannot do its work, or was refused.
    #[error("{0}")]
    Failed(String),
    /// The arguments contradict each other or cannot be read.
    #[error("{0}")]
    Usage(String),
    /// A setting is wrong.
    #[error("bad configuration: {0}")]
    Config(#[from] ConfigError),
    /// The subscription does not exist, or no longer does.
    #[error("{0}")]
    Gone(String),
    /// The service ended the stream, and its reason was printed as it came. Only the exit code is left.
    #[error("it was ended")]
    AlreadyPrinted {
        /// The exit code.
        code: u8,
    },
    /// The credential is missing, has expired, or does not allow this.
    #[error("{0}")]
    NotAllowed(String),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// A failure with an exit code of its own.
    #[error("{text}")]
    WithCode {
        /// The message.
        text: String,
        /// The exit code.
        code: u8,
    },
}

impl Failure {
    /// Makes the failure of a setting whose value was refused.
    pub(crate) fn setting(setting: &'static str, reason: &impl ToString) -> Self {
        Self::Config(ConfigError::refused(setting, reason.to_string()))
    }

    /// Makes the failure of a database that cannot be reached or used as it is.
    pub(crate) fn unusable_database(text: impl Into<String>) -> Self {
        Self::WithCode {
            text: text.into(),
            code: DATABASE_NOT_USABLE,
        }
    }

    /// Makes a failure of an error of the database. The exit code is 69 where the database cannot be reached or used,
    /// 64 where the connection string is wrong or the database is somebody else's, and 1 where its migrations are in
    /// the way.
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
        Self::WithCode {
            text: error.to_string(),
            code,
        }
    }

    /// Returns the exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Gone(_) => 3,
            Self::NotAllowed(_) => 4,
            Self::Config(_) => 64,
            Self::WithCode { code, .. } | Self::AlreadyPrinted { code } => *code,
        }
    }

    /// Whether the user knows already.
    pub const fn is_already_printed(&self) -> bool {
        matches!(self, Self::AlreadyPrinted { .. })
    }

    /// Whether the reader of the output has closed it, as `tidegate … | head` does. That is no failure.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
