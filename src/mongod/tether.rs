//! A shell script tied to the life of this process.
//!
//! The script's standard input is a pipe whose only writer is the owner. When the owner drops it, or dies in
//! any way (also by SIGKILL), the script reads the end of the pipe and can clean up. A parent-death signal
//! would fire when the spawning *thread* ends, which is wrong under tokio. Destructors do not run on a kill.
//!
//! The standard library opens pipes close-on-exec, so no other child inherits the writer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use tokio::sync::watch;

/// The owner's end of the pipe. Dropping it closes the pipe, without waiting.
#[derive(Debug)]
pub(super) struct Tether {
    pipe: ChildStdin,
    ended: watch::Receiver<Option<Ended>>,
}

/// The end of a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// Its exit code; `None` if a signal ended the shell itself.
    pub(super) code: Option<i32>,
}

impl Tether {
    /// Runs `script` with `arguments` as `$1`, `$2`, …; its output goes to `output`.
    ///
    /// The script gets a process group of its own: Ctrl-C in a terminal reaches the whole foreground group, and the
    /// owner decides when the script ends.
    pub(super) fn spawn<I, S>(script: &str, arguments: I, output: Option<File>) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let errors = output.as_ref().map(File::try_clone).transpose()?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", script, "tidegate-tether"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.map_or_else(Stdio::null, Stdio::from))
            .stderr(errors.map_or_else(Stdio::null, Stdio::from))
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            pipe,
            ended: reap(child)?,
        })
    }

    /// Sends the script a word, on a line.
    pub(super) fn say(&self, word: &str) -> io::Result<()> {
        (&self.pipe).write_all(format!("{word}\n").as_bytes())
    }

    /// Waits until the script has ended.
    pub(super) async fn ended(&self) -> Ended {
        wait(self.ended.clone()).await
    }

    /// Closes the pipe and waits until the script has ended.
    pub(super) async fn close(self) -> Ended {
        drop(self.pipe);
        wait(self.ended).await
    }
}

/// Waits for the child on a thread, so that it is reaped whatever runtime its owner runs on.
fn reap(mut child: Child) -> io::Result<watch::Receiver<Option<Ended>>> {
    let (sender, receiver) = watch::channel(None);
    thread::Builder::new()
        .name("tether".to_owned())
        .spawn(move || {
            let code = child.wait().ok().and_then(|status| status.code());
            sender.send_replace(Some(Ended { code }));
        })?;
    Ok(receiver)
}

async fn wait(mut ended: watch::Receiver<Option<Ended>>) -> Ended {
    match ended.wait_for(Option::is_some).await {
        Ok(ended) => ended.unwrap_or(Ended { code: None }),
        Err(_) => Ended { code: None },
    }
}
