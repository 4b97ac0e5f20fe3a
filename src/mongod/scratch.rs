//! A temporary folder that is removed with its owner, even if the owner is killed.

use std::io;
use std::path::{Path, PathBuf};

use super::tether::Tether;

/// Waits for the end of the pipe, then removes `$1`. A mongod that is being killed may still add files. Once the
/// folder is gone it cannot, so this ends.
const REMOVE_AT_THE_END: &str = r#"
PATH=$PATH:/usr/bin:/bin
cd /
while read -r _; do :; done
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 100 ]; do tries=$((tries + 1)); sleep 0.1; done
"#;

/// A temporary folder. Dropping it removes the folder, without waiting.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    janitor: Tether,
}

impl Scratch {
    /// Creates an empty folder in `parent`.
    pub(super) fn create_in(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-mongod-")
            .tempdir_in(parent)?;
        let janitor = Tether::spawn(REMOVE_AT_THE_END, [folder.path()], None)?;
        // From here on only the janitor removes it.
        Ok(Self {
            path: folder.keep(),
            janitor,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and waits until it is gone.
    pub(super) async fn remove(self) {
        self.janitor.close().await;
    }
}
