//! A running client of other people's making.

use std::{
    fmt::{self, Debug},
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::DEADLINE;

/// A process that prints what it sees. It is killed when dropped.
pub(crate) struct Client {
    command: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Everything it has printed so far.
    pub(crate) seen: Vec<Value>,
    _profile: TempDir,
}

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        let mut lines = self.seen.iter();
        lines.try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Client {
    /// Starts the client, with an empty folder for a browser's data.
    pub(crate) fn start(mut command: Command) -> Self {
        let profile = TempDir::with_prefix("tidegate-client-").unwrap();
        command
            .env("PROFILE", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let command = format!("{:?}", command.as_std());
        let stdout = child.stdout.take().unwrap();
        Self {
            command,
            child,
            lines: BufReader::new(stdout).lines(),
            seen: Vec::new(),
            _profile: profile,
        }
    }

    /// Reads until the client has printed a line for which `is_said` holds. Returns the line.
    pub(crate) async fn until(
        &mut self,
        what: impl Debug,
        is_said: impl Fn(&Value) -> bool,
    ) -> Value {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let line: Value = serde_json::from_str(&line).unwrap();
                self.seen.push(line.clone());
                if is_said(&line) {
                    return Some(line);
                }
            }
            None
        };
        match timeout(DEADLINE, reading).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("ended before {what:?}: {self:?}"),
            Err(late) => panic!("{late}: {what:?}: {self:?}"),
        }
    }

    /// Reads until the event with this number.
    pub(crate) async fn until_event(&mut self, number: i64) {
        let is_it = |line: &Value| line["saw"] == "event" && line["n"] == number;
        self.until(number, is_it).await;
    }

    /// Returns the numbers of all events so far.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        let events = self.seen.iter().filter(|line| line["saw"] == "event");
        events.map(|line| line["n"].as_i64().unwrap()).collect()
    }

    /// Whether the client has printed this, with this reason.
    pub(crate) fn saw(&self, what: &str, reason: &str) -> bool {
        let mut lines = self.seen.iter();
        lines.any(|line| line["saw"] == what && line["reason"] == reason)
    }

    /// Lets the client end by itself.
    pub(crate) async fn finish(mut self) {
        drop(self.child.stdin.take());
        let ended = timeout(DEADLINE, self.child.wait()).await;
        ended.expect("ends in time").unwrap();
    }
}
