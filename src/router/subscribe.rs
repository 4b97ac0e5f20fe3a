//! The way of a channel from its request to the point where it is live, as the router and its handle have it.
//!
//! A client that is not behind the router is live from its attach on. One that is behind catches up first: it gets
//! nothing live, and its session asks, again and again, for the backlog after the position that it has come to. If an
//! answer holds everything up to the router's position, the router makes the channel live in the same step, and says so
//! in the answer ([`LiveFrom`]). The router applies nothing in between, so
//!
//! - every change up to that position is in this answer, or in one before it;
//! - every later change goes to the outbox, which keeps it for the channel until the session has delivered the answer.
//!
//! That is why there is neither a gap nor a repeat between the past and live. The session's half is
//! `Replay::end_of_stretch`, at the end of an answer that it has looked through; only then does `catch_up` let the outbox
//! have its turn.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Connection, Input, PastBatch, Router,
    handle::{Busy, RouterHandle},
    incarnation::Incarnation,
    opened::{DeliveryStart, Wish},
    outbox,
    registry::{
        ChannelEntry, ChannelKey, Closed, Closes, NewChannel, NewSession, Phase, SessionKey,
        ends_on_gap,
    },
    table::{Entry, Slot},
};
use crate::{
    access::{Caller, Credential, Quota, Refusal, tenant_bound},
    position::{Cursor, Position},
    protocol::{Dialect, Ending, GapReason},
    subscription::Subscription,
};

/// A request for a session with one channel.
#[derive(Debug)]
pub(crate) struct Attach {
    /// The id of the subscription.
    pub id: String,
    pub caller: Arc<Caller>,
    pub outbox: outbox::Sender,
    pub dialect: Dialect,
    /// The client has seen everything up to here.
    pub after: Option<Cursor>,
    /// True if `after` is what the client acknowledged, and not its own word.
    pub acknowledged: bool,
    /// True if the channel is to end rather than miss events.
    pub close_on_gap: bool,
    /// The client's address, for operators.
    pub remote: String,
    /// Resolves when the channel is closed.
    pub closed: Closed,
}

/// The reason why a session was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// The router does not know the subscription.
    #[error("there is no such subscription")]
    Unknown,
    /// The caller's credential does not stand any more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller has another policy than the subscription, or other values of the claims that it is bound to.
    #[error(
        "the subscription is bound to another policy, or to other values of its claims, than the credential has"
    )]
    BoundOtherwise,
    /// This node has as many connections as it may.
    #[error("this node has as many connections as it may have")]
    NodeFull,
    /// The subscription has as many connections on this node as it may.
    #[error("the subscription has as many connections on this node as it may have")]
    SubscriptionFull,
    /// The caller's tenant has as many connections on this node as it may.
    #[error(
        "the tenant has as many connections on this node as it may have ({0}, quotas.connections)"
    )]
    TenantFull(NonZeroU32),
    /// The caller's key has as many connections on this node as its own limits allow.
    #[error(
        "the key has as many connections on this node as it may have ({0}, its limits.connections)"
    )]
    KeyFull(NonZeroU32),
    /// This node has no room for the subscription itself.
    #[error(
        "this node has no room for the subscription (limits.subscriptions, limits.subscriptions_bytes), so it cannot \
         tell which events match"
    )]
    NoRoom,
    /// Channels that catch up hold as many bytes of subscriptions as they may.
    #[error(
        "the subscriptions with running replays take as much memory on this node as limits.subscriptions_bytes allows"
    )]
    ReplaysFull,
    /// This node has as many channels as it may.
    #[error("this node has as many handles as it may have (limits.handles)")]
    ChannelsFull,
    /// The caller's tenant has as many channels on this node as it may.
    #[error("the tenant has as many handles on this node as it may have ({0}, quotas.handles)")]
    TenantChannelsFull(NonZeroU32),
    /// The caller's key has as many channels on this node as its own limits allow.
    #[error("the key has as many handles on this node as it may have ({0}, its limits.handles)")]
    KeyChannelsFull(NonZeroU32),
    /// This node has as many ad-hoc subscriptions as it may.
    #[error("this node has as many filters without a subscription as it may have (limits.adhoc)")]
    AdHocFull,
    /// This node stops.
    #[error("this node is stopping")]
    Stopping,
    /// The acknowledged position of the client cannot be read now.
    #[error("the acknowledged position cannot be read now")]
    Unavailable,
    /// The router did not answer in time.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// A session that was taken, and its channel.
#[derive(Debug)]
pub(crate) struct Attached {
    pub key: ChannelKey,
    /// The id of the session that clients and operators know.
    pub id: String,
    /// The subscription as it is when the session is taken.
    pub subscription: Subscription,
    pub incarnation: Arc<Incarnation>,
    pub start: DeliveryStart,
    /// True if the caller may move the acknowledged position.
    pub may_ack: bool,
}

/// A wish for a channel that may be granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) slot: Slot,
    pub(super) start: DeliveryStart,
    /// True if the channel ends at once: there is a gap, and it is to end rather than miss events.
    pub(super) ends: bool,
    pub(super) copy_bytes: usize,
    /// True if the caller may move the acknowledged position.
    pub(super) may_ack: bool,
}

/// Returns a new id of a session.
pub(super) fn connection_id() -> String {
    format!("con_{}", uuid::Uuid::now_v7().simple())
}

/// An answer to [`RouterHandle::backlog_after`].
#[derive(Debug)]
pub(crate) enum BacklogAnswer {
    /// Batches with changes after the position asked for.
    Slice {
        /// In order; the first may begin before that position.
        batches: Vec<Arc<PastBatch>>,
        /// With these batches, everything up to here is known.
        up_to: Position,
        /// The channels are live from `up_to` on.
        live: Option<LiveFrom>,
    },
    /// The position is older than the backlog, which begins here.
    TooOld(Position),
}

/// The word that channels are live: everything behind the end of the answer comes through their outbox.
#[derive(Clone, Debug)]
pub(crate) struct LiveFrom {
    /// The subscriptions of channels to which nothing will come: they are invalid on this node.
    pub invalid: Arc<[(ChannelKey, Subscription)]>,
}

impl LiveFrom {
    /// Returns the subscription of a channel, if it is invalid on this node.
    pub(crate) fn invalid_of(&self, key: ChannelKey) -> Option<&Subscription> {
        let mut all = self.invalid.iter();
        all.find(|(of, _)| *of == key)
            .map(|(_, subscription)| subscription)
    }
}

impl RouterHandle {
    /// Opens a session with one channel. If the future is dropped, a session that was taken meanwhile ends again.
    pub(crate) async fn attach(&self, attach: Attach) -> Result<Attached, AttachError> {
        self.ask(|reply| Input::Attach(attach, reply)).await?
    }

    /// Returns the backlog after `from`, for channels that catch up together. If there is no more than the answer holds,
    /// they are live from the end of the answer on. They may be live too if no answer came within `patience`, and are to
    /// end then.
    pub(crate) async fn backlog_after(
        &self,
        keys: Box<[ChannelKey]>,
        from: Position,
        patience: Duration,
    ) -> Result<BacklogAnswer, Busy> {
        self.ask_within(patience, |reply| Input::Backlog(keys, from, reply))
            .await
    }
}

impl Router {
    pub(super) fn attach(
        &mut self,
        attach: Attach,
        reply: oneshot::Sender<Result<Attached, AttachError>>,
    ) {
        // The client may have given up while the router was busy.
        if reply.is_closed() {
            return;
        }
        let attached = self.try_attach(attach);
        let key = attached.as_ref().ok().map(|attached| attached.key);
        if reply.send(attached).is_err()
            && let Some(key) = key
        {
            let session = key.session;
            self.registry
                .end_session(session, Ending::ConnectionLost, self.position);
        }
    }

    pub(super) fn try_attach(&mut self, attach: Attach) -> Result<Attached, AttachError> {
        let wish = Wish {
            subscription: attach.id.as_str().into(),
            after: attach.after,
            acknowledged: attach.acknowledged,
            close_on_gap: attach.close_on_gap,
            warnings: Vec::new(),
        };
        let admitted = self.admit(&wish, &attach.caller, attach.dialect)?;
        // In this task, so that nothing is revoked between the judgement and the registration.
        let credential_end = self.credentials.judge(&attach.caller)?;
        self.has_room_for(&attach.caller)?;
        let id = connection_id();
        let has_proved = attach.caller.credential != Credential::None;
        let session = self.registry.open_session(NewSession {
            id: id.as_str().into(),
            caller: attach.caller,
            outbox: attach.outbox,
            dialect: attach.dialect,
            remote: attach.remote.into(),
            closes: Closes::WithItsChannel,
            closed: attach.closed,
        });
        if has_proved {
            self.registry.credential_ends(session, credential_end);
        }
        let key = self.open_channel(session, &wish, &admitted, None);
        let key = key.ok_or(AttachError::Unknown)?;
        tracing::debug!(
            connection = id,
            subscription = attach.id,
            "connection is opened"
        );
        if admitted.ends {
            let from = admitted.start.from;
            self.registry.end_channel(key, Ending::Resync, from);
        }
        let entry = self.subscriptions.get(admitted.slot);
        let entry = entry.ok_or(AttachError::Unknown)?;
        let incarnation = Incarnation {
            id: (&*wish.subscription).into(),
            since: entry.since,
        };
        Ok(Attached {
            may_ack: admitted.may_ack,
            key,
            id,
            subscription: entry.subscription.clone(),
            incarnation: self.registry.share(admitted.slot, incarnation),
            start: admitted.start,
        })
    }

    /// Judges a client's wish for a channel. Nothing is opened yet.
    pub(super) fn admit(
        &self,
        wish: &Wish,
        caller: &Caller,
        dialect: Dialect,
    ) -> Result<Admitted, AttachError> {
        let id = &*wish.subscription;
        let slot = self.subscriptions.visible(id, &caller.sight());
        let slot = slot.ok_or(AttachError::Unknown)?;
        self.admit_to(slot, wish, caller, dialect)
    }

    /// Judges a client's wish for a channel on the subscription in a slot, which is in sight.
    pub(super) fn admit_to(
        &self,
        slot: Slot,
        wish: &Wish,
        caller: &Caller,
        dialect: Dialect,
    ) -> Result<Admitted, AttachError> {
        let id = &*wish.subscription;
        let entry = self.subscriptions.get(slot).ok_or(AttachError::Unknown)?;
        let document = &entry.subscription.document;
        if !self.credentials.policies().admit(caller, document) {
            return Err(AttachError::BoundOtherwise);
        }
        let most = self.settings.limits.connections_per_subscription;
        // Who brings a filter does not know who else brings the same.
        if !entry.adhoc && self.registry.of(slot).len() >= most {
            return Err(AttachError::SubscriptionFull);
        }
        let since = if entry.adhoc {
            // A client brings it, and says from where.
            Position::START
        } else if wish.acknowledged {
            // It was acknowledged on this subscription, whatever a date in the document says.
            entry.since
        } else {
            entry.made_at(self.loaded_at)
        };
        let mut start = self.start(wish.after, since);
        let copy_bytes = self.copy_bytes(entry, dialect, start)?;
        start.gap = start.gap.filter(|gap| gap.concerns(dialect));
        let closes = start.gap.is_some_and(GapReason::closes);
        let ends = closes && ends_on_gap(dialect, wish.close_on_gap);
        start.replay &= !ends;
        Ok(Admitted {
            slot,
            start,
            ends,
            copy_bytes: if start.replay { copy_bytes } else { 0 },
            may_ack: !entry.adhoc && caller.reach().sees(id, document),
        })
    }

    /// Opens a channel for a wish that was admitted; `None` if the session has ended.
    pub(super) fn open_channel(
        &mut self,
        session: SessionKey,
        wish: &Wish,
        admitted: &Admitted,
        handle: Option<Arc<str>>,
    ) -> Option<ChannelKey> {
        let channel = NewChannel {
            from: admitted.start.from,
            phase: if admitted.start.replay {
                Phase::CatchingUp
            } else {
                Phase::Live
            },
            close_on_gap: wish.close_on_gap,
            copy_bytes: admitted.copy_bytes,
            handle,
            adhoc: self.subscriptions.is_adhoc(admitted.slot),
        };
        self.registry.open_channel(session, admitted.slot, channel)
    }

    /// Refuses a session if this node stops, or if it, or the caller, has as many as they may.
    pub(super) fn has_room_for(&self, caller: &Caller) -> Result<(), AttachError> {
        if self.stopping {
            return Err(AttachError::Stopping);
        }
        if self.registry.len() >= self.settings.limits.connections {
            return Err(AttachError::NodeFull);
        }
        self.check_quotas(caller)
    }

    /// Refuses a caller whose tenant or key has as many connections on this node as it may.
    fn check_quotas(&self, caller: &Caller) -> Result<(), AttachError> {
        if !caller.is_bounded() {
            return Ok(());
        }
        let is_full = |count: usize, most: NonZeroU32| count >= most.get() as usize;
        if let Credential::Key { id, .. } = &caller.credential
            && let Some(most) = caller.quotas.bound(Quota::Connections)
            && is_full(self.registry.count_of_key(id), most)
        {
            return Err(AttachError::KeyFull(most));
        }
        let policies = self.credentials.policies();
        let most = tenant_bound(&self.settings.quotas, &policies, caller, Quota::Connections);
        if let (Some(tenant), Some(most)) = (caller.tenant.as_deref(), most)
            && is_full(self.registry.count_of_tenant(tenant), most)
        {
            return Err(AttachError::TenantFull(most));
        }
        Ok(())
    }

    /// Refuses a channel if this node, or the caller's tenant or key, has as many as it may.
    pub(super) fn check_channels(&self, caller: &Caller) -> Result<(), AttachError> {
        let open = self.registry.channel_counters().open;
        if open >= self.settings.limits.handles as u64 {
            return Err(AttachError::ChannelsFull);
        }
        if !caller.is_bounded() {
            return Ok(());
        }
        let is_full = |count: usize, most: NonZeroU32| count >= most.get() as usize;
        if let Credential::Key { id, .. } = &caller.credential
            && let Some(most) = caller.quotas.bound(Quota::Handles)
            && is_full(self.registry.channels_of_key(id), most)
        {
            return Err(AttachError::KeyChannelsFull(most));
        }
        let policies = self.credentials.policies();
        let most = tenant_bound(&self.settings.quotas, &policies, caller, Quota::Handles);
        if let (Some(tenant), Some(most)) = (caller.tenant.as_deref(), most)
            && is_full(self.registry.channels_of_tenant(tenant), most)
        {
            return Err(AttachError::TenantChannelsFull(most));
        }
        Ok(())
    }

    /// Returns the bytes of the copy of the subscription that a channel holds while it catches up. All copies together may
    /// take as much as the subscriptions themselves. If this node has no room for the subscription, nothing can be matched:
    /// a client that would miss events by that, or cannot be told, is to go elsewhere or come back.
    fn copy_bytes(
        &self,
        entry: &Entry,
        dialect: Dialect,
        start: DeliveryStart,
    ) -> Result<usize, AttachError> {
        if entry.withheld && (start.replay || !dialect.has_messages()) {
            return Err(AttachError::NoRoom);
        }
        let bytes = entry.subscription.document.as_bytes().len();
        let most = self.settings.limits.subscriptions_bytes;
        if start.replay && bytes > most.saturating_sub(self.registry.copied_bytes()) {
            return Err(AttachError::ReplaysFull);
        }
        Ok(bytes)
    }

    /// Returns the starting point of a client that presents `after`; not before the subscription was made.
    fn start(&self, after: Option<Cursor>, since: Position) -> DeliveryStart {
        let here = self.position;
        let live = |from, gap| DeliveryStart {
            from,
            attached_at: here,
            replay: false,
            gap,
        };
        match after {
            None => live(here, None),
            Some(cursor) if cursor.deployment != self.settings.deployment => {
                live(here, Some(GapReason::OtherDeployment))
            }
            // Ahead of this node: events that the client has already are skipped when they come by.
            Some(cursor) if cursor.position >= here => live(cursor.position, None),
            Some(cursor) => {
                let before = (cursor.position < since).then_some(GapReason::BeforeSubscription);
                DeliveryStart {
                    replay: true,
                    ..live(cursor.position.max(since), before)
                }
            }
        }
    }

    /// Answers channels that catch up, and makes them live if the answer holds all there is. A channel that has ended
    /// meanwhile still gets its last words.
    pub(super) fn backlog_after(&mut self, keys: &[ChannelKey], from: Position) -> BacklogAnswer {
        let Some(slice) = self.backlog.after(from) else {
            return BacklogAnswer::TooOld(self.backlog.start());
        };
        let batches = slice.batches;
        if !slice.complete {
            return BacklogAnswer::Slice {
                up_to: batches.last().map_or(from, |batch| batch.position),
                batches,
                live: None,
            };
        }
        for key in keys {
            self.registry.make_live(*key, self.position);
        }
        let invalid = keys.iter();
        let invalid = invalid.filter_map(|key| Some((*key, self.invalid_for(*key)?)));
        BacklogAnswer::Slice {
            batches,
            up_to: self.position,
            live: Some(LiveFrom {
                invalid: invalid.collect(),
            }),
        }
    }

    /// Returns the subscription of a channel, if it is invalid. A node's verdict is no change of the document, so a replay
    /// may have met nothing that tells it.
    fn invalid_for(&self, key: ChannelKey) -> Option<Subscription> {
        let slot = self.registry.subscription_of(key)?;
        let subscription = &self.subscriptions.get(slot)?.subscription;
        subscription.fault.is_some().then(|| subscription.clone())
    }

    /// Returns the channels of a subscription, of sessions of this tenant alone if one is given: operators attach, too.
    pub(super) fn connections_of(&self, slot: Slot, tenant: Option<&str>) -> Vec<Connection> {
        let show = |channel: &ChannelEntry| {
            let session = self.registry.session(channel.key.session)?;
            if tenant.is_some() && session.new.caller.tenant.as_deref() != tenant {
                return None;
            }
            Some(Connection {
                id: session.new.id.to_string(),
                dialect: channel.dialect,
                handle: channel.handle().map(Into::into),
                remote: session.new.remote.to_string(),
                opened_at: session.opened_at,
                replaying: channel.phase() == Phase::CatchingUp,
                waiting_frames: channel.outbox.len(),
            })
        };
        let channels = self.registry.of(slot).iter();
        channels.filter_map(show).collect()
    }
}
