//! The cores of processes: the measured service runs on the first, the load on the second, MongoDB on both.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

const SERVER: &str = "0";
const LOAD: &str = "1";
const ATTEMPTS: u32 = 10;

/// Whether there are two cores, and `taskset` (util-linux) to choose between them.
fn possible() -> bool {
    std::fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|line| line.trim() != "0")
        && Command::new("taskset").arg("--version").output().is_ok()
}

/// Makes a command that will run on the core of the measured service.
pub(crate) fn server(program: &str) -> Command {
    if !possible() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER, program]);
    command
}

/// Pins this process, the load, to its core. To be called before there are threads.
pub(crate) fn load() -> Result<()> {
    if !possible() {
        println!(
            "# no second core or no taskset: nothing is pinned, and all processes share the cores"
        );
        return Ok(());
    }
    set(std::process::id(), LOAD)
}

/// Lets a process run on both cores.
pub(crate) fn both(process: u32) -> Result<()> {
    if possible() {
        set(process, "0,1")?;
    }
    Ok(())
}

/// Pins all threads of a process. A thread that ends meanwhile makes taskset fail although it pinned the others, so
/// this is tried a few times.
fn set(process: u32, cores: &str) -> Result<()> {
    let mut error = String::new();
    for _ in 0..ATTEMPTS {
        let set = Command::new("taskset")
            .args(["-acp", cores, &process.to_string()])
            .output()
            .context("taskset")?;
        if set.status.success() {
            return Ok(());
        }
        error = String::from_utf8_lossy(&set.stderr).into_owned();
    }
    bail!("{process} cannot be pinned: {}", error.trim())
}
