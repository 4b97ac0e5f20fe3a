//! The feed's resume point.

use bson::Timestamp;

use super::{
    decode::{OwnCollection, RawChange},
    pipeline::StreamStart,
};
use crate::position::Position;

/// The changes that the router has been handed, and the start of the next stream.
#[derive(Debug)]
pub(super) struct ResumePoint {
    /// The start of the next stream.
    pub(super) start: StreamStart,
    /// Changes up to here were handed over. This must not be ahead of them: those who wait for their own write go by
    /// it.
    pub(super) position: Position,
    /// Changes up to here are not handed over: they were, or nobody was there to get them.
    passed: Position,
    /// Changes of subscriptions and credentials before here are not handed over: a load contains them.
    begin_of_subscriptions: Position,
    /// True if changes are read one by one, because one of the next is too large.
    pub(super) one_by_one: bool,
}

impl ResumePoint {
    /// Returns the resume point of a feed that has loaded nothing.
    pub(super) fn nowhere() -> Self {
        Self {
            start: StreamStart::At(Timestamp {
                time: 0,
                increment: 0,
            }),
            position: Position::START,
            passed: Position::START,
            begin_of_subscriptions: Position::START,
            one_by_one: false,
        }
    }

    /// Moves to a load of the subscriptions at `time`, where the stream starts too. What lies before is not read, but
    /// the events of that very time are: a gap that ends at `time`, or a replay up to it, has none of them.
    pub(super) fn start_at(&mut self, time: Timestamp) {
        self.start = StreamStart::At(time);
        self.position = self.position.max(Position::at(time));
        self.passed = self.position;
        self.begin_of_subscriptions = self.begin_of_subscriptions.max(Position::at(after(time)));
        self.one_by_one = false;
    }

    /// Notes a load of the subscriptions at `time`. The stream goes on where it is.
    pub(super) fn loaded_ahead(&mut self, time: Timestamp) {
        self.begin_of_subscriptions = Position::at(after(time));
    }

    /// Whether the router knows of this change already. A stream that starts at a time repeats what happened at that
    /// time, and shows changes that a later load of the subscriptions contains.
    pub(super) fn contains(&self, raw: &RawChange<'_>) -> bool {
        let mut collections = raw.collection.into_iter().chain(raw.renamed_to);
        if collections.any(OwnCollection::is_loaded) {
            raw.position < self.begin_of_subscriptions
        } else {
            raw.position <= self.passed
        }
    }
}

/// Returns the next cluster time. What a snapshot at `time` contains lies before it.
fn after(time: Timestamp) -> Timestamp {
    match time.increment.checked_add(1) {
        Some(increment) => Timestamp {
            time: time.time,
            increment,
        },
        None => Timestamp {
            time: time.time + 1,
            increment: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, doc};

    fn time(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn token(at: u32) -> String {
        format!("82{at:08X}000000012B022C0100296E5A1004")
    }

    fn position(at: u32) -> Position {
        Position::from_token_data(&token(at)).unwrap()
    }

    fn contains(resume: &ResumePoint, at: u32, collection: &str) -> bool {
        let change = doc! {"_id": {"_data": token(at)}, "ns": {"coll": collection}};
        let change = RawDocumentBuf::try_from(&change).unwrap();
        resume.contains(&RawChange::decode(&change).unwrap())
    }

    #[test]
    fn a_load_contains_subscriptions_of_its_time_and_no_events_of_it() {
        let mut resume = ResumePoint::nowhere();
        resume.start_at(time(5));
        assert!(contains(&resume, 5, "subscriptions") && !contains(&resume, 6, "subscriptions"));
        assert!(contains(&resume, 4, "events") && !contains(&resume, 5, "events"));
    }

    #[test]
    fn an_event_that_was_handed_over_is_not_again_after_a_load_at_its_time() {
        let mut resume = ResumePoint::nowhere();
        resume.start_at(time(4));
        resume.position = position(5);
        resume.start_at(time(5));
        assert!(contains(&resume, 5, "events") && !contains(&resume, 6, "events"));
    }

    #[test]
    fn a_load_does_not_claim_what_comes_after_it() {
        let mut resume = ResumePoint::nowhere();
        resume.start_at(time(5));
        assert_eq!(resume.position.cluster_time(), time(5));
        resume.loaded_ahead(time(8));
        assert_eq!(resume.position.cluster_time(), time(5));
    }

    #[test]
    fn a_load_while_the_stream_goes_on_contains_subscriptions_and_no_events() {
        let mut resume = ResumePoint::nowhere();
        resume.start_at(time(5));
        resume.loaded_ahead(time(8));
        assert!(contains(&resume, 8, "subscriptions") && !contains(&resume, 9, "subscriptions"));
        assert!(contains(&resume, 4, "events") && !contains(&resume, 5, "events"));
    }

    #[test]
    fn a_load_never_takes_the_feed_back() {
        let mut resume = ResumePoint::nowhere();
        resume.start_at(time(8));
        resume.position = position(8);
        resume.start_at(time(5));
        assert!(contains(&resume, 8, "events") && !contains(&resume, 9, "events"));
    }
}
