//! The outcome of publishing: counts, and a message for each refusal with its line.

use serde_json::{Value, json};

use super::{batches::Batch, progress::Progress};
use crate::{
    cli::{
        failure::Failure,
        style::{self, BAD, GOOD, paint},
    },
    client::{ClientError, Problem},
};

/// Statuses that refuse a request for its body, so that the next request may succeed.
const ABOUT_THE_BODY: [u16; 3] = [400, 413, 422];

/// The outcome so far.
pub(super) struct Outcome {
    accepted: u64,
    duplicates: u64,
    errors: u64,
    /// True if events are lines of an input, and are reported by number.
    lines: bool,
    progress: Progress,
}

impl Outcome {
    pub(super) fn new(lines: bool, progress: Progress) -> Self {
        Self {
            accepted: 0,
            duplicates: 0,
            errors: 0,
            lines,
            progress,
        }
    }

    /// Reports the lines of a batch that were not sent.
    pub(super) fn add_unreadable(&mut self, batch: &Batch) {
        for (number, reason) in &batch.unreadable {
            // To the parser it is a text of one line.
            let reason = reason.replace(" at line 1 column ", " at column ");
            self.error(*number, &format!("not JSON: {reason}"));
        }
    }

    /// Counts and reports the service's answer for each event of a batch.
    pub(super) fn add_answer(&mut self, batch: &Batch, answer: &Value) {
        self.accepted += answer["accepted"].as_u64().unwrap_or(0);
        self.duplicates += answer["duplicates"].as_u64().unwrap_or(0);
        for error in answer["errors"].as_array().into_iter().flatten() {
            let problem = Problem::from_json(&error["problem"]);
            let index = error["index"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            let sent = index.and_then(|index| Some((index, *batch.numbers.get(index)?)));
            match sent {
                Some((index, number)) => self.error(number, &problem.of_item(index).one_line()),
                None => self.error(0, &problem.one_line()),
            }
        }
    }

    /// Reports that a whole batch was refused. An error ends publishing; a fault of the batch alone does not.
    pub(super) fn add_refusal(&mut self, batch: &Batch, error: ClientError) -> Result<(), Failure> {
        let lines = self.lines_of(batch);
        match error {
            ClientError::Refused(problem) if ABOUT_THE_BODY.contains(&problem.status) => {
                self.errors += batch.numbers.len() as u64;
                self.report(&lines, &problem.one_line());
                Ok(())
            }
            error => {
                let failure = Failure::from(error);
                Err(Failure::Failed(format!(
                    "{lines} may not have been published: {failure}"
                )))
            }
        }
    }

    /// Shows the progress.
    pub(super) fn show_progress(&self, batch: &Batch) {
        self.progress
            .advance(batch.bytes, self.accepted + self.duplicates);
    }

    /// Prints the counts.
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        self.progress.finish();
        let (accepted, duplicates, errors) = (self.accepted, self.duplicates, self.errors);
        if json {
            let counts = json!({"accepted": accepted, "duplicates": duplicates, "errors": errors});
            return style::print_json(counts);
        }
        let errors = match errors {
            0 => "0 errors".to_owned(),
            1 => paint(BAD, "1 error"),
            n => paint(BAD, format!("{n} errors")),
        };
        let accepted = paint(GOOD, format!("{accepted} accepted"));
        let plural = if duplicates == 1 { "" } else { "s" };
        style::print(format!(
            "{accepted}, {duplicates} duplicate{plural}, {errors}"
        ))
    }

    /// Fails if any event was not published.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.errors {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 event was not published".to_owned())),
            n => Err(Failure::Failed(format!("{n} events were not published"))),
        }
    }

    fn error(&mut self, number: usize, text: &str) {
        self.errors += 1;
        self.report(&format!("line {number}"), text);
    }

    fn report(&self, lines: &str, text: &str) {
        self.progress.suspended(|| {
            if self.lines {
                style::error(format!("{lines}: {text}"));
            } else {
                style::error(text);
            }
        });
    }

    fn lines_of(&self, batch: &Batch) -> String {
        match (batch.numbers.first(), batch.numbers.last()) {
            (Some(first), Some(last)) if self.lines && first != last => {
                format!("lines {first} to {last}")
            }
            (Some(first), _) if self.lines => format!("line {first}"),
            _ => "the event".to_owned(),
        }
    }
}
