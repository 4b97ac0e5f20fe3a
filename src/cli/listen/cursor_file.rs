//! The file that keeps the last cursor across runs (`--state`).
//!
//! It is replaced as a whole and forced to the disk, so that a crash leaves the old file or the new one. It is not
//! written for every event: after a kill, events since the last write come again, and none is left out.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep_until};

use crate::{cli::failure::Failure, position::Cursor};

/// The longest that a cursor waits to be written, together with later ones.
const DELAY: Duration = Duration::from_millis(200);

/// The cursor of one listener, in a file.
pub(super) struct CursorFile {
    path: PathBuf,
    subscription: String,
    /// The cursor to write next, and the time for that.
    pending: Option<(String, Instant)>,
}

impl CursorFile {
    /// Opens the file of a subscription's listener. Returns the cursor in it too, if there is one.
    pub(super) fn open(path: &Path, subscription: &str) -> Result<(Self, Option<String>), Failure> {
        // A link stays a link: its target is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let cursor = match fs::read_to_string(&path) {
            Ok(text) => Some(read(&text, subscription).map_err(|why| unusable(&path, &why))?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&path, &error.to_string())),
        };
        // A folder that cannot be written is better reported now than after the first event.
        NamedTempFile::new_in(folder(&path)).map_err(|error| unwritable(&path, &error))?;
        let file = Self {
            path,
            subscription: subscription.to_owned(),
            pending: None,
        };
        Ok((file, cursor))
    }

    /// Notes that everything up to `cursor` was printed.
    pub(super) fn note(&mut self, cursor: &str) {
        let due = match self.pending.take() {
            Some((_, due)) => due,
            None => Instant::now() + DELAY,
        };
        self.pending = Some((cursor.to_owned(), due));
    }

    /// Waits until the file is due to be written; for ever if it is not.
    pub(super) async fn due(&self) {
        match &self.pending {
            Some((_, due)) => sleep_until(*due).await,
            None => std::future::pending().await,
        }
    }

    /// Writes the cursor that waits.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let Some((cursor, _)) = &self.pending else {
            return Ok(());
        };
        let text = json!({"subscription": self.subscription, "cursor": cursor}).to_string();
        replace(&self.path, &text).map_err(|error| unwritable(&self.path, &error))?;
        self.pending = None;
        Ok(())
    }
}

/// Reads the cursor in a file's text. The error says what is wrong.
fn read(text: &str, subscription: &str) -> Result<String, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}"))?;
    let field = |name: &str| {
        let text = value[name].as_str();
        text.ok_or_else(|| format!("it is damaged: it has no \"{name}\""))
    };
    let (owner, cursor) = (field("subscription")?, field("cursor")?);
    if owner != subscription {
        return Err(format!("it belongs to the subscription {owner}"));
    }
    Cursor::parse(cursor).map_err(|_| "it is damaged: its cursor cannot be read".to_owned())?;
    Ok(cursor.to_owned())
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = folder(path);
    let mut file = NamedTempFile::new_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name is on the disk only once the folder is.
    File::open(folder)?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::Failed(format!(
        "the state file {} cannot be used: {why}\n  \
         To start without it, remove it, and use --after or --since to say where.",
        path.display()
    ))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!(
        "the state file {} cannot be written: {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{DeploymentId, Position};

    fn cursor() -> String {
        Position::START.cursor(DeploymentId([7; 6]))
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(read(text, "a"), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        check(
            "",
            "it is damaged: EOF while parsing a value at line 1 column 0",
        );
        check("{}", "it is damaged: it has no \"subscription\"");
        check(
            r#"{"subscription":"a"}"#,
            "it is damaged: it has no \"cursor\"",
        );
        check(
            r#"{"subscription":"a","cursor":"x"}"#,
            "it is damaged: its cursor cannot be read",
        );
        let other = json!({"subscription": "b", "cursor": cursor()}).to_string();
        check(&other, "it belongs to the subscription b");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_written_after_a_while_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut file, before) = CursorFile::open(&path, "a").unwrap();
        assert_eq!(before, None);
        file.note(&cursor());
        assert!(!path.exists(), "not for every event");
        file.due().await;
        file.save().unwrap();
        let (_, after) = CursorFile::open(&path, "a").unwrap();
        assert_eq!(after, Some(cursor()));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "nothing but the file");
    }

    #[test]
    fn where_nothing_can_be_written_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no such folder").join("state");
        let Err(error) = CursorFile::open(&path, "a") else {
            panic!("it cannot be written");
        };
        assert!(error.to_string().contains("cannot be written"), "{error}");
    }
}
