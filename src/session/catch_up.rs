//! The time before a channel is live: its greeting, its replay, and the ends that are decided meanwhile.
//!
//! The registry decides an end at once, wherever the replay is. A client is to hear everything up to its end, so the
//! session acts by one rule, whether the end is the channel's own (it waits in the outbox) or that of a session which
//! closes with its only channel:
//!
//! - The replay delivers everything up to the end's position and nothing behind it. Then the end takes its place: the
//!   session ends, or the channel's own end is taken from the outbox.
//! - An end that does not drain cuts the replay off.
//! - A session's end waits for a replay only where the table of endings says so: the subscription was deleted. Any other
//!   ends the session at once.
//! - Nobody waits longer than needed. If this node stops meanwhile, or the caller's credential does not stand any more,
//!   the session ends at once; if the session finds a reason of its own, it ends by the end that was decided, without the
//!   rest.
//! - An answer of the router may hold changes behind an end that was decided before it. So the session looks for its end
//!   once more before it delivers what a replay has found.
//!
//! A replay may come to the delete itself before the session has seen the end. It stops there too, at the same position
//! ([`Replay::pick`]).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use super::{
    Outcome, Outgoing, ROUND_BYTES, Session,
    channel::{CatchUp, Channel, Greeting, Progress},
    replay::{Beginning, Found, Replay},
};
use crate::{
    access::{Caller, Refusal},
    position::{Cursor, Position},
    protocol::{ChannelId, Ending, GapReason, Message},
    router::{
        Attached, RouterHandle,
        opened::DeliveryStart,
        outbox::End,
        registry::{ChannelKey, ends_on_gap},
    },
    subscription::Subscription,
    telemetry::Metrics,
};

/// The end of a session that waits for a replay.
pub(super) struct Postponed {
    pub(super) end: End,
    /// The session is no longer registered, and nobody else tells it that this node stops, or that its credential does
    /// not stand any more.
    cut: Pin<Box<dyn Future<Output = Option<Refusal>> + Send>>,
}

impl Postponed {
    fn new(end: End, router: RouterHandle, caller: Arc<Caller>) -> Self {
        Self {
            end,
            cut: Box::pin(async move { router.stopping_or_refused(&caller).await }),
        }
    }

    /// Ready if the end is not to wait any longer. What is on its way to somebody who may not see it is dropped.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let refusal = ready!(self.cut.as_mut().poll(cx));
        let may_see = refusal.is_none_or(|refusal| refusal == Refusal::Expired);
        Poll::Ready(End {
            drain: self.end.drain && may_see,
            ..self.end
        })
    }
}

impl Session {
    /// Adds a channel: queues its greeting before everything else of it, or prepares its replay.
    pub(super) fn begin(
        &mut self,
        mut channel: Channel,
        attached: &Attached,
        after: Option<Cursor>,
        close_on_gap: bool,
    ) {
        let after = after.map(|after| after.position.cursor(after.deployment));
        let greeting = Greeting {
            connection: attached.id.clone(),
            subscription: attached.subscription.to_json(),
            warnings: Vec::new(),
            from: attached.start.from,
            gap: attached.start.gap.map(|reason| (reason, after)),
        };
        let ends_on_gap = ends_on_gap(self.dialect, close_on_gap);
        if attached.start.replay {
            let subscription = (&attached.subscription, false);
            let replay = self.replay(attached.key, subscription, attached.start, ends_on_gap);
            channel.catch_up = Some(Box::new(CatchUp {
                replay,
                begun: Some(Instant::now()),
                together: None,
                frames: Vec::new(),
                greeting: Some(greeting),
                ends_on_gap,
            }));
        } else {
            self.greet(&greeting, true);
        }
        let from = attached.start.from;
        self.channels.add(channel, from, self.transport.outbound());
    }

    /// Prepares the replay of a channel on a subscription, which may be what the client brought.
    pub(super) fn replay(
        &mut self,
        key: ChannelKey,
        (subscription, adhoc): (&Subscription, bool),
        start: DeliveryStart,
        ends_on_gap: bool,
    ) -> Replay {
        let beginning = Beginning {
            key,
            dialect: self.dialect,
            context: Arc::clone(&self.context),
            subscription: subscription.clone(),
            adhoc,
            ends_on_gap,
            from: start.from,
            attached_at: start.attached_at,
        };
        let several = self.several.as_deref_mut();
        Replay::new(beginning, several.map(|several| &mut several.pasts))
    }

    /// Queues the first message of a channel, and the gap that was known before it. `whole`: everything that is
    /// replayed will come.
    fn greet(&mut self, greeting: &Greeting, whole: bool) {
        let recovered = whole && greeting.gap.is_none();
        if self.dialect.has_messages() {
            let cursor = greeting.from.cursor(self.context.router.deployment());
            let Greeting {
                connection,
                subscription,
                ..
            } = greeting;
            self.say(&Message::connected(
                connection,
                subscription,
                &cursor,
                recovered,
            ));
        }
        if let Some((reason, after)) = &greeting.gap {
            self.tell_gap(*reason, after.as_deref(), greeting.from);
        }
    }

    fn tell_gap(&mut self, reason: GapReason, after: Option<&str>, cursor: Position) {
        if self.dialect.has_messages() {
            let cursor = cursor.cursor(self.context.router.deployment());
            self.say(&Message::gap(reason, after, &cursor));
        }
    }

    /// Goes on with one of the replays, now that everything queued was written. They take turns.
    pub(super) fn poll_replays(&mut self, cx: &mut Context<'_>) -> Outgoing {
        // Where some channel is live, the session's end comes with the entries that are taken for it.
        if self.several.is_none()
            && self.channels.all_catch_up()
            && let Poll::Ready(end) = self.poll_end(cx)
        {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        for _ in 0..self.channels.replays() {
            let several = self.several.as_deref();
            let is_complete = |group| several.is_none_or(|several| several.is_complete(group));
            let Some((id, catch_up)) = self.channels.take_next_replay(is_complete) else {
                break;
            };
            match self.poll_replay(cx, id, catch_up) {
                Outgoing::Idle => {}
                outgoing => return outgoing,
            }
        }
        Outgoing::Idle
    }

    /// Goes on with one replay. While it is not over, the channel gets it back; without it, the channel is live.
    fn poll_replay(
        &mut self,
        cx: &mut Context<'_>,
        id: ChannelId,
        mut catch_up: Box<CatchUp>,
    ) -> Outgoing {
        if let Some(end) = self.end_meanwhile(id) {
            catch_up.replay.stop_behind(end.position);
            if self.several.is_some() && end.ending.cuts_replay() {
                self.cut(id, Some(catch_up));
                return Outgoing::More;
            }
            if !end.drain || catch_up.replay.is_over() {
                if self.several.is_some() {
                    self.greet_behind(id, &mut catch_up);
                    return self.finish_together(id, catch_up, Progress::IsAtEnd);
                }
                return self.go_on_behind_replay();
            }
        }
        let found = catch_up.replay.poll(cx, ROUND_BYTES, &mut catch_up.frames);
        self.channels.put_back(id, catch_up);
        let Poll::Ready(found) = found else {
            return Outgoing::Idle;
        };
        if let Poll::Ready(end) = self.poll_end(cx) {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        if self.several.is_some()
            && self
                .outbox
                .end_of(id)
                .is_some_and(|end| end.ending.cuts_replay())
        {
            let catch_up = self.channels.take_replay(id);
            self.cut(id, catch_up);
            return Outgoing::More;
        }
        let Some(mut catch_up) = self.channels.take_replay(id) else {
            return Outgoing::More;
        };
        let outgoing = match self.on_found(id, &mut catch_up, &found) {
            Ok(Some(at)) if self.several.is_some() => {
                return self.finish_together(id, catch_up, Progress::IsAt(at));
            }
            Ok(Some(_)) => return self.go_on_behind_replay(),
            Ok(None) => Outgoing::More,
            Err(ending) if self.several.is_some() => {
                self.fail(id, ending, Some(catch_up));
                return Outgoing::More;
            }
            Err(ending) => Outgoing::Ends(Outcome::Found(ending)),
        };
        let group = catch_up.together.as_ref().map(|together| together.group);
        self.channels.put_back(id, catch_up);
        if let Some(group) = group {
            self.merge(group);
        }
        outgoing
    }

    /// Returns the end that was decided for a channel while it catches up, if one was.
    fn end_meanwhile(&self, id: ChannelId) -> Option<End> {
        let postponed = self.postponed.as_deref().map(|postponed| postponed.end);
        postponed.or_else(|| self.outbox.end_of(id))
    }

    /// Ends the session, if that waited for the replay, or goes on with the outbox: the channel is live, or finds
    /// its own end there.
    fn go_on_behind_replay(&self) -> Outgoing {
        let postponed = self.postponed.as_deref();
        postponed.map_or(Outgoing::More, |postponed| {
            Outgoing::Ends(Outcome::Ended(postponed.end))
        })
    }

    /// Ready with the session's end when it is to be acted on. An end that waits for a replay is kept until then.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.postponed.is_none() {
            let end = ready!(self.outbox.poll_end(cx));
            if !end.ending.waits_for_replay() || !self.channels.any_catches_up() {
                return Poll::Ready(end);
            }
            let (router, caller) = (self.context.router.clone(), Arc::clone(&self.caller));
            let postponed = Postponed::new(end, router, caller);
            self.postponed = Some(Box::new(postponed));
        }
        match &mut self.postponed {
            Some(postponed) => postponed.poll_cut(cx),
            None => Poll::Pending,
        }
    }

    /// Acts on the outcome of a replay; returns where it is done, if it is. An error is a reason to end.
    fn on_found(
        &mut self,
        id: ChannelId,
        catch_up: &mut CatchUp,
        found: &Found,
    ) -> Result<Option<Position>, Ending> {
        let lost = matches!(found, Found::Gap(..) | Found::Lacking);
        if !matches!(found, Found::Unavailable)
            && let Some(greeting) = catch_up.greeting.take()
        {
            if self.several.is_some() {
                self.greet_under(id, &greeting, !lost, true);
            } else {
                self.greet(&greeting, !lost);
            }
        }
        for frame in catch_up.frames.drain(..) {
            #[cfg(test)]
            super::fault::strike(&frame);
            if let Some(together) = &mut catch_up.together {
                together.push(frame);
            } else {
                let outbound = self.transport.outbound();
                self.channels.queue_frame(id, frame, outbound);
            }
        }
        match *found {
            Found::Unavailable => Err(Ending::Overloaded),
            Found::Untold => Err(Ending::Resync),
            Found::Gap(..) | Found::Lacking if catch_up.ends_on_gap => Err(Ending::Resync),
            Found::Lacking => Ok(None),
            Found::Gap(reason, after, cursor) => {
                self.on_gap(id, catch_up, (reason, after), cursor);
                Ok(None)
            }
            Found::Frames => {
                self.advance_to(id, catch_up, catch_up.replay.done());
                Ok(None)
            }
            Found::Live(position) => {
                self.advance_to(id, catch_up, position);
                if let Some(begun) = catch_up.begun {
                    Metrics::observe(&self.context.metrics.replay.duration, begun.elapsed());
                }
                Ok(Some(position))
            }
        }
    }

    /// Notes that a replay has come to a position. Where it goes on together with others, it stands where what it
    /// has found is queued.
    fn advance_to(&mut self, id: ChannelId, catch_up: &CatchUp, position: Position) {
        if catch_up.together.is_none() {
            self.transport.outbound().advance_to(id, position);
        }
    }

    /// Tells of a gap that a replay has met.
    fn on_gap(
        &mut self,
        id: ChannelId,
        catch_up: &mut CatchUp,
        (reason, after): (GapReason, Position),
        cursor: Position,
    ) {
        self.advance_to(id, catch_up, cursor);
        let after = after.cursor(self.context.router.deployment());
        if let Some(together) = &mut catch_up.together {
            together.push(self.gap(reason, Some(&after), cursor));
        } else {
            self.tell_gap(reason, Some(&after), cursor);
        }
    }
}
