//! The reasons why a private mongod cannot run.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a private mongod cannot run. The messages are for people at a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No binary was found, and none could be fetched.
    #[error(
        "there is no MongoDB server to run.\nTried:\n{}\n\
         Any of these gives one:\n\
         \x20 - install MongoDB 6.0 or later, so that `mongod` is on the PATH (or set TIDEGATE_MONGOD)\n\
         \x20 - use a replica set that runs already: --mongodb-uri mongodb://…\n\
         \x20 - start one with Docker: docker compose -f docker/compose.yml up",
        bullets(tried)
    )]
    NoBinary {
        /// Each place or way that was tried, with the reason why it failed.
        tried: Vec<String>,
    },

    /// The named binary cannot be used.
    #[error("{path} cannot be used as mongod: {reason}", path = path.display())]
    UnusableBinary {
        /// The path as given.
        path: PathBuf,
        /// The result of running it.
        reason: String,
    },

    /// The data folder, or a file in it, cannot be created, read or written.
    #[error("the data folder of mongod cannot be used: {path}: {source}", path = path.display())]
    DataDir {
        /// The folder or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },

    /// The disk of the data folder has too little room.
    #[error(
        "the disk of {path} has {free_mib} MiB left, and a private mongod needs {needed_mib} MiB there: make room, or \
         keep its data on another disk",
        path = path.display()
    )]
    DiskFull {
        /// The folder.
        path: PathBuf,
        /// Free MiB.
        free_mib: u64,
        /// Needed MiB.
        needed_mib: u64,
    },

    /// Another mongod runs on the data folder.
    #[error("another mongod is running on {path}: stop it, or use another folder", path = path.display())]
    DataDirInUse {
        /// The folder.
        path: PathBuf,
    },

    /// The requested port, or every free one that was tried, is taken.
    #[error("port {port} on 127.0.0.1 is in use")]
    PortInUse {
        /// The last port tried.
        port: u16,
    },

    /// The process that keeps mongod tied to this one did not start.
    #[error("mongod cannot be started: {0}")]
    Spawn(#[from] io::Error),

    /// mongod ended while it was starting.
    #[error("mongod ended while starting ({status}); its last output:\n{log}", status = describe(*code))]
    Ended {
        /// Its exit code; above 128, the signal that ended it plus 128.
        code: Option<i32>,
        /// The last lines of its log.
        log: String,
    },

    /// The data folder belongs to a replica set with another name.
    #[error("the data folder belongs to the replica set {found:?}, not to {wanted:?}")]
    OtherReplicaSet {
        /// The name in the data.
        found: String,
        /// The name asked for.
        wanted: String,
    },

    /// mongod runs, but did not become writable in time.
    #[error("mongod was not writable after {seconds} s ({state}); its last output:\n{log}")]
    NotWritable {
        /// Seconds that the start waited.
        seconds: u64,
        /// The state that it had reached.
        state: String,
        /// The last lines of its log.
        log: String,
    },
}

impl Error {
    pub(super) fn data_dir(path: &Path, source: io::Error) -> Self {
        Self::DataDir {
            path: path.to_owned(),
            source,
        }
    }
}

fn bullets(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("  - {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn describe(code: Option<i32>) -> String {
    code.map_or_else(
        || "no exit code".to_owned(),
        |code| format!("exit code {code}"),
    )
}
