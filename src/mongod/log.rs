//! What mongod wrote to its log since it was started: for readiness, and for error messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// How many lines an error message carries.
const LINES_SHOWN: usize = 12;

/// One run's part of a log file.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    begin: u64,
}

impl Log {
    /// The part of the file at `path` from the byte `begin` on.
    pub(super) fn new(path: PathBuf, begin: u64) -> Self {
        Self { path, begin }
    }

    /// Whether this run has logged `text`.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.read().is_ok_and(|log| log.contains(text))
    }

    /// The errors among the lines and the last of them, in short form, for a person to read.
    pub(super) fn tail(&self) -> String {
        match self.read() {
            Ok(log) => shorten(&log),
            Err(error) => format!(
                "  (its log {} cannot be read: {error})",
                self.path.display()
            ),
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Keeps the last lines and, of the earlier ones, the errors: mongod's shutdown is so talkative that
/// the reason for it would scroll away.
fn shorten(log: &str) -> String {
    let lines: Vec<Line> = log.lines().map(Line::parse).collect();
    let last = lines.len().saturating_sub(LINES_SHOWN);
    let (earlier, last) = lines.split_at(last);
    let errors = earlier.iter().filter(|line| line.is_error);
    errors
        .chain(last)
        .map(|line| format!("  {}", line.text))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A log line, from mongod's JSON format or as it is (usage errors are plain text).
struct Line {
    is_error: bool,
    text: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
            return Self {
                is_error: true,
                text: cut(line),
            };
        };
        let word = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (severity, component) = (word("s"), word("c"));
        let details = fields.get("attr").map(Value::to_string).unwrap_or_default();
        Self {
            is_error: matches!(severity, "E" | "F"),
            text: cut(&format!("{severity} {component} {} {details}", word("msg"))),
        }
    }
}

fn cut(line: &str) -> String {
    line.chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_error_that_a_long_shutdown_follows() {
        let error = r#"{"s":"E","c":"CONTROL","msg":"terminating","attr":{"error":"no space"}}"#;
        let mut log = vec![error.to_owned()];
        log.extend((0..100).map(|n| format!(r#"{{"s":"I","c":"-","msg":"step {n}"}}"#)));

        let tail = shorten(&log.join("\n"));

        assert!(tail.starts_with(r#"  E CONTROL terminating {"error":"no space"}"#));
        assert!(
            tail.contains("step 99") && !tail.contains("step 80"),
            "{tail}"
        );
    }

    #[test]
    fn a_tail_shows_plain_text_as_it_is() {
        assert_eq!(
            shorten("Error parsing command line"),
            "  Error parsing command line"
        );
    }
}
