//! The log of one run of mongod, for readiness and for error messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// Lines of the log in an error message.
const LINES_SHOWN: usize = 12;

/// The part of a log file that belongs to one run.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    begin: u64,
}

impl Log {
    /// Takes the part of the file at `path` from the byte `begin` on.
    pub(super) fn new(path: PathBuf, begin: u64) -> Self {
        Self { path, begin }
    }

    /// Whether this run has logged `text`.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.read().is_ok_and(|log| log.contains(text))
    }

    /// Returns the errors and the last lines, shortened for a person to read.
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

/// Keeps the last lines, and the errors among the earlier ones: mongod logs so much while it shuts down that the
/// reason would be lost.
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

/// A log line: from mongod's JSON, or as it is (usage errors are plain text).
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
