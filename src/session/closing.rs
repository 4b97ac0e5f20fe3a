//! The end of a session: verdict, last words, close.

use std::{any::Any, future::poll_fn, ops::RangeInclusive, time::Duration};

use bytes::Bytes;
use rand::RngExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broken, NodeContext, Outcome, Session, channel::Channels};
use crate::{
    position::Position,
    protocol::{Dialect, Ending, Message},
    router::outbox::End,
};

/// The registry may take this long to give its verdict; the router waits no longer elsewhere.
const VERDICT_TIMEOUT: Duration = Duration::from_mins(1);
/// Clients that may come back are asked to do so within this time, each at its own moment.
const RETRY_WITHIN_MS: RangeInclusive<u64> = 100..=3_000;

impl Session {
    /// Ends the session for good. `ran` is the outcome of its running part; a panic in it is a fault of ours, and ends
    /// this session alone.
    pub(super) async fn finish(&mut self, ran: Result<Outcome, Box<dyn Any + Send>>) {
        let end = match ran {
            Ok(Outcome::Ended(end)) => end,
            Ok(Outcome::Found(ending)) => self.verdict(ending).await,
            Err(_) => {
                tracing::error!(key = ?self.key, "the task of a session panicked");
                self.verdict(Ending::InternalError).await
            }
        };
        let deadline = Instant::now() + self.context.socket.close_timeout;
        let silent = self.broken == Some(Broken::Lost);
        if !silent {
            self.queue_last_words(end);
        }
        // What the client does not get is not kept for as long as the close takes.
        self.channels.drop_replays();
        self.outbox.close();
        if !silent {
            let written = timeout_at(deadline, self.flush()).await;
            self.note_written();
            let written = written.is_ok_and(|written| written);
            self.transport.part(self.broken, written, deadline).await;
        }
        for channel in self.channels.iter_mut() {
            channel.acks.finish(&self.context).await;
        }
        tracing::debug!(key = ?self.key, "the session is closed");
    }

    /// Tells the registry what was found, and waits for what it decides. Nothing more is taken meanwhile, so that a
    /// router that waits for room here is set free.
    async fn verdict(&mut self, found: Ending) -> End {
        if let Some(postponed) = &self.postponed {
            return End {
                drain: false,
                ..postponed.end
            };
        }
        self.outbox.stop();
        let taken = self.transport.outbound().taken_of_all();
        let alone = End {
            ending: found,
            position: taken.unwrap_or(Position::START),
            drain: false,
            more: false,
        };
        let decided = async {
            // Where the router is gone, the whole node is: there is no verdict to wait for.
            if !self.context.router.end_session(self.key, found).await {
                return alone;
            }
            poll_fn(|cx| self.outbox.poll_end(cx)).await
        };
        timeout(VERDICT_TIMEOUT, decided).await.unwrap_or(alone)
    }

    /// Queues what the client still gets: what waits, if the ending drains; `ended`; the close.
    fn queue_last_words(&mut self, end: End) {
        let cursor = if self.several.is_some() {
            self.conclude_many(end)
        } else {
            self.conclude(end)
        };
        // The client began the closing handshake.
        if end.ending == Ending::ClientLeft {
            return self.transport.queue_close_answer();
        }
        if self.dialect.has_messages() {
            let cursor = cursor.map(|at| at.cursor(self.context.router.deployment()));
            let retry = retry_after_ms(end.ending, self.context.drain);
            let fault = self.fault.take();
            let detail = fault.filter(|_| end.ending == Ending::BadMessage);
            let ended = Message::ended(end.ending, retry, cursor.as_deref(), detail.as_deref());
            self.say(&ended);
        }
        let ending = end.ending;
        self.transport.queue_close(ending.code(), ending.token());
    }

    fn conclude(&mut self, end: End) -> Option<Position> {
        let (missed, waits) = (self.outbox.missed(), self.outbox.drain());
        let (context, dialect) = (&self.context, self.dialect);
        self.channels.conclude(
            end,
            waits,
            missed,
            Channels::catches_up,
            self.transport.outbound(),
            |_, end, cursor| last_words(context, dialect, end, cursor),
        )
    }

    async fn flush(&mut self) -> bool {
        poll_fn(|cx| self.transport.poll_write(cx)).await.is_ok()
    }
}

/// Encodes the last words of one channel, whose client stands at `cursor`. They name no channel: no dialect has several of
/// them yet.
pub(super) fn last_words(
    context: &NodeContext,
    dialect: Dialect,
    end: End,
    cursor: Option<Position>,
) -> Bytes {
    if !dialect.has_messages() {
        return Bytes::new();
    }
    let cursor = cursor.map(|at| at.cursor(context.router.deployment()));
    let retry = retry_after_ms(end.ending, context.drain);
    Message::ended(end.ending, retry, cursor.as_deref(), None).encode(dialect)
}

/// Returns the time after which a client comes back, where it may: after a stop within the time over which the
/// connections end (`drain`), so that those who come from here are as spread as those who leave.
pub(crate) fn retry_after_ms(ending: Ending, drain: Duration) -> Option<u64> {
    let within = if ending != Ending::Shutdown || drain.is_zero() {
        RETRY_WITHIN_MS
    } else {
        0..=u64::try_from(drain.as_millis()).unwrap_or(u64::MAX)
    };
    ending.retry().then(|| rand::rng().random_range(within))
}
