//! A connection: the task that alone owns one socket.
//!
//! It moves frames from its outbox to the socket, listens to the client, and keeps time. It never
//! decides that it ends: when it finds a reason it tells the registry and acts on the verdict, which
//! comes through the outbox like everything else. An earlier verdict wins.

mod closing;
mod heartbeat;
mod replaying;
#[cfg(test)]
mod tests;
mod websocket;
mod writing;

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
    net::TcpStream,
    sync::oneshot,
    time::{Sleep, sleep_until, timeout},
};

use self::{
    heartbeat::{Due, Heartbeat},
    replaying::{Beginning, Found, Replaying},
    websocket::{Broken, Incoming, WebSocket},
};
use crate::{
    config::Config,
    position::{Cursor, Position},
    protocol::{
        ClientMessage, Dialect, Ending, Frame, GapReason, PONG_MESSAGE, connected_message,
        gap_message, text_frame,
    },
    replay::Replays,
    router::{
        Attach, AttachError, Attached, RouterHandle, Wording, filter_limits,
        outbox::{End, Receiver, Taken},
        registry::{ConnectionKey, ends_on_gap},
    },
    telemetry::Metrics,
};

/// Bytes taken from the outbox for one round of writing.
const ROUND_BYTES: usize = 64 * 1024;
/// Rounds of taking and writing before other tasks get a turn.
const ROUNDS: usize = 16;
/// Answers to `ping` messages that may wait; a client that asks faster than it listens is not read.
const PONGS_WAITING: usize = 64;
/// How long the HTTP layer may take to hand the socket over.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every connection of a node works with.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where to ask and tell.
    pub router: RouterHandle,
    /// Timing and bounds.
    pub config: Arc<Config>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where the history is read.
    pub replays: Replays,
    /// How events are written.
    pub wording: Arc<Wording>,
}

/// A client's wish.
#[derive(Debug)]
pub struct Request {
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

/// A socket that was handed over, with what had been read of it already.
#[derive(Debug)]
pub struct Upgraded {
    /// The socket.
    pub tcp: TcpStream,
    /// Bytes that came behind the request.
    pub read_already: Vec<u8>,
}

/// Serves one connection from its wish to its end. `answer` hears whether it was taken, before the
/// socket is handed over through `upgrade` (`None`: it never is).
pub async fn serve(
    host: Host,
    request: Request,
    answer: oneshot::Sender<Result<(), AttachError>>,
    upgrade: impl Future<Output = Option<Upgraded>>,
) {
    let (sender, outbox) = host.router.outbox();
    let after = request.after;
    let dialect = request.dialect;
    let attach = Attach {
        id: request.subscription,
        outbox: sender,
        dialect,
        after,
        close_on_gap: request.close_on_gap,
        remote: request.remote,
    };
    let attached = match host.router.attach(attach).await {
        Ok(attached) => attached,
        Err(error) => {
            if answer.send(Err(error)).is_err() {
                tracing::trace!("the client left before it was refused");
            }
            return;
        }
    };
    let waiting = answer.send(Ok(())).is_ok();
    let upgraded = if waiting {
        timeout(UPGRADE_TIMEOUT, upgrade).await.ok().flatten()
    } else {
        None
    };
    let Some(upgraded) = upgraded else {
        let dropped = outbox.close();
        forget_bytes(&host.metrics, dropped);
        host.router
            .leave(attached.key, Ending::ConnectionLost)
            .await;
        return;
    };
    let mut connection = Connection::new(host, dialect, &attached, outbox, upgraded);
    connection.begin(&attached, after, request.close_on_gap);
    let step = AssertUnwindSafe(connection.run()).catch_unwind().await;
    connection.finish(step).await;
    tracing::debug!(connection = attached.id, "connection is closed");
}

fn forget_bytes(metrics: &Metrics, bytes: usize) {
    metrics
        .outbox_bytes
        .dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// How the running part came to its end.
#[derive(Debug)]
enum Outcome {
    /// The registry has decided.
    Ended(End),
    /// This connection has found a reason.
    Found(Ending),
}

struct Connection {
    host: Host,
    key: ConnectionKey,
    dialect: Dialect,
    socket: WebSocket,
    outbox: Receiver,
    heartbeat: Heartbeat,
    timer: Pin<Box<Sleep>>,
    /// Frames just taken; kept for its allocation.
    taken: Vec<Arc<Frame>>,
    pongs_waiting: usize,
    /// Why the socket cannot be read any more.
    broken: Option<Broken>,
    /// The past that is still to be delivered.
    replay: Option<Replay>,
}

/// A replay, and what it needs around it.
struct Replay {
    replaying: Replaying,
    begun: Instant,
    /// The `connected` message, held back until it is known whether everything will come.
    greeting: Option<Greeting>,
    ends_on_gap: bool,
    /// The subscription was deleted; the replay goes on to that point.
    end: Option<End>,
}

struct Greeting {
    connection: String,
    subscription: String,
    from: Position,
}

impl Connection {
    fn new(
        host: Host,
        dialect: Dialect,
        attached: &Attached,
        outbox: Receiver,
        upgraded: Upgraded,
    ) -> Self {
        let settings = &host.config.socket;
        let now = Instant::now();
        let heartbeat = Heartbeat::new(settings.ping_interval, settings.pong_timeout, now);
        let socket = WebSocket::new(
            upgraded.tcp,
            upgraded.read_already,
            settings.message_bytes,
            attached.start.from,
        );
        Self {
            timer: Box::pin(sleep_until(heartbeat.next().into())),
            key: attached.key,
            dialect,
            socket,
            outbox,
            heartbeat,
            taken: Vec::new(),
            pongs_waiting: 0,
            broken: None,
            replay: None,
            host,
        }
    }

    /// Queues what comes before everything else, or prepares the replay.
    fn begin(&mut self, attached: &Attached, after: Option<Cursor>, close_on_gap: bool) {
        let greeting = Greeting {
            connection: attached.id.clone(),
            subscription: attached.subscription.clone(),
            from: attached.start.from,
        };
        if attached.start.replay {
            self.replay = Some(Replay {
                replaying: self.replaying(attached),
                begun: Instant::now(),
                greeting: Some(greeting),
                ends_on_gap: ends_on_gap(self.dialect, close_on_gap),
                end: None,
            });
            return;
        }
        self.greet(&greeting, attached.start.gap.is_none());
        if let Some(reason) = attached.start.gap {
            let after = after.map(|after| after.position.cursor(after.deployment));
            self.tell_gap(reason, after.as_deref(), attached.start.from);
        }
    }

    fn replaying(&self, attached: &Attached) -> Replaying {
        Replaying::new(Beginning {
            key: self.key,
            dialect: self.dialect,
            router: self.host.router.clone(),
            replays: self.host.replays.clone(),
            wording: Arc::clone(&self.host.wording),
            limits: filter_limits(&self.host.config.limits),
            document: attached.document.clone(),
            from: attached.start.from,
            attached_at: attached.start.attached_at,
        })
    }

    fn greet(&mut self, greeting: &Greeting, recovered: bool) {
        if self.dialect == Dialect::Tidegate {
            let cursor = greeting.from.cursor(self.host.router.deployment());
            let Greeting {
                connection,
                subscription,
                ..
            } = greeting;
            self.say(&connected_message(
                connection,
                subscription,
                &cursor,
                recovered,
            ));
        }
    }

    fn tell_gap(&mut self, reason: GapReason, after: Option<&str>, cursor: Position) {
        if self.dialect == Dialect::Tidegate {
            let cursor = cursor.cursor(self.host.router.deployment());
            self.say(&gap_message(reason, after, &cursor));
        }
    }

    /// Queues a message about the connection.
    fn say(&mut self, message: &str) {
        self.socket.writing.push(text_frame(message.as_bytes()));
    }

    /// Runs until there is a reason to end.
    async fn run(&mut self) -> Outcome {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(outcome) = self.poll_outgoing(cx) {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(outcome) = self.poll_incoming(cx) {
            return Poll::Ready(outcome);
        }
        let held = self.holds_reading();
        if let Poll::Ready(outcome) = self.poll_timer(cx) {
            return Poll::Ready(outcome);
        }
        if self.socket.is_flushed() {
            return Poll::Pending;
        }
        // Answers that were queued while reading go out now.
        let outgoing = self.poll_outgoing(cx);
        if held && !self.holds_reading() {
            // What was left unread is still there, and will not be announced again.
            cx.waker().wake_by_ref();
        }
        outgoing
    }

    /// Whether nothing is read for now, because the client asks faster than it listens.
    fn holds_reading(&self) -> bool {
        self.pongs_waiting >= PONGS_WAITING || self.socket.holds_reading()
    }

    /// Takes and writes until nothing waits or the socket refuses.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        for _ in 0..ROUNDS {
            let written = self.socket.poll_write(cx);
            self.count_delivered();
            match written {
                Poll::Ready(Ok(())) => self.on_flushed(),
                Poll::Ready(Err(_)) => {
                    self.broken = Some(Broken::Lost);
                    return Poll::Ready(Outcome::Found(Ending::ConnectionLost));
                }
                Poll::Pending => return self.on_refused(cx),
            }
            if self.replay.is_some() {
                match self.poll_replay(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(outcome)) => return Poll::Ready(outcome),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.outbox.poll_take(cx, ROUND_BYTES, &mut self.taken) {
                Poll::Ready(Taken::Frames { bytes }) => self.queue_taken(bytes),
                Poll::Ready(Taken::End(end)) => return Poll::Ready(Outcome::Ended(end)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // There is more, but others want a turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn on_flushed(&mut self) {
        self.pongs_waiting = 0;
        self.heartbeat.flushed(Instant::now());
    }

    fn count_delivered(&mut self) {
        let delivered = self.socket.writing.take_delivered();
        if let Some(oldest) = delivered.oldest {
            let metrics = &self.host.metrics;
            metrics.deliveries.inc_by(delivered.events);
            Metrics::observe(&metrics.match_to_socket, oldest.elapsed());
        }
    }

    fn on_refused(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.outbox.refused();
        let progress = self.socket.take_progress();
        self.heartbeat.refused(progress, Instant::now());
        self.outbox.poll_end(cx).map(Outcome::Ended)
    }

    fn queue_taken(&mut self, bytes: usize) {
        forget_bytes(&self.host.metrics, bytes);
        self.queue_frames();
    }

    fn queue_frames(&mut self) {
        for frame in self.taken.drain(..) {
            self.socket.writing.push_frame(&frame);
        }
    }

    /// Goes on with the replay, now that everything queued was written.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        let Some(mut replay) = self.replay.take() else {
            return Poll::Ready(Ok(()));
        };
        if replay.end.is_none()
            && let Poll::Ready(end) = self.outbox.poll_end(cx)
        {
            // Last words are heard: what was committed before the delete still comes.
            if !matches!(end.ending, Ending::Deleted | Ending::Expired) {
                self.replay = Some(replay);
                return Poll::Ready(Err(Outcome::Ended(end)));
            }
            replay.replaying.stop_at(end.position);
            replay.end = Some(end);
        }
        let polled = replay.replaying.poll(cx, ROUND_BYTES, &mut self.taken);
        let outcome = match polled {
            Poll::Pending => {
                self.replay = Some(replay);
                return Poll::Pending;
            }
            Poll::Ready(found) => self.on_found(&mut replay, found),
        };
        if let Some(end) = replay.end
            && outcome.is_ok()
            && replay.replaying.is_over()
        {
            return Poll::Ready(Err(Outcome::Ended(end)));
        }
        let live = matches!(outcome, Ok(true));
        if !live {
            self.replay = Some(replay);
        }
        Poll::Ready(outcome.map(|_| ()))
    }

    /// Acts on what the replay came to; true when it is done.
    fn on_found(&mut self, replay: &mut Replay, found: Found) -> Result<bool, Outcome> {
        let lost = matches!(found, Found::Gap(..));
        if !matches!(found, Found::Unavailable)
            && let Some(greeting) = replay.greeting.take()
        {
            self.greet(&greeting, !lost);
        }
        self.queue_frames();
        match found {
            Found::Unavailable => Err(Outcome::Found(Ending::Overloaded)),
            Found::Gap(..) if replay.ends_on_gap => Err(Outcome::Found(Ending::Resync)),
            Found::Gap(reason, after, cursor) => {
                let after = after.cursor(self.host.router.deployment());
                self.tell_gap(reason, Some(&after), cursor);
                self.socket.writing.pass(cursor);
                Ok(false)
            }
            Found::Frames if replay.begun.elapsed() > self.host.config.feed.replay_timeout => {
                Err(Outcome::Found(Ending::SlowConsumer))
            }
            Found::Frames => {
                self.socket.writing.pass(replay.replaying.done());
                Ok(false)
            }
            Found::Live(position) => {
                self.socket.writing.pass(position);
                Metrics::observe(&self.host.metrics.replay, replay.begun.elapsed());
                Ok(true)
            }
        }
    }

    /// Reads everything that has arrived.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.pongs_waiting < PONGS_WAITING {
            let ending = match self.socket.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Incoming::Pong) => {
                    self.heartbeat.pong();
                    continue;
                }
                Poll::Ready(Incoming::Text(text)) => match self.answer(text.as_str()) {
                    Ok(()) => continue,
                    Err(ending) => ending,
                },
                Poll::Ready(Incoming::Close) => Ending::ClientLeft,
                Poll::Ready(Incoming::Broken(broken)) => {
                    self.broken = Some(broken);
                    ending_of(broken)
                }
            };
            return Poll::Ready(Outcome::Found(ending));
        }
        Poll::Pending
    }

    /// Acts on a client's message.
    fn answer(&mut self, text: &str) -> Result<(), Ending> {
        if self.dialect != Dialect::Tidegate {
            return Ok(());
        }
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Ping) => {
                self.say(PONG_MESSAGE);
                self.pongs_waiting += 1;
                Ok(())
            }
            // Only a durable subscription keeps what is acknowledged.
            Ok(ClientMessage::Ack(_)) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a client's message cannot be understood");
                Err(Ending::BadMessage)
            }
        }
    }

    /// Judges the heartbeat. Runs after reading, so that what had arrived counts.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let next = self.heartbeat.next().into();
            if self.timer.deadline() != next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.heartbeat.due(Instant::now()) {
                Due::Nothing => {}
                Due::Ping => self.socket.queue_ping(),
                Due::Missed => return Poll::Ready(Outcome::Found(Ending::HeartbeatMissed)),
            }
        }
    }
}

fn ending_of(broken: Broken) -> Ending {
    match broken {
        Broken::Lost => Ending::ConnectionLost,
        Broken::Finished => Ending::ClientLeft,
        Broken::Protocol => Ending::ProtocolError,
        Broken::Binary => Ending::Binary,
        Broken::NotUtf8 => Ending::NotUtf8,
        Broken::TooBig => Ending::TooBig,
    }
}
