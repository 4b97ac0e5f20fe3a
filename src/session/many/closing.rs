//! The end of a session for many subscriptions, and the time that the ends of its channels may take.

use std::time::{Duration, Instant};

use crate::{
    position::Position,
    router::outbox::{End, Entry},
    session::{Session, channel::Channel},
};

impl Session {
    /// Makes of what is queued what the client still gets: everything that waits for channels that are not held
    /// back, if the end drains, else no more than the message that was begun. Returns the position of the live
    /// channels then.
    pub(in crate::session) fn conclude_many(&mut self, end: End) -> Option<Position> {
        let (missed, waits) = (self.outbox.missed(), self.outbox.drain());
        if !end.drain {
            self.transport.outbound().discard();
            return self.standing_of_live();
        }
        for mut entry in waits {
            // A channel that catches up goes on from where it was.
            let channels = &self.channels;
            let is_held_back = |id| channels.get(id).is_some_and(Channel::is_held_back);
            let is_for_nobody = entry.is_only_for(is_held_back);
            let begins_late = matches!(
                entry,
                Entry::Opened {
                    catches_up: true,
                    ..
                }
            );
            if is_for_nobody || begins_late {
                continue;
            }
            entry.leave_out(is_held_back);
            self.queue_entry(entry);
        }
        if !missed && self.standing_of_live().is_some() {
            self.transport.outbound().advance_shared(end.position);
        }
        self.standing_of_live()
    }

    /// Returns the time at which the whole socket is closed: ends of channels wait, and it takes nothing.
    pub(in crate::session) fn ends_wait_until(&mut self, patience: Duration) -> Option<Instant> {
        let refused_since = self.heartbeat.refused_since();
        let several = self.several.as_deref_mut()?;
        let waits = refused_since.is_some()
            && (self.channels.iter_all().any(Channel::has_ended) || self.outbox.has_ends());
        several.ends_wait_since = match several.ends_wait_since {
            _ if !waits => None,
            None => Some(Instant::now()),
            since => since,
        };
        let since = several.ends_wait_since?.max(refused_since?);
        Some(since + patience)
    }
}
