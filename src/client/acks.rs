//! Events that are handled and not acknowledged yet.
//!
//! One frame acknowledges everything before it, so a burst takes a few: one when nothing more is there to read, and on
//! the way one every hundred events or 200 ms.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::frame::Frame;

/// Events after which an acknowledgement is due.
const MOST_EVENTS: usize = 100;
/// Time after which an acknowledgement is due.
const LONGEST: Duration = Duration::from_millis(200);

/// The acknowledgements of one listener, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The cursor of the last frame that was handled. There is none before the first event: what lies before the start
    /// is not ours to acknowledge.
    handled: Option<String>,
    /// Events since the last acknowledgement.
    events: usize,
    /// The time of the first of them.
    since: Option<Instant>,
    /// True behind `ended`. The close follows at once, and nothing can be said after it.
    ended: bool,
}

impl Acks {
    /// Notes that a frame was handled.
    pub(super) fn handled(&mut self, frame: &Frame) {
        if frame.is_event() || self.handled.is_some() {
            self.handled = frame.cursor().or(self.handled.take());
        }
        if frame.is_event() && self.handled.is_some() {
            self.owe();
        }
        self.ended |= frame.kind() == "ended" && frame.text("handle").is_empty();
    }

    /// Whether anything is not acknowledged.
    pub(super) fn pending(&self) -> bool {
        self.events > 0
    }

    /// Whether the acknowledgement cannot wait until there is nothing to read.
    pub(super) fn due(&self) -> bool {
        let long = self.since.is_some_and(|since| since.elapsed() >= LONGEST);
        self.pending() && (self.ended || long || self.events >= MOST_EVENTS)
    }

    /// Makes the message that acknowledges everything that was handled.
    pub(super) fn message(&self) -> Option<String> {
        let cursor = self.handled.as_ref().filter(|_| self.pending())?;
        Some(json!({"type": "ack", "cursor": cursor}).to_string())
    }

    /// Notes that the message was sent.
    pub(super) fn sent(&mut self) {
        self.events = 0;
        self.since = None;
    }

    /// Notes that the connection is over. The service may not have heard the last message, so the next connection
    /// repeats it.
    pub(super) fn disconnected(&mut self) {
        self.ended = false;
        if self.handled.is_some() {
            self.owe();
        }
    }

    fn owe(&mut self) {
        self.events += 1;
        self.since.get_or_insert_with(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn frame(kind: &str, cursor: &str) -> Frame {
        Frame::parse(json!({"type": kind, "cursor": cursor}).to_string()).unwrap()
    }

    /// Handles this many events. Returns whether an acknowledgement is due then.
    fn handle(acks: &mut Acks, events: usize) -> bool {
        for _ in 0..events {
            acks.handled(&frame("event", "c"));
        }
        acks.due()
    }

    fn check(acks: &Acks, cursor: Option<&str>) {
        let expected = cursor.map(|cursor| format!(r#"{{"type":"ack","cursor":"{cursor}"}}"#));
        assert_eq!(acks.message(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_acknowledged_by_number_and_by_time() {
        let mut acks = Acks::default();
        assert!(!handle(&mut acks, MOST_EVENTS - 1));
        assert!(acks.pending());
        assert!(handle(&mut acks, 1));
        acks.sent();
        assert!(!acks.pending() && !handle(&mut acks, 1));
        advance(LONGEST).await;
        assert!(acks.due());
        acks.sent();
        assert!(!acks.due());
    }

    #[test]
    fn nothing_is_acknowledged_before_an_event_and_then_all_that_is_handled() {
        let mut acks = Acks::default();
        acks.handled(&frame("connected", "a"));
        acks.disconnected();
        acks.handled(&frame("connected", "a"));
        check(&acks, None);
        acks.handled(&frame("event", "b"));
        check(&acks, Some("b"));
        acks.handled(&frame("updated", "c"));
        check(&acks, Some("c"));
        acks.sent();
        acks.handled(&frame("gap", "d"));
        check(&acks, None);
    }

    #[test]
    fn an_ending_makes_it_due_and_the_next_connection_repeats_it() {
        let mut acks = Acks::default();
        acks.handled(&frame("event", "a"));
        acks.handled(&frame("ended", "b"));
        assert!(acks.due());
        acks.sent();
        acks.disconnected();
        check(&acks, Some("b"));
        assert!(!acks.due(), "the close is behind it");
    }
}
