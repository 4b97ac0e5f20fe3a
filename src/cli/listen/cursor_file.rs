//! The file that keeps the last cursor across runs (`--state`).
//!
//! It is replaced as a whole and forced to the disk, so that a crash leaves the old state or the new
//! one. That is not done for every event: what was printed since the last write comes again after a
//! kill, and nothing is left out.

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

/// How long a cursor may wait to be written, together with later ones.
const DELAY: Duration = Duration::from_millis(200);

/// The state of one listener.
pub(super) struct CursorFile {
    path: PathBuf,
    subscription: String,
    /// What is to be written, and when.
    pending: Option<(String, Instant)>,
}

impl CursorFile {
    /// Opens the state of a subscription's listener; returns the cursor in it, if there is one already.
    pub(super) fn open(path: &Path, subscription: &str) -> Result<(Self, Option<String>), Failure> {
        // A link stays a link: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let cursor = match fs::read_to_string(&path) {
            Ok(text) => Some(read(&text, subscription).map_err(|why| unusable(&path, &why))?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&path, &error.to_string())),
        };
        // Better known now than after the first event.
        NamedTempFile::new_in(folder(&path)).map_err(|error| unwritable(&path, &error))?;
        let state = Self {
            path,
            subscription: subscription.to_owned(),
            pending: None,
        };
        Ok((state, cursor))
    }

    /// Everything up to `cursor` is printed.
    pub(super) fn note(&mut self, cursor: &str) {
        let due = match self.pending.take() {
            Some((_, due)) => due,
            None => Instant::now() + DELAY,
        };
        self.pending = Some((cursor.to_owned(), due));
    }

    /// Waits until something is to be written; for ever if nothing is.
    pub(super) async fn due(&self) {
        match &self.pending {
            Some((_, due)) => sleep_until(*due).await,
            None => std::future::pending().await,
        }
    }

    /// Writes what waits.
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

/// The cursor in a file's text; the error says what is wrong with it.
fn read(text: &str, subscription: &str) -> Result<String, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}"))?;
    let field = |name: &str| {
        let text = value[name].as_str();
        text.ok_or_else(|| format!("it is damaged: it has no \"{name}\""))
    };
    let (whose, cursor) = (field("subscription")?, field("cursor")?);
    if whose != subscription {
        return Err(format!("it belongs to the subscription {whose}"));
    }
    Cursor::parse(cursor).map_err(|_| "it is damaged: its cursor is none".to_owned())?;
    Ok(cursor.to_owned())
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = folder(path);
    let mut file = NamedTempFile::new_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name is only on the disk when the folder is.
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
         To begin without it, remove it; --after or --since then say where.",
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
            "it is damaged: its cursor is none",
        );
        let other = json!({"subscription": "b", "cursor": cursor()}).to_string();
        check(&other, "it belongs to the subscription b");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_written_after_a_while_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut state, before) = CursorFile::open(&path, "a").unwrap();
        assert_eq!(before, None);
        state.note(&cursor());
        assert!(!path.exists(), "not for every event");
        state.due().await;
        state.save().unwrap();
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
