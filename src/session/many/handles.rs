//! The handles of a session that are in use. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    protocol::ChannelId,
    session::channel::{Channel, Channels},
};

/// The handles in use: each from the message that names it until its `refused` or `ended` is queued.
#[derive(Default)]
pub(super) struct Handles {
    /// Those that are asked for.
    asked: HashMap<Arc<str>, Wish>,
    /// The channels under the others. Their handles lie there and nowhere else: there can be very many.
    open: HashTable<ChannelId>,
    /// Those of all of these with filters of the client's own.
    adhoc: usize,
    hasher: RandomState,
}

/// The wish for a channel under a handle.
#[derive(Clone, Copy)]
struct Wish {
    /// The number of the message that asks for it.
    number: u64,
    adhoc: bool,
}

impl Handles {
    /// Returns the number of handles.
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.open.len()
    }

    /// Returns the number of those with filters of the client's own.
    pub(super) fn adhoc(&self) -> usize {
        self.adhoc
    }

    /// Whether a handle is in use.
    pub(super) fn has(&self, handle: &str, channels: &Channels) -> bool {
        self.asked.contains_key(handle) || self.find(handle, channels).is_some()
    }

    /// Notes that a handle is asked for.
    pub(super) fn ask(&mut self, handle: Arc<str>, number: u64, adhoc: bool) {
        self.adhoc += usize::from(adhoc);
        self.asked.insert(handle, Wish { number, adhoc });
    }

    /// Returns the number of the message that asks for a handle, if it has not begun.
    pub(super) fn asked_by(&self, handle: &str) -> Option<u64> {
        self.asked.get(handle).map(|wish| wish.number)
    }

    /// Whether some handles have not begun.
    pub(super) fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether everything that a message asked for has begun, or was refused.
    pub(super) fn is_complete(&self, number: u64) -> bool {
        let mut asked = self.asked.values();
        asked.all(|wish| wish.number != number)
    }

    /// Forgets a handle that is asked for; false if it was not.
    pub(super) fn refuse(&mut self, handle: &str) -> bool {
        let wish = self.asked.remove(handle);
        self.adhoc -= usize::from(wish.is_some_and(|wish| wish.adhoc));
        self.forget_room();
        wish.is_some()
    }

    /// Notes that the channel under a handle that was asked for is there.
    pub(super) fn open(&mut self, id: ChannelId, handle: &str, channels: &Channels) {
        self.asked.remove(handle);
        self.forget_room();
        let Self { open, hasher, .. } = self;
        let hash_of = |id: &ChannelId| hasher.hash_one(channels.handle(*id).unwrap_or_default());
        open.insert_unique(hasher.hash_one(handle), id, hash_of);
    }

    /// Returns the channel under a handle.
    pub(super) fn find(&self, handle: &str, channels: &Channels) -> Option<ChannelId> {
        let hash = self.hasher.hash_one(handle);
        let is_it = |id: &ChannelId| channels.handle(*id) == Some(handle);
        self.open.find(hash, is_it).copied()
    }

    /// Forgets the handle of a channel that is still there.
    pub(super) fn close(&mut self, channel: &Channel, channels: &Channels) {
        let Self { open, hasher, .. } = self;
        let handle = channel.handle.as_deref().unwrap_or_default();
        let hash_of = |id: &ChannelId| hasher.hash_one(channels.handle(*id).unwrap_or_default());
        let is_it = |id: &ChannelId| *id == channel.id();
        if let Entry::Occupied(entry) = open.entry(hasher.hash_one(handle), is_it, hash_of) {
            entry.remove();
            self.adhoc -= usize::from(channel.adhoc);
        }
    }

    /// Gives the room for those that are asked for back, if there are none.
    fn forget_room(&mut self) {
        if self.asked.is_empty() {
            self.asked = HashMap::new();
        }
    }
}
