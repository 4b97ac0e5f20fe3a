//! The sessions of this node, and the channels of each subscription.
//!
//! A *session* is one client on one socket or HTTP answer; a *channel* is one subscription on a session. The
//! registry alone decides that either of them ends, and why. Each is in it from its opening to the one call that
//! ends it; whoever comes later with another reason finds nothing, so an ending happens exactly once, whatever
//! races. The end of a session is the end of its channels. The end of a channel is told through the outbox in its
//! place among the channel's frames, and leaves the other channels alone, unless the session [closes with
//! it](Closes). An ended channel is not closed yet: [`Closed`] tells when it is. To sessions for many subscriptions
//! everything goes in one order, and the marks of a message say which others belong to the same change; so it is
//! collected first ([`Told`]). Pure: no I/O.

mod by_credential;
mod by_subscription;
mod by_tenant;
mod callers;
mod channel;
mod lingering;
mod session;
#[cfg(test)]
mod tests;
mod told;

use std::{collections::HashMap, hash::Hash, sync::Arc};

use self::{
    by_credential::ByCredential, by_subscription::BySubscription, by_tenant::ByTenant,
    lingering::Lingering,
};
pub(crate) use self::{
    channel::{ChannelEntry, ChannelKey, NewChannel, Phase, ends_on_gap},
    session::{Closes, NewSession, SessionEntry, SessionKey},
    told::Told,
};
pub(crate) use super::alive::{AliveGuard, Closed};
use super::{
    counters::ConnectionCounters,
    incarnation::Incarnation,
    outbox::{End, Entry, Sender},
};
use crate::{position::Position, protocol::Ending};

/// A session for which something waits.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) key: SessionKey,
    pub(super) outbox: Sender,
    pub(super) bytes: usize,
}

/// All sessions and channels of a node, by key and by subscription, and their counters.
#[derive(Debug)]
pub(crate) struct Registry<S> {
    sessions: HashMap<SessionKey, Box<SessionEntry<S>>>,
    by_subscription: BySubscription<S>,
    by_credential: ByCredential,
    by_tenant: ByTenant,
    channels_by_tenant: ByTenant,
    lingering: Lingering,
    counters: ConnectionCounters,
    channel_counters: ConnectionCounters,
    /// Bytes of all copies of subscriptions that catching-up channels hold.
    copied_bytes: usize,
    /// Channels of ad-hoc subscriptions.
    adhoc: usize,
    next_session: u64,
    /// The point at which channels begin that were opened last. Most of one time share it.
    from: Arc<Position>,
    /// The entries for sessions for many subscriptions that are not in their outboxes yet, in order.
    told: Vec<Told>,
    /// The place of the last gap of each session among these.
    gaps: HashMap<SessionKey, usize>,
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self {
            sessions: HashMap::new(),
            by_subscription: BySubscription::default(),
            by_credential: ByCredential::default(),
            by_tenant: ByTenant::default(),
            channels_by_tenant: ByTenant::default(),
            lingering: Lingering::default(),
            counters: ConnectionCounters::default(),
            channel_counters: ConnectionCounters::default(),
            copied_bytes: 0,
            adhoc: 0,
            next_session: 0,
            from: Arc::new(Position::START),
            told: Vec::new(),
            gaps: HashMap::new(),
        }
    }
}

/// Returns a shared position, which `last` is if it is the same.
fn shared(last: &mut Arc<Position>, position: Position) -> Arc<Position> {
    if **last != position {
        *last = Arc::new(position);
    }
    Arc::clone(last)
}

impl<S: Copy + Eq + Hash> Registry<S> {
    /// Takes a session in. It has no channels yet.
    pub(crate) fn open_session(&mut self, new: NewSession) -> SessionKey {
        let key = SessionKey(self.next_session);
        self.next_session += 1;
        self.by_credential.insert(key, &new.caller);
        self.by_tenant.insert(&new.caller);
        self.sessions.insert(key, Box::new(SessionEntry::new(new)));
        self.counters.open();
        key
    }

    /// Opens a channel on a session; `None` if the session has ended.
    pub(crate) fn open_channel(
        &mut self,
        session: SessionKey,
        subscription: S,
        new: NewChannel,
    ) -> Option<ChannelKey> {
        let opened = self.sessions.get_mut(&session)?;
        let index = self.by_subscription.of(subscription).len();
        let key = ChannelKey {
            session,
            id: opened.add(subscription, index),
        };
        self.channels_by_tenant.insert(&opened.new.caller);
        self.adhoc += usize::from(new.adhoc);
        let to = (opened.new.outbox.clone(), opened.new.dialect);
        let channel = ChannelEntry::new(key, to, shared(&mut self.from, new.from), new);
        self.copied_bytes += channel.copy_bytes();
        self.by_subscription.push(subscription, channel);
        self.channel_counters.open();
        Some(key)
    }

    /// Switches a channel to live: from here on it gets events as they come, those after `from`.
    pub(crate) fn make_live(&mut self, key: ChannelKey, from: Position) {
        let Some((subscription, index)) = self.place(key) else {
            return;
        };
        let channels = self.by_subscription.of_mut(subscription);
        if let Some(channel) = channels.get_mut(index) {
            self.copied_bytes -= channel.copy_bytes();
            channel.make_live(shared(&mut self.from, from));
        }
    }

    /// Ends a session and every channel that it has: they are forgotten, told, and counted. False if it had ended
    /// before.
    pub(crate) fn end_session(
        &mut self,
        key: SessionKey,
        ending: Ending,
        position: Position,
    ) -> bool {
        while let Some(last) = self.sessions.get(&key).and_then(|session| session.last()) {
            let key = ChannelKey {
                session: key,
                id: last,
            };
            if let Some(channel) = self.detach(key) {
                self.count_out(&channel, ending);
            }
        }
        let Some(session) = self.sessions.remove(&key) else {
            return false;
        };
        self.by_credential.remove(key, &session.new.caller);
        self.by_tenant.remove(&session.new.caller);
        self.lingering
            .add(&session.new.caller, session.new.closed.clone());
        self.finish(&session, ending, position);
        true
    }

    /// Ends a channel, and the session with it if that closes with its channel. False if it had ended before.
    pub(crate) fn end_channel(
        &mut self,
        key: ChannelKey,
        ending: Ending,
        position: Position,
    ) -> bool {
        let Some(session) = self.sessions.get(&key.session) else {
            return false;
        };
        if session.new.closes == Closes::WithItsChannel {
            return self.end_session(key.session, ending, position);
        }
        let Some(channel) = self.detach(key) else {
            return false;
        };
        self.finish_channel(&channel, ending, position);
        true
    }

    /// Ends every channel of a subscription. Returns what tells that each is closed.
    pub(crate) fn end_channels_of(
        &mut self,
        subscription: S,
        ending: Ending,
        position: Position,
    ) -> Vec<Closed> {
        let channels = self.by_subscription.remove_all(subscription);
        let mut closed = Vec::with_capacity(channels.len());
        for channel in channels {
            if let Some(session) = self.sessions.get_mut(&channel.key.session) {
                session.remove(channel.key.id);
                closed.push(session.closed(channel.key.id));
                if session.new.closes == Closes::WithItsChannel {
                    self.count_out(&channel, ending);
                    self.end_session(channel.key.session, ending, position);
                } else {
                    self.finish_channel(&channel, ending, position);
                }
            }
        }
        closed
    }

    /// Ends so many sessions, whichever; all, if there are no more than that.
    pub(crate) fn end_some(&mut self, most: usize, ending: Ending, position: Position) {
        let keys: Vec<SessionKey> = self.sessions.keys().copied().take(most).collect();
        for key in keys {
            self.end_session(key, ending, position);
        }
    }

    /// Takes a channel out of its session and its subscription.
    fn detach(&mut self, key: ChannelKey) -> Option<ChannelEntry> {
        let session = self.sessions.get_mut(&key.session)?;
        let (subscription, index) = session.remove(key.id)?;
        let (channel, moved) = self.by_subscription.swap_remove(subscription, index)?;
        if let Some(moved) = moved
            && let Some(session) = self.sessions.get_mut(&moved.session)
        {
            session.moved(moved.id, index);
        }
        Some(channel)
    }

    /// Tells a session that it has ended, and counts that.
    fn finish(&mut self, session: &SessionEntry<S>, ending: Ending, position: Position) {
        session.new.outbox.end(End::new(ending, position));
        self.counters.close(ending);
        tracing::debug!(
            connection = session.new.id,
            caller = ?session.new.caller,
            reason = ending.token(),
            code = ending.code(),
            "connection is ending"
        );
    }

    /// Tells a session that one of its channels has ended, and counts that.
    fn finish_channel(&mut self, channel: &ChannelEntry, ending: Ending, position: Position) {
        debug_assert!(ending.whose().is_of_channels(), "{ending:?}");
        let mut end = End::new(ending, position);
        if channel.dialect.is_of_many() {
            // What waits was committed before, and is on its way together with what is for others.
            end.drain = true;
            self.tell(
                channel.key.session,
                &channel.outbox,
                Entry::End(channel.key.id, Box::new(end)),
            );
        } else {
            channel.outbox.end_channel(channel.key.id, end);
        }
        self.count_out(channel, ending);
    }

    fn count_out(&mut self, channel: &ChannelEntry, ending: Ending) {
        if let Some(session) = self.sessions.get(&channel.key.session) {
            self.channels_by_tenant.remove(&session.new.caller);
        }
        self.copied_bytes -= channel.copy_bytes();
        self.adhoc -= usize::from(channel.is_adhoc());
        self.channel_counters.close(ending);
    }

    fn place(&self, key: ChannelKey) -> Option<(S, usize)> {
        self.sessions.get(&key.session)?.place(key.id)
    }

    /// Returns the subscription of a channel; `None` if the channel has ended.
    pub(crate) fn subscription_of(&self, key: ChannelKey) -> Option<S> {
        self.place(key).map(|(subscription, _)| subscription)
    }

    /// Returns the incarnation of a subscription that has channels, shared by all who ask for the same.
    pub(crate) fn share(&mut self, subscription: S, of: Incarnation) -> Arc<Incarnation> {
        self.by_subscription.share(subscription, of)
    }

    /// Returns the channels of a subscription.
    pub(crate) fn of(&self, subscription: S) -> &[ChannelEntry] {
        self.by_subscription.of(subscription)
    }

    /// Whether a subscription has channels of sessions for many subscriptions.
    pub(crate) fn has_many(&self, subscription: S) -> bool {
        self.by_subscription.has_many(subscription)
    }

    /// Collects an entry for a session for many subscriptions, behind those that it was told before.
    pub(crate) fn tell(&mut self, session: SessionKey, outbox: &Sender, entry: Entry) {
        self.told.push(Told {
            session,
            outbox: outbox.clone(),
            entry,
        });
    }

    /// The same of a notice: if it is a gap that another channel of the session has just been told of, it is one
    /// message for both.
    pub(crate) fn tell_notice(&mut self, session: SessionKey, outbox: &Sender, entry: Entry) {
        if entry.is_gap() {
            let last = self.gaps.insert(session, self.told.len());
            if let Some(last) = last
                && let Some(told) = self.told.get_mut(last)
                && told.entry.take_in(&entry)
            {
                self.gaps.insert(session, last);
                return;
            }
        }
        self.tell(session, outbox, entry);
    }

    /// Whether anything is collected.
    pub(crate) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Takes what was collected, in order. Entries of one change that follow each other on a session are marked.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        self.gaps.clear();
        let mut told = std::mem::take(&mut self.told);
        told::mark(&mut told);
        told
    }

    /// Returns a session; `None` if it has ended.
    pub(crate) fn session(&self, key: SessionKey) -> Option<&SessionEntry<S>> {
        self.sessions.get(&key).map(Box::as_ref)
    }

    /// Returns the subscriptions that have channels.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = S> {
        self.by_subscription.subscriptions()
    }

    /// Returns every channel.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &ChannelEntry> {
        self.by_subscription.channels()
    }

    /// Returns the sessions for which something waits: those of tenants with more than their share first, and of these
    /// those with the most. Bytes that several sessions share count for each.
    pub(super) fn largest_first(&self, share_of_tenant: u64) -> Vec<Holder> {
        let mut of_tenants: HashMap<&str, u64> = HashMap::new();
        let mut holders = Vec::new();
        for (key, session) in &self.sessions {
            let bytes = session.new.outbox.held();
            if bytes == 0 {
                continue;
            }
            let tenant = session.new.caller.tenant.as_deref();
            if let Some(tenant) = tenant {
                *of_tenants.entry(tenant).or_default() += bytes as u64;
            }
            let outbox = session.new.outbox.clone();
            let key = *key;
            holders.push((tenant, Holder { key, outbox, bytes }));
        }
        holders.sort_by_cached_key(|(tenant, holder)| {
            let all = tenant.and_then(|tenant| of_tenants.get(tenant));
            let is_over = all.is_some_and(|all| *all > share_of_tenant);
            std::cmp::Reverse((is_over, holder.bytes))
        });
        holders.into_iter().map(|(_, holder)| holder).collect()
    }

    /// Accounts for a change of a subscription: its catching-up channels hold a copy of so many bytes now.
    pub(crate) fn copied(&mut self, subscription: S, bytes: usize) {
        for channel in self.by_subscription.of_mut(subscription) {
            if channel.phase() == Phase::CatchingUp {
                self.copied_bytes -= channel.copy_bytes();
                channel.set_copy_bytes(bytes);
                self.copied_bytes += channel.copy_bytes();
            }
        }
    }

    /// Returns the bytes of all copies of subscriptions that catching-up channels hold.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }

    /// Returns the number of channels of ad-hoc subscriptions.
    pub(crate) fn adhoc(&self) -> usize {
        self.adhoc
    }

    /// Takes the subscriptions whose last channel has gone since this was asked last. They may have some again.
    pub(crate) fn take_emptied(&mut self) -> Vec<S> {
        self.by_subscription.take_emptied()
    }

    /// Returns the number of open sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns the counters of sessions.
    pub(crate) fn counters(&self) -> ConnectionCounters {
        self.counters
    }

    /// Returns the counters of channels.
    pub(crate) fn channel_counters(&self) -> ConnectionCounters {
        self.channel_counters
    }
}
