//! A mongod that runs, and its version.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// The oldest usable server (change streams with pre- and post-images).
const OLDEST: Version = Version {
    major: 6,
    minor: 0,
    patch: 0,
};

/// A mongod that was seen running.
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
    version: Version,
}

/// The version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Binary {
    /// Checks that the binary at `path` runs. The error says why it does not.
    pub(super) fn check(path: &Path) -> Result<Self, String> {
        let found = fs::metadata(path).map_err(|error| error.to_string())?;
        if !found.is_file() {
            return Err("it is no file".to_owned());
        }
        if found.permissions().mode() & 0o111 == 0 {
            return Err("it is not executable".to_owned());
        }
        let output = run(path).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!(
                "`--version` gives {}{}",
                output.status,
                first_line(&output.stderr)
            ));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let version = Version::parse(&said).ok_or("`--version` printed no version")?;
        if version < OLDEST {
            return Err(format!("version {version} is older than {OLDEST}"));
        }
        Ok(Self {
            path: path.to_owned(),
            version,
        })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its version.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl Version {
    /// Reads the first line of `mongod --version`: `db version v6.0.5`.
    fn parse(said: &str) -> Option<Self> {
        let number = said.lines().next()?.strip_prefix("db version v")?;
        let release = number.split(['-', ' ']).next()?;
        let mut parts = release.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        Some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Runs `mongod --version`. A file that was just written counts as busy, while a child that another thread is
/// starting holds it open.
fn run(path: &Path) -> io::Result<Output> {
    let attempt = || {
        Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
    };
    for _ in 0..20 {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(50));
            }
            outcome => return outcome,
        }
    }
    attempt()
}

fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines()
        .next()
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        let check = |said, expected: Option<&str>| {
            let version = Version::parse(said).map(|version| version.to_string());
            assert_eq!(version.as_deref(), expected, "{said}");
        };
        check("db version v6.0.5\nBuild Info: {", Some("6.0.5"));
        check("db version v8.0.0-rc3\n", Some("8.0.0"));
        check("db version v7.0.14-8 (Percona)\n", Some("7.0.14"));
        check("mongod 6.0.5", None);
        check("", None);
    }
}
