//! A session, as the registry keeps it.

use std::{sync::Arc, time::SystemTime};

use smallvec::SmallVec;

use crate::{
    access::Caller,
    protocol::{ChannelId, Dialect},
    router::{alive::Closed, outbox::Sender},
};

/// Names a session on this node. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SessionKey(pub(super) u64);

/// The rule by which a session ends besides its own endings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Closes {
    /// It has one channel, whose end is its own: a WebSocket or an answer for one subscription.
    WithItsChannel,
    /// It outlives its channels.
    Alone,
}

/// The part of a session that its opening decides.
#[derive(Debug)]
pub(crate) struct NewSession {
    /// The id that clients and operators know.
    pub id: Box<str>,
    pub caller: Arc<Caller>,
    pub outbox: Sender,
    pub dialect: Dialect,
    /// The client's address, for operators.
    pub remote: Box<str>,
    pub closes: Closes,
    /// Resolves when the socket is closed.
    pub closed: Closed,
}

/// One client on one socket or HTTP answer.
#[derive(Debug)]
pub(crate) struct SessionEntry<S> {
    pub(crate) new: NewSession,
    pub(crate) opened_at: SystemTime,
    /// In the order of their ids, which only rise.
    channels: SmallVec<[Place<S>; 1]>,
    next_channel: ChannelId,
}

/// A channel's place in the list of its subscription's channels.
#[derive(Debug)]
struct Place<S> {
    id: ChannelId,
    subscription: S,
    index: u32,
}

impl<S: Copy> SessionEntry<S> {
    pub(super) fn new(new: NewSession) -> Self {
        Self {
            new,
            opened_at: SystemTime::now(),
            channels: SmallVec::new(),
            next_channel: ChannelId::FIRST,
        }
    }

    /// Adds a channel that stands at `index` among those of its subscription.
    pub(super) fn add(&mut self, subscription: S, index: usize) -> ChannelId {
        let id = self.next_channel;
        self.next_channel = id.next();
        self.channels.push(Place {
            id,
            subscription,
            index: number(index),
        });
        id
    }

    /// Removes a channel; returns its place.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<(S, usize)> {
        let place = self.channels.remove(self.at(id)?);
        Some((place.subscription, place.index as usize))
    }

    /// Notes that a channel stands at `index` now.
    pub(super) fn moved(&mut self, id: ChannelId, index: usize) {
        if let Some(at) = self.at(id) {
            self.channels[at].index = number(index);
        }
    }

    pub(super) fn place(&self, id: ChannelId) -> Option<(S, usize)> {
        let place = &self.channels[self.at(id)?];
        Some((place.subscription, place.index as usize))
    }

    fn at(&self, id: ChannelId) -> Option<usize> {
        self.channels
            .binary_search_by_key(&id, |place| place.id)
            .ok()
    }

    /// Returns what resolves when a channel is closed.
    pub(crate) fn closed(&self, id: ChannelId) -> Closed {
        match self.new.closes {
            Closes::WithItsChannel => self.new.closed.clone(),
            Closes::Alone => self.new.closed.of(id),
        }
    }

    /// Returns the channels with their subscriptions.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (ChannelId, S)> {
        self.channels
            .iter()
            .map(|place| (place.id, place.subscription))
    }

    /// Returns the number of channels.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    pub(super) fn last(&self) -> Option<ChannelId> {
        self.channels.last().map(|place| place.id)
    }
}

/// Returns a place among the channels of a subscription, of which a node has far fewer than 2^32.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
impl NewSession {
    /// Returns a session for tests that closes with its channel.
    pub(crate) fn on(outbox: Sender) -> Self {
        Self {
            id: Box::default(),
            caller: Arc::new(Caller::anybody()),
            outbox,
            dialect: Dialect::Tidegate,
            remote: Box::default(),
            closes: Closes::WithItsChannel,
            closed: crate::router::alive::AliveGuard::new().1,
        }
    }
}
