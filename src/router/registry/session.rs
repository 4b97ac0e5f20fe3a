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
    channels: SmallVec<[Place<S>; 1]>,
    next_channel: ChannelId,
}

/// A channel's place in the list of its subscription's channels.
#[derive(Debug)]
struct Place<S> {
    id: ChannelId,
    subscription: S,
    index: usize,
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
            index,
        });
        id
    }

    /// Removes a channel; returns its place.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<(S, usize)> {
        let at = self.channels.iter().position(|place| place.id == id)?;
        let place = self.channels.swap_remove(at);
        Some((place.subscription, place.index))
    }

    /// Notes that a channel stands at `index` now.
    pub(super) fn moved(&mut self, id: ChannelId, index: usize) {
        if let Some(place) = self.channels.iter_mut().find(|place| place.id == id) {
            place.index = index;
        }
    }

    pub(super) fn place(&self, id: ChannelId) -> Option<(S, usize)> {
        let place = self.channels.iter().find(|place| place.id == id)?;
        Some((place.subscription, place.index))
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
