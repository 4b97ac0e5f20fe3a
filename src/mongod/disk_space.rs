//! The disk space that a server needs.

use std::fs;
use std::path::Path;

use super::error::{Error, Result};

/// Bytes for a first start: the journal, and a little data.
const FIRST_START_BYTES: u64 = 310 << 20;
/// Bytes for a start on existing data, with its journal.
const LATER_START_BYTES: u64 = 16 << 20;

/// Checks before a start that the data folder has room. Without it, mongod would end in the middle of its start, with
/// a long log.
pub(super) fn check(db: &Path) -> Result<()> {
    let begun = fs::read_dir(db).is_ok_and(|mut entries| entries.next().is_some());
    check_for(
        db,
        if begun {
            LATER_START_BYTES
        } else {
            FIRST_START_BYTES
        },
    )
}

fn check_for(db: &Path, needed: u64) -> Result<()> {
    // A file system that does not tell is no reason to fail.
    let Some(free) = free(db) else {
        return Ok(());
    };
    if free >= needed {
        return Ok(());
    }
    Err(Error::DiskFull {
        path: db.to_owned(),
        free_mib: free >> 20,
        needed_mib: needed >> 20,
    })
}

/// Returns the bytes that the disk of a folder has left for this user.
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_too_little_room_is_named_with_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        check_for(folder.path(), 0).unwrap();
        let refused = check_for(folder.path(), u64::MAX).unwrap_err().to_string();
        let name = folder.path().to_str().unwrap();
        assert!(
            refused.contains(name) && refused.contains("MiB"),
            "{refused}"
        );
        check_for(Path::new("/no/such/folder"), u64::MAX).unwrap();
    }
}
