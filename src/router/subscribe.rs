//! The way of a channel from its request to the point where it is live.

use tokio::sync::oneshot;

use super::{
    Attach, AttachError, Attached, BacklogAnswer, Connection, Router, Start,
    registry::{Channel, ChannelKey, Closes, NewChannel, NewSession, Phase, ends_on_gap},
    table::Slot,
};
use crate::{
    position::{Cursor, Position},
    protocol::{Ending, GapReason},
    subscription::Subscription,
};

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
        let slot = self
            .subscriptions
            .slot(&attach.id)
            .ok_or(AttachError::Unknown)?;
        let limits = &self.settings.limits;
        if self.stopping {
            return Err(AttachError::Stopping);
        }
        if self.registry.len() >= limits.connections {
            return Err(AttachError::NodeFull);
        }
        if self.registry.of(slot).len() >= limits.connections_per_subscription {
            return Err(AttachError::SubscriptionFull);
        }
        let subscription = self.subscriptions.get(slot);
        let since = subscription.map_or(Position::START, |subscription| {
            if attach.acknowledged {
                // It was acknowledged on this subscription, whatever a date in the document says.
                subscription.since
            } else {
                subscription.made_at(self.loaded_at)
            }
        });
        let mut start = self.start(attach.after, since);
        let copy_bytes = self.copy_bytes(slot, &attach, start)?;
        start.gap = start.gap.filter(|gap| gap.concerns(attach.dialect));
        let closes = start.gap.is_some_and(GapReason::closes);
        let ends = closes && ends_on_gap(attach.dialect, attach.close_on_gap);
        start.replay &= !ends;
        let id = format!("con_{}", uuid::Uuid::now_v7().simple());
        let session = self.registry.open_session(NewSession {
            id: id.as_str().into(),
            caller: attach.caller,
            outbox: attach.outbox,
            dialect: attach.dialect,
            remote: attach.remote.into(),
            closes: Closes::WithItsChannel,
        });
        let channel = NewChannel {
            from: start.from,
            phase: if start.replay {
                Phase::CatchingUp
            } else {
                Phase::Live
            },
            close_on_gap: attach.close_on_gap,
            copy_bytes: if start.replay { copy_bytes } else { 0 },
            closed: attach.closed,
        };
        let key = self.registry.open_channel(session, slot, channel);
        let key = key.ok_or(AttachError::Unknown)?;
        tracing::debug!(
            connection = id,
            subscription = attach.id,
            "connection is opened"
        );
        if ends {
            self.registry.end_channel(key, Ending::Resync, start.from);
        }
        let subscription = self.subscriptions.get(slot).ok_or(AttachError::Unknown)?;
        Ok(Attached {
            key,
            id,
            subscription: subscription.subscription.clone(),
            since: subscription.since,
            start,
        })
    }

    /// Returns the bytes of the copy of the subscription that a channel holds while it catches up. All copies together may
    /// take as much as the subscriptions themselves. If this node has no room for the subscription, nothing can be matched:
    /// a client that would miss events by that, or cannot be told, is to go elsewhere or come back.
    fn copy_bytes(&self, slot: Slot, attach: &Attach, start: Start) -> Result<usize, AttachError> {
        let entry = self.subscriptions.get(slot).ok_or(AttachError::Unknown)?;
        if entry.withheld && (start.replay || !attach.dialect.has_messages()) {
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
    fn start(&self, after: Option<Cursor>, since: Position) -> Start {
        let here = self.position;
        let live = |from, gap| Start {
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
                Start {
                    replay: true,
                    ..live(cursor.position.max(since), before)
                }
            }
        }
    }

    /// Answers a channel that catches up. It is live from the end of the answer on if the answer holds all there is; a
    /// channel that has ended meanwhile still gets its last words.
    pub(super) fn backlog_after(&mut self, key: ChannelKey, from: Position) -> BacklogAnswer {
        let Some(slice) = self.backlog.after(from) else {
            return BacklogAnswer::TooOld(self.backlog.start());
        };
        let last = slice.batches.last().map_or(from, |batch| batch.position);
        let up_to = if slice.complete { self.position } else { last };
        let live = slice.complete;
        let batches = slice.batches;
        if live {
            self.registry.make_live(key, up_to);
        }
        BacklogAnswer::Slice {
            batches,
            up_to,
            live,
            invalid: live.then(|| self.invalid_for(key)).flatten(),
        }
    }

    /// Returns the subscription of a channel, if it is invalid. A node's verdict is no change of the document, so a replay
    /// may have met nothing that tells it.
    fn invalid_for(&self, key: ChannelKey) -> Option<Subscription> {
        let slot = self.registry.subscription_of(key)?;
        let subscription = &self.subscriptions.get(slot)?.subscription;
        subscription.fault.is_some().then(|| subscription.clone())
    }

    pub(super) fn connections_of(&self, slot: Slot) -> Vec<Connection> {
        let show = |channel: &Channel| {
            let session = self.registry.session(channel.key.session)?;
            Some(Connection {
                id: session.new.id.to_string(),
                dialect: channel.dialect,
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
