//! The end of a connection: verdict, last words, close.

use std::{any::Any, future::poll_fn, task::Poll, time::Duration};

use rand::RngExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broken, Connection, Incoming, Outcome, forget_bytes};
use crate::{
    position::Position,
    protocol::{Dialect, Ending, ended_message},
    router::outbox::End,
};

/// How long the registry may take to give its verdict; the router waits at most so long elsewhere.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients that may come back are asked to do so within this time, each at its own moment.
const RETRY_WITHIN_MS: std::ops::Range<u64> = 100..3_000;

impl Connection {
    /// Ends the connection for good. `ran` is how its running part came out; a panic in it is a
    /// fault of ours, and ends this connection alone.
    pub(super) async fn finish(&mut self, ran: Result<Outcome, Box<dyn Any + Send>>) {
        let (end, found) = match ran {
            Ok(Outcome::Ended(end)) => (end, None),
            Ok(Outcome::Found(found)) => (self.verdict(found).await, Some(found)),
            Err(_) => {
                tracing::error!(key = ?self.key, "a connection task panicked");
                (self.verdict(Ending::InternalError).await, None)
            }
        };
        let deadline = Instant::now() + self.host.config.socket.close_timeout;
        if self.broken != Some(Broken::Lost) {
            self.queue_last_words(end, found);
            let flushed = timeout_at(deadline, self.flush()).await;
            self.count_delivered();
            if flushed.is_ok_and(|written| written) {
                self.part(deadline).await;
            }
        }
        let dropped = self.outbox.close();
        forget_bytes(&self.host.metrics, dropped);
    }

    /// Tells the registry what was found, and waits for what it decides. An end that was decided
    /// before counts wholly: what waits is delivered. Else nothing more is taken, which sets a router
    /// free that waits for room; whatever is decided then, no more events follow.
    async fn verdict(&mut self, found: Ending) -> End {
        if let Some(end) = self.replay.as_ref().and_then(|replay| replay.end) {
            return end;
        }
        match self.outbox.give_up() {
            Ok(dropped) => forget_bytes(&self.host.metrics, dropped),
            Err(end) => return end,
        }
        let alone = End {
            ending: found,
            position: Position::START,
            drain: false,
        };
        if !self.host.router.leave(self.key, found).await {
            return alone;
        }
        let decided = poll_fn(|cx| self.outbox.poll_end(cx));
        // Without an answer the router is gone, and with it the whole node.
        let end = timeout(VERDICT_TIMEOUT, decided).await.unwrap_or(alone);
        End {
            drain: false,
            ..end
        }
    }

    /// Queues what the client still gets: what waits, if the ending drains; `ended`; the close. One
    /// that has begun to close itself gets the answer to that and nothing else.
    fn queue_last_words(&mut self, end: End, found: Option<Ending>) {
        if found == Some(Ending::ClientLeft) {
            self.socket.writing.discard();
        } else {
            let position = self.conclude(end);
            self.say_ended(end.ending, position);
        }
        self.socket
            .queue_close(end.ending.code(), end.ending.token());
    }

    /// Queues what waits, if the ending drains, else forgets what is queued; returns where the client is
    /// then. Who is still in the past stays there: what waits comes behind what is still to be read.
    fn conclude(&mut self, end: End) -> Position {
        let drain = end.drain && self.replay.is_none();
        let mut waiting = Vec::new();
        if drain {
            let (frames, bytes) = self.outbox.drain();
            forget_bytes(&self.host.metrics, bytes);
            waiting = frames;
        }
        self.socket.writing.conclude(End { drain, ..end }, &waiting)
    }

    fn say_ended(&mut self, ending: Ending, position: Position) {
        if self.dialect != Dialect::Tidegate {
            return;
        }
        let cursor = position.cursor(self.host.router.deployment());
        let retry = ending
            .retry()
            .then(|| rand::rng().random_range(RETRY_WITHIN_MS));
        self.say(&ended_message(ending, retry, &cursor));
    }

    async fn flush(&mut self) -> bool {
        poll_fn(|cx| self.socket.poll_write(cx)).await.is_ok()
    }

    /// The rest of the closing handshake: the client's close, then ours of the TCP connection.
    async fn part(&mut self, deadline: Instant) {
        if self.broken.is_none() {
            let closed = poll_fn(|cx| {
                loop {
                    match self.socket.poll_read(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Incoming::Text(_) | Incoming::Pong) => {}
                        Poll::Ready(Incoming::Close | Incoming::Broken(_)) => {
                            return Poll::Ready(());
                        }
                    }
                }
            });
            if timeout_at(deadline, closed).await.is_err() {
                return;
            }
        }
        self.socket.shutdown_write();
        let rest = poll_fn(|cx| self.socket.poll_discard(cx));
        if timeout_at(deadline, rest).await.is_err() {
            tracing::trace!("the client did not close in time");
        }
    }
}
