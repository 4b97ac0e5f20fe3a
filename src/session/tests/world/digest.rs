//! The part of a world that decides what can happen from here on.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Channel, Client, DELETED, State, World, at};
use crate::{
    position::Position,
    router::outbox::{End, Entry},
};

impl World {
    /// Returns the same for two worlds in which the same can happen from here on: what was read and checked does not
    /// matter any more, and of positions only how they lie to what is still to come.
    pub(in crate::session::tests) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for subscription in 0..2u8 {
            let of_it = self.registry.of(subscription).iter();
            let of_it: Vec<_> = of_it.map(|c| (self.number_of(c.key), c.phase())).collect();
            of_it.hash(&mut hasher);
        }
        for client in &self.clients {
            if matches!(client.state, State::Ended(_)) && client.outbound.is_empty() {
                continue;
            }
            client.hash_into(&mut hasher);
            let left = client.ends_at.map(|end| end.saturating_sub(self.now));
            (left, client.revoked_at.is_some()).hash(&mut hasher);
            for (number, channel) in client.channels.iter().enumerate() {
                if channel.replaying {
                    self.hash_past(client, channel, &mut hasher);
                }
                let current = self.made[usize::from(channel.subscription)] == channel.since;
                let known = self.position(channel.subscription);
                let ahead = known.is_some_and(|(known, _)| known == self.now);
                let real = client.real.iter().find(|real| real.id() == channel.key.id);
                let caught_up = real.map(|real| real.acks.is_caught_up());
                let seen = client.last_read(number).unwrap_or_default();
                let unacknowledged = channel.acked < seen;
                let news = known.is_some_and(|(known, _)| known < seen);
                (current, known.is_some(), ahead, caught_up).hash(&mut hasher);
                (unacknowledged, news).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn hash_past(&self, client: &Client, channel: &Channel, hasher: &mut DefaultHasher) {
        let own_end = client.outbox.end_of(channel.key.id);
        let limit = client.postponed.or(own_end).map(|end| end.position);
        let length = channel.answer.map(|(length, _)| length);
        let past = self.log.iter().enumerate();
        let past: Vec<_> = past
            .filter(|(_, entry)| channel.wants(entry))
            .map(|(n, (number, _, text))| {
                let kind = (text.starts_with("gap"), text == DELETED);
                let within = limit.is_some_and(|limit| at(*number) <= limit);
                let known = length.is_some_and(|length| n < length);
                (kind, within, known, client.may_get(*number))
            })
            .collect();
        (past, length.is_some()).hash(hasher);
    }
}

impl Client {
    fn hash_into(&self, hasher: &mut DefaultHasher) {
        let (entries, intake, (given, verdict)) = self.outbox.shape();
        let (parts, standings) = self.outbound.shape();
        for (number, channel) in self.channels.iter().enumerate() {
            let texts = self.texts_of(number);
            let rank = |position: Position| rank(channel, position, texts.len());
            let id = channel.key.id;
            let own = entries.iter().filter(|entry| entry.is_for(id));
            let own: Vec<_> = own
                .map(|entry| match entry {
                    Entry::Frame(_, frame) => (rank(frame.position), frame.messages(), None),
                    Entry::End(_, end) => (rank(end.position), 0, Some((end.ending, end.drain))),
                    Entry::ToSeveral(..) | Entry::Opened { .. } => {
                        unreachable!("its sessions have one dialect")
                    }
                })
                .collect();
            let parts = parts.iter().filter(|(of, ..)| *of == Some(id));
            let parts: Vec<_> = parts
                .map(|(_, position, messages, len)| (position.map(rank), *messages, *len))
                .collect();
            let standing = standings.iter().find(|(of, ..)| *of == id);
            let standing = standing.map(|(_, queued, taken)| (rank(*queued), rank(*taken)));
            let gaps = channel.due.iter().map(|(_, text)| text.starts_with("gap"));
            let unread: Vec<bool> = gaps.skip(texts.len()).collect();
            let end = |end: End| (end.ending, end.drain, rank(end.position));
            (channel.subscription, channel.kind, channel.replaying).hash(hasher);
            (channel.decided, channel.has_own_end, unread, own).hash(hasher);
            (parts, standing).hash(hasher);
            (self.postponed.map(end), verdict.map(end)).hash(hasher);
            if let State::Ended(decided) = self.state {
                end(decided).hash(hasher);
            }
        }
        // The order of all, whichever channels they are of.
        let ids = || self.channels.iter().map(|channel| channel.key.id);
        let order = entries
            .iter()
            .map(|entry| ids().find(|id| entry.is_for(*id)));
        order.collect::<Vec<_>>().hash(hasher);
        let order = parts.iter().map(|(channel, .., len)| (*channel, *len));
        order.collect::<Vec<_>>().hash(hasher);
        (self.found, self.decided, intake, given, self.missed).hash(hasher);
        (self.closes, self.cut_short).hash(hasher);
        std::mem::discriminant(&self.state).hash(hasher);
    }
}

/// Returns the number of things due on a channel up to a position that the client has not read yet.
fn rank(channel: &Channel, position: Position, read: usize) -> usize {
    let due = channel.due.iter();
    let up_to_it = due.filter(|(number, _)| at(*number) <= position);
    up_to_it.count().saturating_sub(read)
}
