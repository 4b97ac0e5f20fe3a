//! The end of a connection: verdict, last words, close.

use std::{any::Any, future::poll_fn, ops::RangeInclusive, time::Duration};

use rand::RngExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broken, Connection, Outcome, channel::CatchUp};
use crate::{
    protocol::{Ending, Message},
    router::outbox::End,
};

/// How long the registry may take to give its verdict; the router waits at most so long elsewhere.
const VERDICT_TIMEOUT: Duration = Duration::from_mins(1);
/// Clients that may come back are asked to do so within this time, each at its own moment.
const RETRY_WITHIN_MS: RangeInclusive<u64> = 100..=3_000;

impl Connection {
    /// Ends the connection for good. `ran` is how its running part came out; a panic in it is a
    /// fault of ours, and ends this connection alone.
    pub(super) async fn finish(&mut self, ran: Result<Outcome, Box<dyn Any + Send>>) {
        let end = match ran {
            Ok(Outcome::Ended(end)) => end,
            Ok(Outcome::Found(ending)) => self.verdict(ending).await,
            Err(_) => {
                tracing::error!(key = ?self.key, "a connection task panicked");
                self.verdict(Ending::InternalError).await
            }
        };
        let deadline = Instant::now() + self.context.socket.close_timeout;
        let silent = self.broken == Some(Broken::Lost);
        if !silent {
            self.queue_last_words(end);
        }
        // What the client does not get is not kept for as long as the close takes.
        self.catch_up = None;
        self.outbox.close();
        if !silent {
            let written = timeout_at(deadline, self.flush()).await;
            self.note_written();
            let written = written.is_ok_and(|written| written);
            self.transport.part(self.broken, written, deadline).await;
        }
        self.acks.finish(&self.context).await;
        tracing::debug!(key = ?self.key, "connection is closed");
    }

    /// Tells the registry what was found, and waits for what it decides. Nothing more is taken
    /// meanwhile, so that a router that waits for room here is set free.
    async fn verdict(&mut self, found: Ending) -> End {
        if let Some(end) = self.catch_up.as_deref().and_then(CatchUp::end) {
            return End {
                drain: false,
                ..end
            };
        }
        self.outbox.stop();
        let alone = End {
            ending: found,
            position: self.transport.outbound().taken(),
            drain: false,
        };
        let decided = async {
            // Where the router is gone, the whole node is: there is no verdict to wait for.
            if !self.context.router.leave(self.key, found).await {
                return alone;
            }
            poll_fn(|cx| self.outbox.poll_end(cx)).await
        };
        timeout(VERDICT_TIMEOUT, decided).await.unwrap_or(alone)
    }

    /// Queues what the client still gets: what waits, if the ending drains; `ended`; the close.
    fn queue_last_words(&mut self, end: End) {
        // Whoever was still in the past goes on from where it was: what waits may lie behind events of the
        // past that it has not got.
        let past = self.catch_up.is_some();
        let waiting = if past {
            Vec::new()
        } else {
            self.outbox.drain()
        };
        let complete = !self.outbox.missed() && !past;
        let cursor = self.transport.outbound().conclude(end, waiting, complete);
        // The client began the closing handshake.
        if end.ending == Ending::ClientLeft {
            return self.transport.queue_close_answer();
        }
        if self.dialect.has_messages() {
            let cursor = cursor.cursor(self.context.router.deployment());
            let retry = retry_after_ms(end.ending, self.context.drain);
            let fault = self.fault.take();
            let detail = fault.filter(|_| end.ending == Ending::BadMessage);
            let ended = Message::ended(end.ending, retry, Some(&cursor), detail.as_deref());
            self.say(&ended);
        }
        let ending = end.ending;
        self.transport.queue_close(ending.code(), ending.token());
    }

    async fn flush(&mut self) -> bool {
        poll_fn(|cx| self.transport.poll_write(cx)).await.is_ok()
    }
}

/// When a client comes back, where it may: after a stop within the time over which the connections end
/// (`drain`), so that those who come from here are as spread as those who leave.
pub(crate) fn retry_after_ms(ending: Ending, drain: Duration) -> Option<u64> {
    let within = if ending != Ending::Shutdown || drain.is_zero() {
        RETRY_WITHIN_MS
    } else {
        0..=u64::try_from(drain.as_millis()).unwrap_or(u64::MAX)
    };
    ending.retry().then(|| rand::rng().random_range(within))
}
