//! The search for a mongod to run: a named one, one on the PATH, or a fetched one.

use std::env;
use std::io;
use std::path::PathBuf;

use super::binary::Binary;
use super::error::{Error, Result};
use super::fetch;
use crate::config::variable;

/// The variable that names a binary.
const VARIABLE: &str = "TIDEGATE_MONGOD";
/// The place of a fetched binary, in messages.
const CACHE: &str = "the cache";

impl Binary {
    /// Finds a binary, or fetches one. `named`, or else the one that a variable names, must be usable. Binaries in
    /// other places are skipped with a log line if they cannot run.
    pub async fn find(named: Option<PathBuf>) -> Result<Self> {
        let named = named.or_else(|| variable(VARIABLE).map(PathBuf::from));
        let search = tokio::task::spawn_blocking(move || find(named));
        search
            .await
            .map_err(|error| Error::Spawn(io::Error::other(error)))?
    }
}

fn find(named: Option<PathBuf>) -> Result<Binary> {
    if let Some(path) = named {
        return Binary::check(&path).map_err(|reason| Error::UnusableBinary { path, reason });
    }
    let mut tried = Vec::new();
    for (place, path) in places() {
        // A binary on the PATH is the choice of this machine's owner. One in the cache is not.
        let check = match place {
            CACHE => fetch::check,
            _ => Binary::check,
        };
        match path {
            None => tried.push(format!("{place}: not there")),
            Some(path) => match check(&path) {
                Ok(binary) => return Ok(binary),
                Err(reason) => {
                    tracing::warn!(path = %path.display(), reason, "skipping a mongod that cannot be used");
                    tried.push(format!("{place}: {}: {reason}", path.display()));
                }
            },
        }
    }
    fetch::fetch().map_err(|reason| {
        tried.push(format!("fetching one: {reason}"));
        Error::NoBinary { tried }
    })
}

/// Lists the places where a binary may be, in the order of preference.
fn places() -> Vec<(&'static str, Option<PathBuf>)> {
    let cached = fetch::cached().ok().filter(|path| path.exists());
    vec![("mongod on the PATH", on_path()), (CACHE, cached)]
}

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join("mongod"))
        .find(|file| file.is_file())
}
