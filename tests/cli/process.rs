//! The binary as a process: running it, and talking to it while it runs.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::support::key_for;

/// The time after which a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Makes a command of the binary, without this process's settings.
pub(crate) fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TIDEGATE_") && !matches!(&*name, "TIDEGATE_MONGOD" | "TIDEGATE_CACHE")
        {
            command.env_remove(&*name);
        }
    }
    command
}

/// Lets a command that calls a node present the credential for it, if there is one and the test gives none.
fn with_credential(command: &mut Command) -> &mut Command {
    let arguments: Vec<_> = command.get_args().collect();
    let flag = arguments.iter().position(|one| *one == "--server");
    let flag = flag.and_then(|at| arguments.get(at + 1).copied());
    let variable = |name: &str| {
        let mut all = command.get_envs();
        all.find_map(|(known, value)| value.filter(|_| known == name))
    };
    let node = flag.or_else(|| variable("TIDEGATE_SERVER"));
    let address = node
        .and_then(OsStr::to_str)
        .and_then(|node| node.strip_prefix("http://")?.parse().ok());
    let gives_none =
        variable("TIDEGATE_TOKEN").is_none() && !arguments.iter().any(|one| *one == "--token-file");
    if let Some(key) = address.filter(|_| gives_none).and_then(key_for) {
        command.env("TIDEGATE_TOKEN", key);
    }
    command
}

/// The output and the exit code of a process.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    finish(&mut tidegate(arguments), "")
}

/// Runs a command to its end, with some input.
pub(crate) fn finish(command: &mut Command, input: &str) -> Outcome {
    let mut child = with_credential(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that runs until it is stopped. It is killed if a test fails before that.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = with_credential(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Waits for the next line on standard output that contains `text`.
    pub(crate) fn says(&self, text: &str) -> String {
        awaited(&self.stdout, text)
    }

    /// Waits for the next line on standard error that contains `text`.
    pub(crate) fn notes(&self, text: &str) -> String {
        awaited(&self.stderr, text)
    }

    /// Returns all lines on standard error up to the next one that contains `text`.
    pub(crate) fn notes_until(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|line: &String| line.contains(text)) {
            seen.push(awaited(&self.stderr, ""));
        }
        seen
    }

    /// Returns the rest of standard error, up to the end of the process.
    pub(crate) fn notes_left(&self) -> Vec<String> {
        let next = || match self.stderr.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the process does not end"),
        };
        std::iter::from_fn(next).collect()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Kills the process. Returns what else it had written to standard output.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The pipe ends with the process, which alone writes to it.
        self.stdout.iter().collect()
    }

    /// Waits for the end. Returns the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or the test has failed anyway.
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}

fn awaited(lines: &Receiver<String>, text: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push(line),
            Err(error) => panic!("{error}: no line with {text:?} among {seen:#?}"),
        }
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
