//! A peer's process.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::rig::kernel;

/// A process that takes connections on a port of this machine; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) host: String,
}

impl Peer {
    /// Starts it and waits until the port is open.
    pub(crate) async fn start(command: &mut Command, port: u16) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let mut peer = Self {
            child,
            host: format!("127.0.0.1:{port}"),
        };
        for _ in 0..1_000 {
            if TcpStream::connect(&peer.host).is_ok() {
                return Ok(peer);
            }
            if let Some(status) = peer.child.try_wait()? {
                bail!("{command:?} ended at once: {status}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("{command:?} does not listen")
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        kernel::cpu(self.child.id())
    }

    pub(crate) fn resident(&self) -> Result<u64> {
        kernel::resident(self.child.id())
    }

    /// Asks the process to end, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        let process = self.child.id().to_string();
        Command::new("kill").arg(process).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // After `stop` there is nothing left to kill.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("a peer's process may be left");
        }
    }
}

/// Finds an installed program.
pub(crate) fn program(name: &str) -> Option<String> {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    folders
        .split(':')
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| std::path::Path::new(path).is_file())
}
