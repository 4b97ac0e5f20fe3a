//! The options of a private mongod.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of a private mongod. The default is a temporary one on a free port.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary to use. Without it, one is found or fetched.
    pub binary: Option<PathBuf>,
    /// The folder for its data, which is created if it is missing. Without it, a temporary one, which is removed with
    /// the server.
    pub data_dir: Option<PathBuf>,
    /// The port on 127.0.0.1. Without it, the last one of the data folder, or any free one.
    pub port: Option<u16>,
    /// The name of the replica set. A data folder keeps its first one.
    pub replica_set: String,
    /// The size of the oplog in MB, which applies when a data folder is first used. It bounds how far back a change
    /// stream can resume.
    pub oplog_size_mb: u32,
    /// Milliseconds between journal writes. A change stream shows a write without a journaled concern after this
    /// time at most.
    pub journal_commit_interval_ms: u32,
    /// The cache of the storage engine in GB; mongod takes no less than 0.25.
    pub cache_size_gb: f32,
    /// Server parameters (`--setParameter NAME=VALUE`).
    pub parameters: Vec<(String, String)>,
    /// More arguments for mongod, as they are.
    pub arguments: Vec<String>,
    /// Time that the start may take until the server is writable. Fetching a binary is not counted.
    pub start_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binary: None,
            data_dir: None,
            port: None,
            replica_set: "tidegate".to_owned(),
            oplog_size_mb: 16,
            journal_commit_interval_ms: 5,
            cache_size_gb: 0.25,
            parameters: Vec::new(),
            arguments: Vec::new(),
            start_timeout: Duration::from_mins(1),
        }
    }
}

impl Options {
    /// Adds a server parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Builds mongod's arguments, without the binary.
    pub(super) fn command_line(&self, db: &Path, port: u16) -> Vec<OsString> {
        let mut line = vec![
            "--dbpath".into(),
            db.into(),
            "--port".into(),
            port.to_string().into(),
        ];
        line.extend(["--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"].map(Into::into));
        for (flag, value) in [
            ("--replSet", self.replica_set.clone()),
            ("--oplogSize", self.oplog_size_mb.to_string()),
            (
                "--journalCommitInterval",
                self.journal_commit_interval_ms.to_string(),
            ),
            ("--wiredTigerCacheSizeGB", self.cache_size_gb.to_string()),
        ] {
            line.extend([flag.into(), value.into()]);
        }
        for (name, value) in self.all_parameters() {
            line.extend(["--setParameter".into(), format!("{name}={value}").into()]);
        }
        line.extend(self.arguments.iter().map(OsString::from));
        line
    }

    /// Joins our parameters, unless the caller sets them too, and the caller's.
    fn all_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let ours = [
            ("diagnosticDataCollectionEnabled", "false"),
            // No other member can take over, so a stopping primary need not wait for one.
            ("shutdownTimeoutMillisForSignaledShutdown", "100"),
        ];
        let theirs = || {
            self.parameters
                .iter()
                .map(|(name, value)| (&**name, &**value))
        };
        ours.into_iter()
            .filter(move |(name, _)| theirs().all(|(other, _)| other != *name))
            .chain(theirs())
    }
}
