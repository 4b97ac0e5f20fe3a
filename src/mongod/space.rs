//! Whether a disk has room for a server's files.

use std::fs;
use std::path::Path;

use super::error::{Error, Result};

/// The journal that a server writes at its first start, and a little data.
const FIRST: u64 = 310 << 20;
/// A start on data that is there already: the journal is, too.
const AGAIN: u64 = 16 << 20;

/// Checks before a start that there is room in the folder of a server's data: mongod itself would end in the middle
/// of its start, with a log of many lines.
pub(super) fn check(db: &Path) -> Result<()> {
    let begun = fs::read_dir(db).is_ok_and(|mut entries| entries.next().is_some());
    check_for(db, if begun { AGAIN } else { FIRST })
}

fn check_for(db: &Path, needed: u64) -> Result<()> {
    // A file system that does not say is no reason to stop.
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

/// What the disk of a folder has left for this user, in bytes.
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
