//! The channels of each subscription.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use super::channel::{ChannelEntry, ChannelKey};
use crate::router::incarnation::Incarnation;

/// The part by which a full list grows.
const GROWTH_PART: usize = 8;

/// The channels of each subscription that has some.
#[derive(Debug)]
pub(super) struct BySubscription<S> {
    all: HashMap<S, Channels>,
    /// The subscriptions whose last channel has gone since this was asked last.
    emptied: Vec<S>,
}

/// The channels of one subscription.
#[derive(Default, Debug)]
struct Channels {
    all: Vec<ChannelEntry>,
    /// The incarnation that their sessions know.
    incarnation: Option<Arc<Incarnation>>,
    /// The number of those on sessions for many subscriptions: most subscriptions have none.
    many: u32,
}

impl<S> Default for BySubscription<S> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            emptied: Vec::new(),
        }
    }
}

impl<S: Copy + Eq + Hash> BySubscription<S> {
    pub(super) fn of(&self, subscription: S) -> &[ChannelEntry] {
        self.all
            .get(&subscription)
            .map_or(&[], |of| of.all.as_slice())
    }

    pub(super) fn of_mut(&mut self, subscription: S) -> &mut [ChannelEntry] {
        let of = self.all.get_mut(&subscription);
        of.map_or(&mut [], |of| of.all.as_mut_slice())
    }

    /// Whether some are on sessions for many subscriptions.
    pub(super) fn has_many(&self, subscription: S) -> bool {
        self.all.get(&subscription).is_some_and(|of| of.many > 0)
    }

    /// Returns an incarnation of a subscription that has channels, shared by all who ask for the same.
    pub(super) fn share(&mut self, subscription: S, wanted: Incarnation) -> Arc<Incarnation> {
        let Some(of) = self.all.get_mut(&subscription) else {
            return Arc::new(wanted);
        };
        let shared = of.incarnation.take().filter(|known| **known == wanted);
        let shared = shared.unwrap_or_else(|| Arc::new(wanted));
        Arc::clone(of.incarnation.insert(shared))
    }

    pub(super) fn push(&mut self, subscription: S, channel: ChannelEntry) {
        let of = self.all.entry(subscription).or_default();
        of.many += u32::from(channel.dialect.is_of_many());
        if of.all.len() == of.all.capacity() {
            // Nearly all have one channel, and some very many: neither is to pay for room that stays empty.
            of.all.reserve_exact((of.all.len() / GROWTH_PART).max(1));
        }
        of.all.push(channel);
    }

    /// Removes a channel. Also returns the one that has its index now, if there is one.
    pub(super) fn swap_remove(
        &mut self,
        subscription: S,
        index: usize,
    ) -> Option<(ChannelEntry, Option<ChannelKey>)> {
        let of = self.all.get_mut(&subscription)?;
        let channel = of.all.swap_remove(index);
        of.many -= u32::from(channel.dialect.is_of_many());
        let moved = of.all.get(index).map(|moved| moved.key);
        if of.all.is_empty() {
            self.all.remove(&subscription);
            self.emptied.push(subscription);
        }
        Some((channel, moved))
    }

    pub(super) fn remove_all(&mut self, subscription: S) -> Vec<ChannelEntry> {
        let Some(of) = self.all.remove(&subscription) else {
            return Vec::new();
        };
        self.emptied.push(subscription);
        of.all
    }

    /// Takes the subscriptions whose last channel has gone since this was asked last. They may have some again.
    pub(super) fn take_emptied(&mut self) -> Vec<S> {
        std::mem::take(&mut self.emptied)
    }

    pub(super) fn subscriptions(&self) -> impl Iterator<Item = S> {
        self.all.keys().copied()
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelEntry> {
        self.all.values().flat_map(|of| &of.all)
    }
}
