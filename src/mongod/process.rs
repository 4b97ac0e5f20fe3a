//! A mongod process, tied to this one: started, watched, stopped.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::data_dir::DataDir;
use super::error::{Error, Result};
use super::log::Log;
use super::options::Options;
use super::tether::{Ended, Tether};

/// Runs mongod (`$@`) and exits with its code. Words that arrive on the pipe are signals for mongod; the end of the
/// pipe kills it. The watcher is a separate process, because a shell that waits for a child reads nothing.
const RUN: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
mongod=$!
(
    while read -r signal <&3; do kill -s "$signal" "$mongod"; done
    kill -s KILL "$mongod"
) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$mongod"
code=$?
kill "$watcher"
exit "$code"
"#;

/// Time that a clean stop may take before the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The system's words for a full disk, which mongod repeats.
const NO_SPACE: &str = "No space left on device";

/// Time between two looks at the log and the server during a start.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running mongod. Dropping it kills the process, without waiting.
#[derive(Debug)]
pub(super) struct Process {
    tether: Tether,
    log: Log,
    dir: PathBuf,
    port: u16,
    began: Instant,
    start_timeout: Duration,
}

impl Process {
    /// Starts `binary` on the data in `data_dir`, and returns at once.
    pub(super) fn spawn(
        binary: &Path,
        data_dir: &DataDir,
        options: &Options,
        port: u16,
    ) -> Result<Self> {
        let (output, log) = data_dir.open_log()?;
        let mut line = vec![OsString::from(binary)];
        line.extend(options.command_line(&data_dir.db(), port));
        let tether = Tether::spawn(RUN, line, Some(output))?;
        let (dir, start_timeout) = (data_dir.path().to_owned(), options.start_timeout);
        Ok(Self {
            tether,
            log,
            dir,
            port,
            began: Instant::now(),
            start_timeout,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address that members of a replica set use.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns mongod's process id, from the lock file of a running mongod.
    pub(super) fn id(&self) -> Option<u32> {
        let lock = std::fs::read_to_string(self.dir.join("db/mongod.lock")).ok()?;
        lock.trim().parse().ok()
    }

    /// Waits until its log says that it takes connections. A successful connection would not prove that: another
    /// process could have taken the port.
    pub(super) async fn listening(&self) -> Result<()> {
        while !self.log.contains("Waiting for connections") {
            self.pause("it took no connections").await?;
        }
        Ok(())
    }

    /// Waits for a moment, between two looks at the progress of a start. Fails if mongod ends meanwhile, or if the time
    /// for the start is over. `state` then tells how far it came.
    pub(super) async fn pause(&self, state: impl Into<String>) -> Result<()> {
        if self.began.elapsed() >= self.start_timeout {
            let seconds = self.start_timeout.as_secs();
            return Err(Error::NotWritable {
                seconds,
                state: state.into(),
                log: self.last_words(),
            });
        }
        tokio::select! {
            ended = self.tether.ended() => Err(self.failure(ended)),
            () = sleep(POLL_INTERVAL) => Ok(()),
        }
    }

    /// Waits until it has ended, for any reason.
    pub(super) async fn ended(&self) -> Ended {
        self.tether.ended().await
    }

    /// Sends it a signal: `TERM`, `KILL`, `STOP`, `CONT`.
    pub(super) fn signal(&self, name: &str) -> io::Result<()> {
        self.tether.say(name)
    }

    /// Shuts it down cleanly, and waits. Kills it if that takes too long.
    pub(super) async fn stop(self) {
        // The pipe only breaks if mongod has already ended: then there is nothing to stop.
        if self
            .signal("CONT")
            .and_then(|()| self.signal("TERM"))
            .is_ok()
            && timeout(STOP_TIMEOUT, self.ended()).await.is_err()
        {
            tracing::warn!(
                port = self.port,
                "mongod did not stop when asked to; killing it"
            );
        }
        self.tether.close().await;
    }

    /// Returns the last lines of its log, for an error message.
    pub(super) fn last_words(&self) -> String {
        self.log.tail()
    }

    /// Says for people why it ended by itself.
    pub(super) fn reason(&self) -> String {
        if self.log.contains(NO_SPACE) {
            return format!("the disk of {} is full", self.dir.display());
        }
        format!("its last output:\n{}", self.last_words())
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(super) async fn kill(self) {
        self.tether.close().await;
    }

    fn failure(&self, ended: Ended) -> Error {
        if self.log.contains("DBPathInUse") {
            return Error::DataDirInUse {
                path: self.dir.clone(),
            };
        }
        if self.log.contains("Address already in use") {
            return Error::PortInUse { port: self.port };
        }
        if self.log.contains(NO_SPACE) {
            return Error::data_dir(&self.dir, io::ErrorKind::StorageFull.into());
        }
        Error::Ended {
            code: ended.code,
            log: self.last_words(),
        }
    }
}
