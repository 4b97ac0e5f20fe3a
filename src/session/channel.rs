//! The beginning of a connection: its greeting, and the replay that comes before it is live.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Connection, Outcome, Outgoing, ROUND_BYTES,
    replay::{Beginning, Found, Replay},
};
use crate::{
    position::{Cursor, Position},
    protocol::{Ending, GapReason, Message},
    router::{Attached, outbox::End, registry::ends_on_gap},
    telemetry::Metrics,
};

/// A replay, and what the channel keeps around it.
pub(super) struct CatchUp {
    replay: Replay,
    begun: Instant,
    /// The `connected` message, held back until it is known whether everything will come.
    greeting: Option<Greeting>,
    ends_on_gap: bool,
    /// The subscription was deleted; the replay goes on to that point.
    end: Option<End>,
    /// Then it is no longer registered, and nobody else tells it that this node stops.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl CatchUp {
    /// Whether it was decided where the connection ends.
    pub(super) fn knows_its_end(&self) -> bool {
        self.end.is_some()
    }

    /// The task has a turn again.
    pub(super) fn begin_turn(&mut self) {
        self.replay.begin_turn();
    }

    /// Bytes that are held for it.
    pub(super) fn held(&self) -> usize {
        self.replay.held()
    }

    /// Whether this node stops while the replay goes on to its end.
    pub(super) fn poll_stopping(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let stopping = self.stopping.as_mut()?;
        match stopping.as_mut().poll(cx) {
            Poll::Ready(()) => self.end,
            Poll::Pending => None,
        }
    }

    /// By when it has to be live.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        self.begun + timeout
    }

    /// The end that was decided and not acted on yet.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }
}

/// What the `connected` message says.
pub(super) struct Greeting {
    connection: String,
    subscription: String,
    from: Position,
    /// Why something before that is missing, if it is, and after which cursor.
    gap: Option<(GapReason, Option<String>)>,
}

impl Connection {
    /// Queues what comes before everything else, or prepares the replay.
    pub(super) fn begin(&mut self, attached: &Attached, after: Option<Cursor>, close_on_gap: bool) {
        let after = after.map(|after| after.position.cursor(after.deployment));
        let greeting = Greeting {
            connection: attached.id.clone(),
            subscription: attached.subscription.to_json(),
            from: attached.start.from,
            gap: attached.start.gap.map(|reason| (reason, after)),
        };
        let ends_on_gap = ends_on_gap(self.dialect, close_on_gap);
        if attached.start.replay {
            self.catch_up = Some(Box::new(CatchUp {
                replay: self.replay(attached, ends_on_gap),
                begun: Instant::now(),
                greeting: Some(greeting),
                ends_on_gap,
                end: None,
                stopping: None,
            }));
            return;
        }
        self.greet(&greeting, true);
    }

    fn replay(&self, attached: &Attached, ends_on_gap: bool) -> Replay {
        Replay::new(Beginning {
            key: self.key,
            dialect: self.dialect,
            context: Arc::clone(&self.context),
            subscription: attached.subscription.clone(),
            ends_on_gap,
            from: attached.start.from,
            attached_at: attached.start.attached_at,
        })
    }

    /// The first message, and the gap that was known before it. `whole`: all that is replayed will come.
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

    /// Last words are heard: a replay goes on to the point of the delete before the connection
    /// ends. Returns the end if it is not to wait.
    pub(super) fn postpone(&mut self, end: End) -> Option<End> {
        match &mut self.catch_up {
            Some(catch_up) if matches!(end.ending, Ending::Deleted | Ending::Expired) => {
                catch_up.replay.stop_at(end.position);
                catch_up.end = Some(end);
                let router = self.context.router.clone();
                catch_up.stopping = Some(Box::pin(async move { router.stopping().await }));
                None
            }
            _ => Some(end),
        }
    }

    /// Goes on with the replay, now that everything queued was written.
    pub(super) fn poll_replay(&mut self, cx: &mut Context<'_>) -> Outgoing {
        let decided = self.catch_up.as_deref().is_some_and(CatchUp::knows_its_end);
        if !decided
            && let Poll::Ready(end) = self.outbox.poll_end(cx)
            && let Some(end) = self.postpone(end)
        {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        let Some(mut catch_up) = self.catch_up.take() else {
            return Outgoing::More;
        };
        if let Some(end) = catch_up.poll_stopping(cx) {
            self.catch_up = Some(catch_up);
            return Outgoing::Ends(Outcome::Ended(end));
        }
        if let Some(end) = catch_up.end
            && catch_up.replay.is_over()
        {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        let Poll::Ready(found) = catch_up.replay.poll(cx, ROUND_BYTES, &mut self.taken) else {
            self.catch_up = Some(catch_up);
            return Outgoing::Idle;
        };
        let outcome = self.on_found(&mut catch_up, &found);
        match (outcome, catch_up.end) {
            // The past is over, and the end was decided meanwhile.
            (Ok(true), Some(end)) => return Outgoing::Ends(Outcome::Ended(end)),
            (Ok(true), None) => {}
            (Ok(false), _) => self.catch_up = Some(catch_up),
            (Err(outcome), _) => {
                self.catch_up = Some(catch_up);
                return Outgoing::Ends(outcome);
            }
        }
        Outgoing::More
    }

    /// Acts on what the replay came to; true when it is done.
    fn on_found(&mut self, catch_up: &mut CatchUp, found: &Found) -> Result<bool, Outcome> {
        let lost = matches!(found, Found::Gap(..) | Found::Lacking);
        if !matches!(found, Found::Unavailable)
            && let Some(greeting) = catch_up.greeting.take()
        {
            self.greet(&greeting, !lost);
        }
        self.queue_frames();
        match *found {
            Found::Unavailable => Err(Outcome::Found(Ending::Overloaded)),
            Found::Untold => Err(Outcome::Found(Ending::Resync)),
            Found::Gap(..) | Found::Lacking if catch_up.ends_on_gap => {
                Err(Outcome::Found(Ending::Resync))
            }
            Found::Lacking => Ok(false),
            Found::Gap(reason, after, cursor) => {
                let after = after.cursor(self.context.router.deployment());
                self.tell_gap(reason, Some(&after), cursor);
                self.transport.outbound().pass(cursor);
                self.acks.sent(cursor, false);
                Ok(false)
            }
            Found::Frames => {
                self.transport.outbound().pass(catch_up.replay.done());
                Ok(false)
            }
            Found::Live(position) => {
                self.transport.outbound().pass(position);
                Metrics::observe(
                    &self.context.metrics.replay.duration,
                    catch_up.begun.elapsed(),
                );
                Ok(true)
            }
        }
    }
}
