//! The integrity of a file in the cache: it is the file that was put there, and nobody else can change it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ring::digest::{Context, SHA256};

const SUPERUSER: u32 = 0;
/// The mode bit by which others may write.
const OTHERS_WRITE: u32 = 0o002;
/// The mode bit by which the group may write.
const GROUP_WRITES: u32 = 0o020;
/// The mode bit of a folder in which only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// Checks that the file has this SHA-256, that it is ours, and that nobody else can write to it or replace it. The
/// error is for people.
pub(super) fn check(file: &Path, sha256: &str) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let me = rustix::process::geteuid().as_raw();
    let is_ours = |found: &Metadata| [me, SUPERUSER].contains(&found.uid());
    let found = fs::metadata(file).map_err(told)?;
    if !is_ours(&found) {
        return Err("it belongs to another user".to_owned());
    }
    if found.permissions().mode() & (OTHERS_WRITE | GROUP_WRITES) != 0 {
        return Err("others may write to it".to_owned());
    }
    let folder = file.parent().unwrap_or(file);
    let found = fs::metadata(folder).map_err(told)?;
    if !is_ours(&found) {
        return Err("its folder belongs to another user".to_owned());
    }
    if found.permissions().mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE {
        return Err("others may write to its folder".to_owned());
    }
    let found = digest(file).map_err(told)?;
    if found == sha256 {
        Ok(())
    } else {
        Err(format!(
            "it is not the expected file: its SHA-256 is {found}"
        ))
    }
}

/// Computes the SHA-256 of a file, in hex.
pub(super) fn digest(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => context.update(&piece[..count]),
        }
    }
    Ok(data_encoding::HEXLOWER.encode(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn only_the_known_file_that_nobody_else_can_change_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mongod");
        fs::write(&file, "abc").unwrap();
        let modes = |of_folder: u32, of_file: u32| {
            fs::set_permissions(folder.path(), PermissionsExt::from_mode(of_folder)).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(of_file)).unwrap();
            check(&file, OF_ABC)
        };
        for (of_folder, of_file, taken) in [
            (0o755, 0o755, true),
            (0o775, 0o755, true),
            (0o1777, 0o755, true),
            (0o777, 0o755, false),
            (0o755, 0o775, false),
            (0o755, 0o757, false),
        ] {
            let checked = modes(of_folder, of_file);
            assert_eq!(
                checked.is_ok(),
                taken,
                "{of_folder:o} {of_file:o}: {checked:?}"
            );
        }
        modes(0o755, 0o755).unwrap();
        fs::write(&file, "abd").unwrap();
        assert!(check(&file, OF_ABC).unwrap_err().contains("SHA-256"));
        assert!(check(Path::new("/no/such/file"), OF_ABC).is_err());
    }

    /// Only the superuser can give a file away.
    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mongod");
        fs::write(&file, "abc").unwrap();
        if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() {
            let refused = check(&file, OF_ABC).unwrap_err();
            assert!(refused.contains("another user"), "{refused}");
        }
    }
}
