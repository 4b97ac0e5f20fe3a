//! The progress of publishing, shown on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on a terminal, nothing elsewhere.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins with the bytes that there are to read, where that is known. One event needs no bar.
    pub(super) fn new(bytes: Option<u64>, many: bool) -> Self {
        // indicatif draws on standard error, and only where that is a terminal.
        let (bar, template) = match bytes {
            _ if !many => (ProgressBar::hidden(), ""),
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{bar:30} {bytes}/{total_bytes} {msg}, {eta} left",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {bytes} {msg}, {elapsed}",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Adds the bytes that were read, and shows the number of events so far.
    pub(super) fn advance(&self, bytes: usize, events: u64) {
        self.0.set_message(format!("{events} events"));
        self.0.inc(bytes as u64);
    }

    /// Writes to the terminal while the bar is out of the way.
    pub(super) fn suspended(&self, act: impl FnOnce()) {
        self.0.suspend(act);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
