//! The folder of one mongod: `db/`, `mongod.log`, and its last port.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::log::Log;
use super::scratch::Scratch;

/// The size above which a log is emptied at the next start.
const LOG_BYTES_KEPT: u64 = 8 << 20;

/// A mongod's folder: a given one that is kept, or a temporary one.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    scratch: Option<Scratch>,
}

impl DataDir {
    /// Opens the folder at `path`, which is created if it is missing, or a temporary one.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) => Self::kept(path).map_err(|source| Error::data_dir(path, source)),
            None => {
                Self::temporary().map_err(|source| Error::data_dir(&std::env::temp_dir(), source))
            }
        }
    }

    fn kept(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        fs::create_dir_all(path.join("db"))?;
        Ok(Self {
            path,
            scratch: None,
        })
    }

    fn temporary() -> io::Result<Self> {
        let scratch = Scratch::create_in(&std::env::temp_dir())?;
        let path = scratch.path().to_owned();
        fs::create_dir(path.join("db"))?;
        Ok(Self {
            path,
            scratch: Some(scratch),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns mongod's `--dbpath`.
    pub(super) fn db(&self) -> PathBuf {
        self.path.join("db")
    }

    /// Opens the log for another run. Returns the file for mongod to write to, and a reader of this run's part.
    pub(super) fn open_log(&self) -> Result<(File, Log)> {
        let path = self.path.join("mongod.log");
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            if file.metadata()?.len() > LOG_BYTES_KEPT {
                file.set_len(0)?;
            }
            let begin = file.metadata()?.len();
            Ok((file, begin))
        };
        let (file, begin) = open().map_err(|source| Error::data_dir(&path, source))?;
        Ok((file, Log::new(path, begin)))
    }

    /// Returns the port of the last start, so that the address stays the same from run to run.
    pub(super) fn last_port(&self) -> Option<u16> {
        fs::read_to_string(self.port_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Stores the port for the next start.
    pub(super) fn remember_port(&self, port: u16) -> Result<()> {
        let file = self.port_file();
        fs::write(&file, format!("{port}\n")).map_err(|source| Error::data_dir(&file, source))
    }

    /// Removes a temporary folder, and waits until it is gone. A given one stays.
    pub(super) async fn close(self) {
        if let Some(scratch) = self.scratch {
            scratch.remove().await;
        }
    }

    fn port_file(&self) -> PathBuf {
        self.path.join("port")
    }
}
