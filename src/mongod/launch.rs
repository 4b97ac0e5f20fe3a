//! The start of a mongod up to listening: the choice of a port, and retries if the port or the data folder is taken.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::data_dir::DataDir;
use super::error::{Error, Result};
use super::options::Options;
use super::process::Process;

/// Ports to try if any will do: another process may take one between the check and mongod's own bind.
const PORTS_TRIED: u32 = 10;

/// Time for which a mongod whose owner was just killed may hold the data folder (or the requested port) before it
/// counts as in use.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts `binary` and returns when it takes connections.
pub(super) async fn launch(
    binary: &Path,
    data_dir: &DataDir,
    options: &Options,
) -> Result<Process> {
    let give_up_at = Instant::now() + PREDECESSOR_TIMEOUT;
    let mut port = first_port(data_dir, options)?;
    let mut ports_left = PORTS_TRIED;
    loop {
        let process = Process::spawn(binary, data_dir, options, port)?;
        match process.listening().await {
            Ok(()) => return Ok(process),
            Err(Error::PortInUse { .. }) if options.port.is_none() && ports_left > 0 => {
                ports_left -= 1;
                port = free_port()?;
            }
            Err(Error::PortInUse { .. } | Error::DataDirInUse { .. })
                if Instant::now() < give_up_at =>
            {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Chooses the requested port, else the last one of the folder if it is free, else any free one.
fn first_port(data_dir: &DataDir, options: &Options) -> io::Result<u16> {
    if let Some(port) = options.port {
        return Ok(port);
    }
    match data_dir.last_port() {
        Some(port) if bind(port).is_ok() => Ok(port),
        _ => free_port(),
    }
}

/// Finds a port that is free at this moment.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(bind(0)?.local_addr()?.port())
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}
