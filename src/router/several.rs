//! Sessions for many subscriptions: their opening, and that of their channels.
//!
//! The wishes of one message are granted at one point of the router's sequence. The router itself puts the
//! beginning of each channel into the session's outbox, in its place among the frames: an answer that the session
//! had to write down could come behind the channel's first event.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Input, Router,
    alive::Closed,
    answer,
    handle::RouterHandle,
    incarnation::Incarnation,
    opened::{Opened, Wish},
    outbox::{self, Entry},
    registry::{ChannelKey, Closes, NewSession, SessionKey},
    subscribe::{Admitted, AttachError, connection_id},
    table,
};
use crate::{
    access::Caller,
    filter::Filter,
    position::Position,
    protocol::{Dialect, Ending},
    subscription::Subscription,
};

/// A request for a session for many subscriptions.
#[derive(Debug)]
pub(crate) struct OpenSession {
    pub caller: Arc<Caller>,
    pub outbox: outbox::Sender,
    pub dialect: Dialect,
    /// The client's address, for operators.
    pub remote: String,
    /// Resolves when the socket is closed.
    pub closed: Closed,
}

/// A session that was taken.
#[derive(Debug)]
pub(crate) struct OpenedSession {
    pub key: SessionKey,
    /// The id that clients and operators know.
    pub id: String,
    /// The router's position at its opening.
    pub position: Position,
}

/// A wish for a channel, under a handle.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe {
    pub handle: Arc<str>,
    /// The number of the message that asks for it.
    pub number: u64,
    pub wish: Wish,
    /// `None`: the wish is for a stored subscription.
    pub adhoc: Option<Box<AdHoc>>,
}

/// A subscription that a client brings. Its filter is not narrowed yet.
#[derive(Clone, Debug)]
pub(crate) struct AdHoc {
    pub subscription: Subscription,
    pub filter: Option<Filter>,
}

/// The outcome of each wish, in order. The channels of those that were granted come through the outbox.
pub(crate) type Subscribed = Vec<Result<(), AttachError>>;

impl RouterHandle {
    /// Opens a session for many subscriptions, which has no channels yet.
    pub(crate) async fn open_session(
        &self,
        open: OpenSession,
    ) -> Result<OpenedSession, AttachError> {
        self.ask(|reply| Input::OpenSession(open, reply)).await?
    }

    /// Opens channels on a session.
    pub(crate) async fn subscribe(
        &self,
        session: SessionKey,
        wanted: Vec<Subscribe>,
    ) -> Result<Subscribed, AttachError> {
        let subscribed = self.ask(|reply| Input::Subscribe(session, wanted, reply));
        Ok(subscribed.await?)
    }

    /// Tells the registry that a channel has a reason to end. The end, this or an earlier one, comes through the
    /// outbox. False if the router is closed: nothing comes then.
    pub(crate) async fn end_channel(&self, key: ChannelKey, ending: Ending) -> bool {
        self.send(Input::EndChannel(key, ending)).await
    }
}

impl Router {
    pub(super) fn open_session(
        &mut self,
        open: OpenSession,
        reply: oneshot::Sender<Result<OpenedSession, AttachError>>,
    ) {
        // The client may have given up while the router was busy.
        if reply.is_closed() {
            return;
        }
        let opened = self.try_open_session(open);
        let key = opened.as_ref().ok().map(|opened| opened.key);
        if reply.send(opened).is_err()
            && let Some(key) = key
        {
            self.registry
                .end_session(key, Ending::ConnectionLost, self.position);
        }
    }

    fn try_open_session(&mut self, open: OpenSession) -> Result<OpenedSession, AttachError> {
        let credential_end = self.credentials.judge(&open.caller)?;
        self.has_room_for(&open.caller)?;
        let id = connection_id();
        let key = self.registry.open_session(NewSession {
            id: id.as_str().into(),
            caller: open.caller,
            outbox: open.outbox,
            dialect: open.dialect,
            remote: open.remote.into(),
            closes: Closes::Alone,
            closed: open.closed,
        });
        self.registry.credential_ends(key, credential_end);
        tracing::debug!(connection = id, "connection is opened");
        Ok(OpenedSession {
            key,
            id,
            position: self.position,
        })
    }

    pub(super) fn subscribe(
        &mut self,
        session: SessionKey,
        wanted: Vec<Subscribe>,
        reply: oneshot::Sender<Subscribed>,
    ) {
        // The session may have given up while the router was busy.
        if reply.is_closed() {
            return;
        }
        let outcomes = wanted.into_iter();
        let outcomes = outcomes.map(|wanted| self.subscribe_one(session, wanted));
        let outcomes = outcomes.collect();
        answer(reply, outcomes);
    }

    fn subscribe_one(&mut self, session: SessionKey, wanted: Subscribe) -> Result<(), AttachError> {
        // Who has ended hears of nothing but that.
        let entry = self.registry.session(session);
        let entry = entry.ok_or(AttachError::Stopping)?;
        let (caller, dialect) = (Arc::clone(&entry.new.caller), entry.new.dialect);
        let (outbox, closed) = (entry.new.outbox.clone(), entry.new.closed.clone());
        self.check_channels(&caller)?;
        let Subscribe {
            handle,
            number,
            wish,
            adhoc,
        } = wanted;
        let is_adhoc = adhoc.is_some();
        let admitted = match adhoc {
            Some(adhoc) => self.admit_adhoc(&wish, *adhoc, &caller, dialect)?,
            None => self.admit(&wish, &caller, dialect)?,
        };
        let key = self.open_channel(session, &wish, &admitted, Some(Arc::clone(&handle)));
        let key = key.ok_or(AttachError::Stopping)?;
        tracing::debug!(channel = ?key, subscription = &*wish.subscription, "a channel is opened");
        let entry = self.subscriptions.get(admitted.slot);
        let entry = entry.ok_or(AttachError::Unknown)?;
        let since = entry.since;
        let incarnation = (!is_adhoc).then(|| {
            let id = (&*wish.subscription).into();
            let incarnation = Incarnation { id, since };
            self.registry.share(admitted.slot, incarnation)
        });
        let opened = Opened {
            channel: key.id,
            handle,
            number,
            adhoc: is_adhoc,
            subscription: entry.subscription.clone(),
            incarnation,
            start: admitted.start,
            may_ack: admitted.may_ack,
            wish,
            alive: closed.guard(key.id),
        };
        let beginning = Entry::Opened {
            channel: key.id,
            catches_up: admitted.start.replay,
            opened: Box::new(opened),
        };
        self.registry.tell(session, &outbox, beginning);
        if admitted.ends {
            let from = admitted.start.from;
            self.registry.end_channel(key, Ending::Resync, from);
        }
        Ok(())
    }

    /// Judges a client's wish for a channel on what it brings. The subscription is there from here on.
    fn admit_adhoc(
        &mut self,
        wish: &Wish,
        adhoc: AdHoc,
        caller: &Caller,
        dialect: Dialect,
    ) -> Result<Admitted, AttachError> {
        if self.registry.adhoc() >= self.settings.limits.adhoc {
            return Err(AttachError::AdHocFull);
        }
        let AdHoc {
            subscription,
            filter,
        } = adhoc;
        let policies = self.credentials.policies();
        // It may have been another policy when the filter was read.
        if !policies.admit(caller, &subscription.document) {
            return Err(AttachError::BoundOtherwise);
        }
        let narrow = |entry: &mut table::Entry| match policies
            .narrow(&entry.subscription.document, filter)
        {
            Ok(filter) => filter,
            Err(unbound) => {
                entry.subscription.fault = Some(unbound.fault());
                None
            }
        };
        let slot = self.subscriptions.adhoc(subscription, narrow);
        let admitted = self.admit_to(slot, wish, caller, dialect);
        if admitted.is_err() && self.registry.of(slot).is_empty() {
            self.subscriptions.remove_adhoc(slot);
        }
        admitted
    }
}
