//! Gets a mongod to listen: on which port, and what if that or the data folder is taken.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::error::{Error, Result};
use super::home::Home;
use super::options::Options;
use super::process::Process;

/// How many ports to try, where any will do: another process may take one between the look and
/// mongod's own bind.
const PORTS_TRIED: u32 = 10;

/// How long a mongod whose owner was killed a moment ago may hold the data folder (or the port asked
/// for) before it counts as in use.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts `binary` and returns when it takes connections.
pub(super) async fn launch(binary: &Path, home: &Home, options: &Options) -> Result<Process> {
    let give_up_at = Instant::now() + PREDECESSOR_TIMEOUT;
    let mut port = first_port(home, options)?;
    let mut ports_left = PORTS_TRIED;
    loop {
        let process = Process::spawn(binary, home, options, port)?;
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

/// The port asked for, else the one that the folder had last if it is free, else any.
fn first_port(home: &Home, options: &Options) -> io::Result<u16> {
    if let Some(port) = options.port {
        return Ok(port);
    }
    match home.last_port() {
        Some(port) if bind(port).is_ok() => Ok(port),
        _ => free_port(),
    }
}

/// A port that is free at this moment.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(bind(0)?.local_addr()?.port())
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}
