//! Other people's programs that are installed.

use std::{
    env,
    path::{Path, PathBuf},
};

use tokio::process::Command;

/// A program that a test needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Node,
    Python,
    Chromium,
    Nginx,
}

/// Whether all of these are installed. Prints which are not, and fails if they are required.
pub(crate) fn are_here(programs: &[Program]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| program.path().is_none())
        .collect();
    let required = env::var("TEST_TIDEGATE_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required || missing.is_empty(), "not here: {missing:?}");
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} not here; tests/clients/install brings what is missing");
    }
    missing.is_empty()
}

impl Program {
    fn path(self) -> Option<PathBuf> {
        match self {
            Self::Node => {
                Some(folder().join("node_modules/.bin/node")).filter(|path| path.exists())
            }
            Self::Python => Some(folder().join("venv/bin/python")).filter(|path| path.exists()),
            Self::Chromium => named("chromium"),
            Self::Nginx => named("nginx"),
        }
    }

    /// Makes a command of this program, which must be installed.
    pub(crate) fn command(self) -> Command {
        Command::new(self.path().unwrap())
    }

    /// Makes a command that runs a script of this folder with this program.
    pub(crate) fn script(self, name: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = self.command();
        command.arg(scripts.join(name)).env("CLIENTS", folder());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(chromium) = Self::Chromium.path() {
            command.env("CHROMIUM", chromium);
        }
        command
    }
}

/// Returns the folder for packages.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients")
}

fn named(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
