//! The kernel's figures of a process and its children.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// Returns the CPU time so far of all living threads of a process and its children.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for process in family(process)? {
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may end before its file is opened.
            let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let ran = line.split_whitespace().next().context("schedstat")?;
            nanos += ran.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Returns the resident memory of a process and its children, in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    let mut kilobytes = 0;
    for process in family(process)? {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.context("VmRSS")?;
        kilobytes += line
            .split_whitespace()
            .next()
            .context("VmRSS")?
            .parse::<u64>()?;
    }
    Ok(kilobytes * 1024)
}

fn family(process: u32) -> Result<Vec<u32>> {
    let mut all = vec![process];
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            all.extend(family(child.parse()?)?);
        }
    }
    Ok(all)
}

/// Returns the load average of the last minute, which shows what else runs here.
pub(crate) fn load_average() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split_whitespace().next().unwrap_or("?").to_owned()
}
