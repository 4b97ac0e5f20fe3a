//! Where the feed stands.

use bson::Timestamp;

use super::{
    change::{Ours, Raw},
    stream::From,
};
use crate::position::Position;

/// What was handed to the router, and where the next stream goes on.
#[derive(Debug)]
pub(super) struct Place {
    /// Where to open the next stream.
    pub(super) from: From,
    /// Changes up to here were handed over. It must not be ahead of them: those who wait for their
    /// own write go by it.
    pub(super) position: Position,
    /// Changes up to here are not handed over: they were already, or are lost.
    begin: Position,
    /// The same for changes of subscriptions: they are known.
    begin_of_subscriptions: Position,
    /// Whether changes are read one at a time, because one of the next is too large.
    pub(super) careful: bool,
}

impl Place {
    /// Before anything is loaded.
    pub(super) fn nowhere() -> Self {
        Self {
            from: From::Time(Timestamp {
                time: 0,
                increment: 0,
            }),
            position: Position::START,
            begin: Position::START,
            begin_of_subscriptions: Position::START,
            careful: false,
        }
    }

    /// The subscriptions are those of `time`, and so is the stream: what lies before is not read. Events
    /// of this very time lie behind the position, and are handed over: whoever goes on from there is to
    /// get them.
    pub(super) fn start_at(&mut self, time: Timestamp) {
        self.from = From::Time(time);
        self.position = self.position.max(Position::at(time));
        self.begin = self.begin.max(self.position);
        let known = Position::at(after(time));
        self.begin_of_subscriptions = self.begin_of_subscriptions.max(self.begin).max(known);
        self.careful = false;
    }

    /// The subscriptions are those of `time`; the stream goes on from where it is.
    pub(super) fn loaded_ahead(&mut self, time: Timestamp) {
        self.begin_of_subscriptions = Position::at(after(time));
    }

    /// Whether the router knows of this change: a stream that starts at a time repeats what happened
    /// at it, and what a later load of the subscriptions contains comes by afterwards.
    pub(super) fn contains(&self, raw: &Raw<'_>) -> bool {
        let subscriptions = Some(Ours::Subscriptions);
        if raw.collection == subscriptions || raw.renamed_to == subscriptions {
            raw.position <= self.begin_of_subscriptions
        } else {
            raw.position <= self.begin
        }
    }
}

/// The next cluster time: what a snapshot at `time` contains lies before it.
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

    fn contains(place: &Place, at: u32, collection: &str) -> bool {
        let token = format!("82{at:08X}000000012B022C0100296E5A1004");
        let change = doc! {"_id": {"_data": token}, "ns": {"coll": collection}};
        let change = RawDocumentBuf::try_from(&change).unwrap();
        place.contains(&Raw::decode(&change).unwrap())
    }

    #[test]
    fn a_first_load_contains_the_subscriptions_of_its_time_and_events_before_it() {
        let mut place = Place::nowhere();
        place.start_at(time(5));
        assert!(contains(&place, 5, "subscriptions") && !contains(&place, 6, "subscriptions"));
        assert!(contains(&place, 4, "events") && !contains(&place, 5, "events"));
    }

    #[test]
    fn a_load_does_not_claim_what_comes_after_it() {
        let mut place = Place::nowhere();
        place.start_at(time(5));
        assert_eq!(place.position.cluster_time(), time(5));
        place.loaded_ahead(time(8));
        assert_eq!(place.position.cluster_time(), time(5));
    }

    #[test]
    fn a_load_while_the_stream_goes_on_contains_subscriptions_and_no_events() {
        let mut place = Place::nowhere();
        place.start_at(time(5));
        place.loaded_ahead(time(8));
        assert!(contains(&place, 8, "subscriptions") && !contains(&place, 9, "subscriptions"));
        assert!(contains(&place, 4, "events") && !contains(&place, 5, "events"));
    }

    #[test]
    fn a_load_never_takes_the_feed_back() {
        let mut place = Place::nowhere();
        place.start_at(time(8));
        place.start_at(time(5));
        assert!(contains(&place, 7, "events") && contains(&place, 8, "subscriptions"));
    }
}
