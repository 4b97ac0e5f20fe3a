//! What became of the events: counted, and each refusal named by its line.

use serde_json::{Value, json};

use super::{batches::Batch, progress::Progress};
use crate::{
    cli::{
        failure::Failure,
        style::{self, BAD, GOOD, paint},
    },
    client::{ClientError, Problem},
};

/// The refusals of a whole request that other requests need not share.
const ABOUT_THE_BODY: [u16; 3] = [400, 413, 422];

/// The outcome so far.
pub(super) struct Report {
    accepted: u64,
    duplicates: u64,
    errors: u64,
    /// Whether there are lines to name; else there is one event.
    lines: bool,
    progress: Progress,
}

impl Report {
    pub(super) fn new(lines: bool, progress: Progress) -> Self {
        Self {
            accepted: 0,
            duplicates: 0,
            errors: 0,
            lines,
            progress,
        }
    }

    /// Lines that were not sent.
    pub(super) fn unreadable(&mut self, batch: &Batch) {
        for (number, reason) in &batch.unreadable {
            // It is one line of its own to the parser.
            let reason = reason.replace(" at line 1 column ", " at column ");
            self.error(*number, &format!("not JSON: {reason}"));
        }
    }

    /// The service's word on each event of a batch.
    pub(super) fn answered(&mut self, batch: &Batch, answer: &Value) {
        self.accepted += answer["accepted"].as_u64().unwrap_or(0);
        self.duplicates += answer["duplicates"].as_u64().unwrap_or(0);
        for error in answer["errors"].as_array().into_iter().flatten() {
            let problem = Problem::from_json(&error["problem"]);
            let index = error["index"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            let known = index.and_then(|index| Some((index, *batch.numbers.get(index)?)));
            match known {
                Some((index, number)) => self.error(number, &problem.of_item(index).one_line()),
                None => self.error(0, &problem.one_line()),
            }
        }
    }

    /// The whole batch was refused. If that lies in the batch, the next ones are still tried.
    pub(super) fn refused(&mut self, batch: &Batch, error: ClientError) -> Result<(), Failure> {
        let lines = self.place(batch);
        match error {
            ClientError::Refused(problem) if ABOUT_THE_BODY.contains(&problem.status) => {
                self.errors += batch.numbers.len() as u64;
                self.say(&lines, &problem.one_line());
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

    /// Shows how far it is.
    pub(super) fn progress(&self, batch: &Batch) {
        self.progress
            .advance(batch.bytes, self.accepted + self.duplicates);
    }

    /// Prints the sums.
    pub(super) fn summary(&self, json: bool) -> Result<(), Failure> {
        self.progress.finish();
        let (accepted, duplicates, errors) = (self.accepted, self.duplicates, self.errors);
        if json {
            let sums = json!({"accepted": accepted, "duplicates": duplicates, "errors": errors});
            return style::print_json(sums);
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

    /// Whether all is well.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.errors {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 event was not published".to_owned())),
            n => Err(Failure::Failed(format!("{n} events were not published"))),
        }
    }

    fn error(&mut self, number: usize, text: &str) {
        self.errors += 1;
        self.say(&format!("line {number}"), text);
    }

    fn say(&self, place: &str, text: &str) {
        self.progress.aside(|| {
            if self.lines {
                style::error(format!("{place}: {text}"));
            } else {
                style::error(text);
            }
        });
    }

    fn place(&self, batch: &Batch) -> String {
        match (batch.numbers.first(), batch.numbers.last()) {
            (Some(first), Some(last)) if self.lines && first != last => {
                format!("lines {first} to {last}")
            }
            (Some(first), _) if self.lines => format!("line {first}"),
            _ => "the event".to_owned(),
        }
    }
}
