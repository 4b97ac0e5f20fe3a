//! What is printed and not acknowledged yet (`--ack`).
//!
//! One frame acknowledges everything before it, so a burst takes a few: one when nothing more is there
//! to be read, and on the way one for every so many events and every so often.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::frame::Frame;

/// So many events are acknowledged at the latest, and after so long.
const MOST_EVENTS: usize = 100;
const LONGEST: Duration = Duration::from_millis(200);

/// The acknowledgements of one listener, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Up to where all is printed, once an event is: where to begin is no reason to acknowledge
    /// what the service has before that.
    printed: Option<String>,
    /// What was printed since the last acknowledgement.
    events: usize,
    since: Option<Instant>,
    /// The close comes right behind this, and nothing can be said after it.
    ended: bool,
    warned: bool,
}

impl Acks {
    /// A frame is printed.
    pub(super) fn printed(&mut self, frame: &Frame) {
        if frame.is_event() || self.printed.is_some() {
            self.printed = frame.cursor().or(self.printed.take());
        }
        if frame.is_event() && self.printed.is_some() {
            self.owe();
        }
        self.ended |= frame.kind() == "ended";
    }

    /// Whether this frame shows that the service ignores them, for the first time.
    pub(super) fn are_in_vain(&mut self, frame: &Frame) -> bool {
        frame.kind() == "connected"
            && frame.field("subscription")["durable"] != true
            && !std::mem::replace(&mut self.warned, true)
    }

    /// Whether anything is not acknowledged.
    pub(super) fn waiting(&self) -> bool {
        self.events > 0
    }

    /// Whether it is to be acknowledged although there is more to be read.
    pub(super) fn due(&self) -> bool {
        let long = self.since.is_some_and(|since| since.elapsed() >= LONGEST);
        self.waiting() && (self.ended || long || self.events >= MOST_EVENTS)
    }

    /// The message that acknowledges everything that is printed.
    pub(super) fn message(&self) -> Option<String> {
        let cursor = self.printed.as_ref().filter(|_| self.waiting())?;
        Some(json!({"type": "ack", "cursor": cursor}).to_string())
    }

    /// That message was sent.
    pub(super) fn sent(&mut self) {
        self.events = 0;
        self.since = None;
    }

    /// The connection is over. Nobody says whether the service has heard the last message: the next
    /// connection repeats it.
    pub(super) fn cut(&mut self) {
        self.ended = false;
        if self.printed.is_some() {
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
        Frame::parse(&json!({"type": kind, "cursor": cursor}).to_string()).unwrap()
    }

    /// Prints this many events; whether an acknowledgement is due then.
    fn print(acks: &mut Acks, events: usize) -> bool {
        for _ in 0..events {
            acks.printed(&frame("event", "c"));
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
        assert!(!print(&mut acks, MOST_EVENTS - 1));
        assert!(acks.waiting());
        assert!(print(&mut acks, 1));
        acks.sent();
        assert!(!acks.waiting() && !print(&mut acks, 1));
        advance(LONGEST).await;
        assert!(acks.due());
        acks.sent();
        assert!(!acks.due());
    }

    #[test]
    fn nothing_is_acknowledged_before_an_event_and_then_all_that_is_printed() {
        let mut acks = Acks::default();
        acks.printed(&frame("connected", "a"));
        acks.cut();
        acks.printed(&frame("connected", "a"));
        check(&acks, None);
        acks.printed(&frame("event", "b"));
        check(&acks, Some("b"));
        acks.printed(&frame("updated", "c"));
        check(&acks, Some("c"));
        acks.sent();
        acks.printed(&frame("gap", "d"));
        check(&acks, None);
    }

    #[test]
    fn an_ending_makes_it_due_and_the_next_connection_repeats_it() {
        let mut acks = Acks::default();
        acks.printed(&frame("event", "a"));
        acks.printed(&frame("ended", "b"));
        assert!(acks.due());
        acks.sent();
        acks.cut();
        check(&acks, Some("b"));
        assert!(!acks.due(), "the close is behind it");
    }

    #[test]
    fn a_subscription_that_is_not_durable_is_told_once() {
        let connected = |durable: serde_json::Value| {
            let subscription = json!({"durable": durable});
            let text = json!({"type": "connected", "subscription": subscription}).to_string();
            Frame::parse(&text).unwrap()
        };
        let mut acks = Acks::default();
        assert!(!acks.are_in_vain(&connected(json!(true))));
        assert!(!acks.are_in_vain(&frame("event", "a")));
        assert!(acks.are_in_vain(&connected(json!(false))));
        assert!(!acks.are_in_vain(&connected(json!(null))));
        assert!(Acks::default().are_in_vain(&connected(json!(null))));
    }
}
