//! A connection: the task that alone owns the way to one client.
//!
//! That is a WebSocket, or an HTTP answer with server-sent events ([`Carrier`]); all else is the same.
//! The task moves frames from its outbox to the client, listens to it, and keeps time. It never
//! decides that it ends: when it finds a reason it tells the registry and acts on the verdict, which
//! comes through the outbox like everything else. An earlier verdict wins.

mod acks;
mod channel;
mod closing;
#[cfg(test)]
pub(crate) mod fault;
mod heartbeat;
mod incoming;
mod outgoing;
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
    time::{Sleep, sleep, sleep_until, timeout},
};

pub(crate) use self::closing::retry_after_ms;
use self::{acks::Acks, channel::CatchUp, heartbeat::Heartbeat};
use crate::{
    carrier::{Broken, Carrier, Incoming, Transport, after_others},
    config,
    history::History,
    position::Cursor,
    positions::Positions,
    protocol::{Dialect, Ending, Frame, Message},
    router::{
        Attach, AttachError, Attached, EventEncoder, Incarnation, RouterHandle,
        outbox::{End, Receiver},
        registry::{AliveGuard, Closed, ConnectionKey},
    },
    store::StoreError,
    telemetry::Metrics,
};

/// Bytes taken from the outbox for one round of writing.
const ROUND_BYTES: usize = 64 * 1024;
/// Rounds of writing, reading and checking timers before other tasks get a turn.
const ROUNDS_A_TURN: usize = 16;
/// While output is pending, input is read and timers are checked only every so many rounds.
const READ_EVERY_ROUNDS: usize = 4;
/// How long the HTTP layer may take to hand the socket over.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take when the outbox is full already, and everyone waits.
const UPGRADE_GRACE: Duration = Duration::from_secs(1);

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

/// A client's wish.
#[derive(Debug)]
pub(crate) struct Request {
    /// The subscription.
    pub subscription: String,
    /// How frames are to be written.
    pub dialect: Dialect,
    /// What the client has seen.
    pub after: Option<Cursor>,
    /// Whether it wants to be closed rather than miss events.
    pub close_on_gap: bool,
    /// Where it is.
    pub remote: String,
}

/// Serves one connection from its wish to its end. `answer` hears whether it was taken, before the
/// way to the client is handed over through `carrier` (`None`: it never is).
///
/// What only the beginning and the end need is boxed, and gone in between: a node holds very many of
/// these, and nearly all of them rest in [`Connection::run`].
pub(crate) async fn serve(
    context: Arc<NodeContext>,
    request: Request,
    answer: oneshot::Sender<Result<(), AttachError>>,
    carrier: impl Future<Output = Option<Carrier>>,
) {
    // Dropped last: whoever waits for its end knows that the socket is closed.
    let (_alive, closed) = AliveGuard::new();
    let opening = Box::pin(open(context, request, closed, answer, carrier));
    let Some(mut connection) = opening.await else {
        return;
    };
    let step = AssertUnwindSafe(connection.run()).catch_unwind().await;
    Box::pin(connection.finish(step)).await;
}

/// From a wish to a connection that is registered and has its client; `None` if it came to nothing.
async fn open(
    context: Arc<NodeContext>,
    request: Request,
    closed: Closed,
    answer: oneshot::Sender<Result<(), AttachError>>,
    carrier: impl Future<Output = Option<Carrier>>,
) -> Option<Box<Connection>> {
    let (sender, outbox) = context.router.outbox();
    let Ok((after, resumed)) = whereabouts(&context, &request).await else {
        refuse(answer, AttachError::Unavailable);
        return None;
    };
    let dialect = request.dialect;
    let subscription = request.subscription.clone();
    let attach = Attach {
        id: request.subscription,
        outbox: sender,
        dialect,
        after,
        acknowledged: resumed,
        close_on_gap: request.close_on_gap,
        remote: request.remote,
        closed,
    };
    let attached = match context.router.attach(attach).await {
        Ok(attached) => attached,
        Err(error) => {
            refuse(answer, error);
            return None;
        }
    };
    let key = attached.key;
    let beginning = async {
        let waiting = answer.send(Ok(())).is_ok();
        let carrier = if waiting {
            taken_over(carrier, &outbox).await?
        } else {
            return None;
        };
        #[cfg(test)]
        fault::strike_beginning(&subscription);
        let incarnation = Incarnation {
            id: subscription.as_str().into(),
            since: attached.since,
        };
        let acks = Acks::new(incarnation, attached.start.from, resumed);
        let context = Arc::clone(&context);
        let connection = Connection::new(context, dialect, &attached, outbox, carrier, acks);
        let mut connection = Box::new(connection);
        connection.begin(&attached, after, request.close_on_gap);
        Some(connection)
    };
    // It is registered: whatever becomes of it here, the registry is told.
    let ending = match AssertUnwindSafe(beginning).catch_unwind().await {
        Ok(Some(connection)) => return Some(connection),
        Ok(None) => Ending::ConnectionLost,
        Err(_) => {
            tracing::error!(?key, "opening a connection panicked");
            Ending::InternalError
        }
    };
    context.router.leave(key, ending).await;
    None
}

/// Where the client goes on: where it says, else at the acknowledged position of a durable
/// subscription; and whether it is the latter.
async fn whereabouts(
    context: &NodeContext,
    request: &Request,
) -> Result<(Option<Cursor>, bool), StoreError> {
    if request.after.is_some() {
        return Ok((request.after, false));
    }
    let acknowledged = context.positions.resume(&request.subscription).await;
    let after = acknowledged
        .inspect_err(|error| tracing::warn!(%error, "an acknowledged position cannot be read"))?;
    Ok((after, after.is_some()))
}

fn refuse(answer: oneshot::Sender<Result<(), AttachError>>, error: AttachError) {
    if answer.send(Err(error)).is_err() {
        tracing::trace!("the client has left; nothing was opened");
    }
}

/// The way to the client, once HTTP lets go of it. `None` where that takes too long, or where the router
/// has to wait for it: one connection must not hold up the others.
async fn taken_over(
    carrier: impl Future<Output = Option<Carrier>>,
    outbox: &Receiver,
) -> Option<Carrier> {
    let asked = async {
        poll_fn(|cx| outbox.poll_asked(cx)).await;
        sleep(UPGRADE_GRACE).await;
    };
    tokio::select! {
        biased;
        carrier = timeout(UPGRADE_TIMEOUT, carrier) => carrier.ok().flatten(),
        () = asked => None,
    }
}

/// How the running part came to its end.
#[derive(Debug)]
enum Outcome {
    /// The registry has decided.
    Ended(End),
    /// This connection has found a reason.
    Found(Ending),
}

/// How a round of writing and taking came out.
#[derive(Debug)]
enum Outgoing {
    /// Frames were taken and can be written.
    More,
    /// Everything is written and nothing waits.
    Idle,
    /// The socket refuses bytes.
    Refused,
    /// It was the last.
    Ends(Outcome),
}

struct Connection {
    context: Arc<NodeContext>,
    key: ConnectionKey,
    dialect: Dialect,
    transport: Transport,
    outbox: Receiver,
    heartbeat: Heartbeat,
    timer: Pin<Box<Sleep>>,
    /// What the router knows of how much is in hand.
    reported: usize,
    /// Frames just taken; kept for its allocation.
    taken: Vec<Arc<Frame>>,
    pongs_waiting: usize,
    acks: Acks,
    /// Why the socket cannot be read any more.
    broken: Option<Broken>,
    /// What is wrong with a message of the client's, for people.
    fault: Option<Box<str>>,
    /// The past that is still to be delivered.
    catch_up: Option<Box<CatchUp>>,
}

impl Connection {
    fn new(
        context: Arc<NodeContext>,
        dialect: Dialect,
        attached: &Attached,
        outbox: Receiver,
        carrier: Carrier,
        acks: Acks,
    ) -> Self {
        let settings = &context.socket;
        let now = Instant::now();
        let (interval, patience) = (settings.ping_interval, settings.pong_timeout);
        let heartbeat = match &carrier {
            Carrier::Socket(_) => Heartbeat::new(interval, patience, now),
            // Others on the way give up an answer that is silent sooner than a socket.
            Carrier::Stream(_) => Heartbeat::unanswered(interval / 2, patience, now),
        };
        let transport = Transport::new(carrier, settings.message_bytes, attached.start.from);
        Self {
            timer: Box::pin(sleep_until(heartbeat.next().into())),
            key: attached.key,
            dialect,
            transport,
            outbox,
            heartbeat,
            reported: 0,
            taken: Vec::new(),
            pongs_waiting: 0,
            acks,
            broken: None,
            fault: None,
            catch_up: None,
            context,
        }
    }

    /// Queues a message about the connection.
    fn say(&mut self, message: &Message<'_>) {
        self.transport.queue(message.encode(self.dialect));
    }

    /// Runs until there is a reason to end.
    async fn run(&mut self) -> Outcome {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Each round writes, and reads and looks at the clock, until nothing is left to do or the socket
    /// refuses. Everything that may happen then wakes this task: a push or the end (the outbox), room
    /// in the socket, bytes from the client, the timer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(replay) = &mut self.catch_up {
            replay.begin_turn();
        }
        for round in 1..=ROUNDS_A_TURN {
            let outgoing = match self.poll_outgoing(cx) {
                Outgoing::Ends(outcome) => return Poll::Ready(outcome),
                Outgoing::More if !round.is_multiple_of(READ_EVERY_ROUNDS) => continue,
                outgoing => outgoing,
            };
            if let Poll::Ready(outcome) = self.poll_incoming(cx) {
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
