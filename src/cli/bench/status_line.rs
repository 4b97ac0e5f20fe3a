//! The state of a run, shown on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A status line on a terminal, nothing elsewhere.
pub(super) struct StatusLine(ProgressBar);

impl StatusLine {
    pub(super) fn new() -> Self {
        // indicatif draws on standard error, and only where that is a terminal.
        let line = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            line.set_style(style);
        }
        line.enable_steady_tick(Duration::from_millis(200));
        Self(line)
    }

    pub(super) fn show(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
