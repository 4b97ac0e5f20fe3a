//! A session: the task that alone owns the way to one client, and the channels on it.
//!
//! The way is a WebSocket, or an HTTP answer with server-sent events ([`Carrier`]); all else is the same. A channel is
//! one subscription on the session ([`channel`]). The task moves frames from its outbox to the client, replays the past
//! of channels that are not live yet, listens to the client, and keeps time. It never decides that it ends: when it
//! finds a reason, it tells the registry and acts on the verdict, which comes through the outbox like everything else.
//! An earlier verdict wins.

mod acks;
mod catch_up;
mod channel;
mod closing;
#[cfg(test)]
pub(crate) mod fault;
mod heartbeat;
mod incoming;
pub(crate) mod many;
mod open;
mod refresh;
mod replay;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep_until},
};

use self::{
    catch_up::Postponed, channel::Channels, closing::last_words, heartbeat::Heartbeat,
    many::Several, open::open, refresh::CredentialEnd,
};
pub(crate) use self::{
    closing::retry_after_ms,
    refresh::{NotRefreshed, Refresher, Refreshing},
};
use crate::{
    access::Caller,
    carrier::{Broken, Carrier, Incoming, Transport, after_others},
    config,
    history::History,
    position::Cursor,
    positions::Positions,
    protocol::{Dialect, Ending, Message},
    router::{
        AttachError, EventEncoder, RouterHandle,
        outbox::{End, Entry, Receiver, Taken},
        registry::{AliveGuard, SessionKey},
    },
    telemetry::Metrics,
};

/// Bytes taken from the outbox, or from a replay, for one round of writing.
const ROUND_BYTES: usize = 64 * 1024;
/// A larger list of taken entries gives its memory back.
const KEPT_ENTRIES: usize = 16;
/// Rounds of writing, reading and checking timers before other tasks get a turn.
const ROUNDS_A_TURN: usize = 16;
/// While output is pending, input is read and timers are checked only every so many rounds.
const READ_EVERY_ROUNDS: usize = 4;

/// Everything that the sessions of a node work with, and the calls over HTTP too.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub router: RouterHandle,
    pub limits: config::Limits,
    pub socket: config::Socket,
    pub feed: config::Feed,
    /// The time over which connections end when this node stops.
    pub drain: Duration,
    pub metrics: Arc<Metrics>,
    /// Reads what the backlog no longer holds.
    pub history: History,
    /// The acknowledged positions of durable subscriptions.
    pub positions: Positions,
    pub encoder: EventEncoder,
}

/// A client's request for a session with one channel.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    /// The id of the subscription.
    pub subscription: String,
    pub caller: Arc<Caller>,
    /// Proves a new credential on the way.
    pub refresher: Arc<dyn Refresher>,
    pub dialect: Dialect,
    /// The client has seen everything up to here.
    pub after: Option<Cursor>,
    /// True if the client wants to be closed rather than miss events.
    pub close_on_gap: bool,
    /// The client's address.
    pub remote: String,
}

/// Serves one session from the request to the end. `answer` hears whether it was taken, before the way to the client is
/// handed over through `carrier` (`None`: it never is).
///
/// The futures of the beginning and the end are boxed, and gone in between: a node holds very many sessions, and nearly
/// all of them rest in [`Session::run`].
pub(crate) async fn serve(
    context: Arc<NodeContext>,
    request: SessionRequest,
    answer: oneshot::Sender<Result<(), AttachError>>,
    carrier: impl Future<Output = Option<Carrier>>,
) {
    let (alive, closed) = AliveGuard::new();
    let opening = Box::pin(open(alive, context, request, closed, answer, carrier));
    let Some(mut session) = opening.await else {
        return;
    };
    let ran = AssertUnwindSafe(session.run()).catch_unwind().await;
    Box::pin(session.finish(ran)).await;
}

/// The way in which the running part came to its end.
#[derive(Debug)]
enum Outcome {
    /// The registry has decided.
    Ended(End),
    /// This session has found a reason.
    Found(Ending),
}

/// The outcome of a round of writing and taking.
#[derive(Debug)]
enum Outgoing {
    /// Frames were taken and can be written.
    More,
    /// Everything is written and nothing waits.
    Idle,
    /// The socket refuses bytes.
    Refused,
    /// It was the last round.
    Ends(Outcome),
}

struct Session {
    context: Arc<NodeContext>,
    key: SessionKey,
    dialect: Dialect,
    transport: Transport,
    outbox: Receiver,
    heartbeat: Heartbeat,
    timer: Pin<Box<Sleep>>,
    /// The bytes in hand that the router knows of.
    reported: usize,
    /// Entries just taken; kept for its allocation.
    taken: Vec<Entry>,
    /// The answers to messages that wait to be written.
    answers_waiting: usize,
    caller: Arc<Caller>,
    refresher: Arc<dyn Refresher>,
    credential: CredentialEnd,
    /// The reason why the socket cannot be read any more.
    broken: Option<Broken>,
    /// The fault in a message of the client's, for people.
    fault: Option<Box<str>>,
    /// An end that waits for a replay.
    postponed: Option<Box<Postponed>>,
    /// The part that only a session for many subscriptions has.
    several: Option<Box<Several>>,
    /// The time at which the client is told where it stands, if nothing else tells it.
    next_at: Instant,
    /// Dropped after the transport: a channel's guard tells that the socket is closed.
    channels: Channels,
}

impl Session {
    fn new(
        context: Arc<NodeContext>,
        key: SessionKey,
        proof: (Arc<Caller>, Arc<dyn Refresher>),
        dialect: Dialect,
        outbox: Receiver,
        carrier: Carrier,
    ) -> Self {
        let (caller, refresher) = proof;
        let settings = &context.socket;
        let now = Instant::now();
        let (interval, patience) = (settings.ping_interval, settings.pong_timeout);
        let heartbeat = match &carrier {
            Carrier::Socket(_) => Heartbeat::new(interval, patience, now),
            // Proxies give up a silent answer sooner than a silent socket.
            Carrier::Stream(_) => Heartbeat::unanswered(interval / 2, patience, now),
        };
        let message_bytes = if dialect.is_of_many() {
            settings.many_message_bytes
        } else {
            settings.message_bytes
        };
        let transport = Transport::new(carrier, message_bytes);
        Self {
            timer: Box::pin(sleep_until(heartbeat.next().into())),
            key,
            dialect,
            transport,
            outbox,
            heartbeat,
            reported: 0,
            taken: Vec::new(),
            answers_waiting: 0,
            caller,
            refresher,
            credential: CredentialEnd::default(),
            broken: None,
            fault: None,
            postponed: None,
            several: None,
            next_at: now + interval / 2,
            channels: Channels::default(),
            context,
        }
    }

    /// Queues a message of the session's own.
    fn say(&mut self, message: &Message<'_>) {
        let bytes = if self.several.is_some() {
            let id = self.id_of_stream();
            message.encode_whole(self.dialect, id.as_deref())
        } else {
            message.encode(self.dialect)
        };
        self.transport.queue(bytes);
    }

    /// Runs until there is a reason to end.
    async fn run(&mut self) -> Outcome {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Writes, reads and checks timers, round by round, until nothing is left to do or the socket refuses. Everything
    /// that may happen then wakes this task: a push or an end (the outbox), room in the socket, bytes from the client,
    /// progress of a replay, the timer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.channels.begin_turn();
        for round in 1..=ROUNDS_A_TURN {
            let outgoing = match self.poll_outgoing(cx) {
                Outgoing::Ends(outcome) => return Poll::Ready(outcome),
                Outgoing::More if !round.is_multiple_of(READ_EVERY_ROUNDS) => continue,
                outgoing => outgoing,
            };
            if let Poll::Ready(outcome) = self.poll_incoming(cx) {
                return Poll::Ready(outcome);
            }
            if let Poll::Ready(outcome) = self.poll_refreshes(cx) {
                return Poll::Ready(outcome);
            }
            if let Poll::Ready(outcome) = self.poll_asked(cx) {
                return Poll::Ready(outcome);
            }
            if let Poll::Ready(outcome) = self.poll_timer(cx) {
                return Poll::Ready(outcome);
            }
            match outgoing {
                // What was queued since goes out now.
                Outgoing::Idle if !self.transport.is_flushed() => {}
                Outgoing::Idle | Outgoing::Refused => return Poll::Pending,
                Outgoing::More | Outgoing::Ends(_) => {}
            }
        }
        // There is more to do.
        after_others(cx);
        Poll::Pending
    }
}

/// From the outbox and the replays to the client: writing, taking, and accounting for both.
impl Session {
    /// Writes what is queued, and takes more: live frames first, then the next part of a replay. A channel that catches
    /// up holds back its own entries, and nobody else's.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Outgoing {
        match self.transport.poll_write(cx) {
            Poll::Ready(Ok(())) => self.on_flushed(),
            Poll::Ready(Err(_)) => {
                self.broken = Some(Broken::Lost);
                return Outgoing::Ends(Outcome::Found(Ending::ConnectionLost));
            }
            Poll::Pending => return self.on_refused(cx),
        }
        if self.several.is_some() {
            return self.poll_outgoing_of_many(cx);
        }
        let replays = self.channels.any_catches_up();
        if replays && self.channels.all_catch_up() {
            self.report(0);
            return self.poll_replays(cx);
        }
        let channels = &self.channels;
        let is_held_back = |id| replays && channels.catches_up(id);
        match (self.outbox).poll_take(cx, ROUND_BYTES, is_held_back, &mut self.taken) {
            Poll::Ready(Taken::Entries { bytes }) => {
                self.reported = bytes;
                self.queue_taken();
                match replays.then(|| self.poll_replays(cx)) {
                    Some(Outgoing::Ends(outcome)) => Outgoing::Ends(outcome),
                    _ => Outgoing::More,
                }
            }
            Poll::Ready(Taken::End(end)) => Outgoing::Ends(Outcome::Ended(end)),
            Poll::Pending => {
                self.reported = 0;
                if replays {
                    self.poll_replays(cx)
                } else {
                    Outgoing::Idle
                }
            }
        }
    }

    fn on_flushed(&mut self) {
        self.note_written();
        self.answers_waiting = 0;
        self.heartbeat.flushed(Instant::now);
    }

    /// Reports that the socket refused what was queued, and what is in hand. Only ends are heard until it takes bytes.
    /// The router judges by these reports: [`backpressure`](crate::router::outbox::backpressure).
    fn on_refused(&mut self, cx: &mut Context<'_>) -> Outgoing {
        if self.transport.refused(cx, self.outbox.is_awaited()) {
            self.outbox.refused();
        }
        let progress = self.note_written();
        let refused = self.transport.outbound().shared_bytes();
        self.report(refused + self.channels.held());
        self.heartbeat.refused(progress, Instant::now());
        match self.poll_end(cx) {
            Poll::Ready(end) => Outgoing::Ends(Outcome::Ended(end)),
            Poll::Pending => Outgoing::Refused,
        }
    }

    /// Accounts for what the kernel has taken; returns whether it took anything.
    fn note_written(&mut self) -> bool {
        let written = self.transport.outbound().take_written();
        if written.events > 0 {
            self.context.metrics.delivery.frames.inc_by(written.events);
        }
        if let Some(oldest) = written.oldest {
            Metrics::observe(
                &self.context.metrics.delivery.match_to_socket,
                oldest.elapsed(),
            );
        }
        while let Some(channel) = self.transport.outbound().take_ended() {
            if let Some(mut channel) = self.channels.remove(channel) {
                channel.acks.tell_rest(&self.context);
            }
        }
        let beyond = self.transport.take_progress();
        written.progress || beyond
    }

    /// Tells the router the number of bytes in hand, if it has changed.
    fn report(&mut self, held: usize) {
        if std::mem::replace(&mut self.reported, held) != held {
            self.outbox.holds(held);
        }
    }

    fn queue_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        for entry in taken.drain(..) {
            self.queue(entry);
        }
        if taken.capacity() <= KEPT_ENTRIES {
            self.taken = taken;
        }
    }

    /// Queues an entry of the outbox.
    fn queue(&mut self, entry: Entry) {
        #[cfg(test)]
        if let Entry::Frame(_, frame) = &entry {
            fault::strike(frame);
        }
        if self.several.is_some() {
            return self.queue_entry(entry);
        }
        let (context, dialect) = (&self.context, self.dialect);
        let outbound = self.transport.outbound();
        self.channels.queue(entry, outbound, |_, end, cursor| {
            last_words(context, dialect, end, cursor)
        });
    }
}
