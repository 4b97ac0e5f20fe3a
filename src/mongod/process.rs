//! One mongod process, tied to this one: started, watched, told to stop.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::error::{Error, Result};
use super::home::Home;
use super::log::Log;
use super::options::Options;
use super::tether::{Ended, Tether};

/// Runs mongod (`$@`) and exits with its code. The words that arrive on the pipe are signals for it;
/// the end of the pipe kills it. The watcher is a process of its own, since a shell that waits for a
/// child reads nothing meanwhile.
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

/// How long a clean stop may take before the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// As the system words it, and mongod repeats.
const NO_SPACE: &str = "No space left on device";

/// How often the log and the server are looked at during a start.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running mongod. Dropping it kills the process and waits for nothing.
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
    /// Starts `binary` on the data of `home` and returns at once.
    pub(super) fn spawn(binary: &Path, home: &Home, options: &Options, port: u16) -> Result<Self> {
        let (output, log) = home.open_log()?;
        let mut line = vec![OsString::from(binary)];
        line.extend(options.command_line(&home.db(), port));
        let tether = Tether::spawn(RUN, line, Some(output))?;
        let (dir, start_timeout) = (home.path().to_owned(), options.start_timeout);
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

    /// The address as the members of a replica set know it.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// mongod's process id, from the lock file that it keeps while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        let lock = std::fs::read_to_string(self.dir.join("db/mongod.lock")).ok()?;
        lock.trim().parse().ok()
    }

    /// Waits until it takes connections. Its own log says so: a connection that succeeds could be to
    /// another process, which took the port a moment earlier.
    pub(super) async fn listening(&self) -> Result<()> {
        while !self.log.contains("Waiting for connections") {
            self.pause("it took no connections").await?;
        }
        Ok(())
    }

    /// Waits for a moment, between two looks whether a start has come further. An error if mongod ends
    /// meanwhile, or if the time for starting is over: `state` then says what was waited for.
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

    /// Waits until it has ended, for whatever reason.
    pub(super) async fn ended(&self) -> Ended {
        self.tether.ended().await
    }

    /// Sends it a signal: `TERM`, `KILL`, `STOP`, `CONT`.
    pub(super) fn signal(&self, name: &str) -> io::Result<()> {
        self.tether.say(name)
    }

    /// Shuts it down cleanly and waits; kills it if that takes too long.
    pub(super) async fn stop(self) {
        // The pipe breaks only if mongod has ended already: then there is nothing left to ask for.
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

    /// The last lines of its log, for an error message.
    pub(super) fn last_words(&self) -> String {
        self.log.tail()
    }

    /// Why it ended by itself, for a person.
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
