//! From the client: what it says, and whether it gives signs of life.

use std::{
    future::Future as _,
    task::{Context, Poll, ready},
    time::Instant,
};

use super::{Broken, Connection, Incoming, Outcome, heartbeat::Due};
use crate::protocol::{ClientMessage, Ending, Message};

/// Answers to `ping` messages that may wait; a client that asks faster than it listens is not read.
const PONGS_WAITING: usize = 64;

impl Connection {
    /// Reads what has arrived.
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.pongs_waiting < PONGS_WAITING {
            let ending = match self.transport.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Incoming::Pong) => {
                    self.heartbeat.pong();
                    continue;
                }
                Poll::Ready(Incoming::Text(text)) => match self.answer(text.as_str()) {
                    Ok(()) => continue,
                    Err(ending) => ending,
                },
                Poll::Ready(Incoming::Binary(payload)) => {
                    tracing::debug!(bytes = payload.len(), "a client's message is binary");
                    self.broken = Some(Broken::Binary);
                    Ending::Binary
                }
                Poll::Ready(Incoming::Close) => Ending::ClientLeft,
                Poll::Ready(Incoming::Broken(broken)) => {
                    self.broken = Some(broken);
                    broken.ending()
                }
            };
            return Poll::Ready(Outcome::Found(ending));
        }
        Poll::Pending
    }

    /// Acts on a client's message.
    fn answer(&mut self, text: &str) -> Result<(), Ending> {
        if !self.dialect.has_messages() {
            return Ok(());
        }
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Ping) => {
                self.say(&Message::pong());
                self.pongs_waiting += 1;
                Ok(())
            }
            Ok(ClientMessage::Ack(cursor)) => {
                let applied = self.context.router.progress().position;
                self.acks.take(&self.context, cursor, applied);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "a client's message is malformed");
                self.fault = Some(error.into());
                Err(Ending::BadMessage)
            }
        }
    }

    /// Lets the acknowledged position go with the feed, if nothing that was committed up to there is
    /// still on its way to this connection.
    fn advance(&mut self) {
        // Asked before looking into the outbox: what matched up to here was put there before.
        let applied = self.context.router.progress().position;
        if self.catch_up.is_none() && self.outbox.is_empty() {
            self.acks.advance(&self.context, applied);
        }
    }

    /// By when the replay has to be over, if there is one.
    fn replay_deadline(&self) -> Option<Instant> {
        let timeout = self.context.feed.replay_timeout;
        self.catch_up
            .as_ref()
            .map(|replay| replay.deadline(timeout))
    }

    /// Judges the heartbeat, and how long the replay takes, whatever it waits for. Runs after reading, so
    /// that what had arrived counts.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let (heartbeat, replay) = (self.heartbeat.next(), self.replay_deadline());
            let next = replay.map_or(heartbeat, |replay| replay.min(heartbeat));
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            if replay.is_some_and(|replay| replay <= Instant::now()) {
                // Either its socket takes nothing now, or it is this node that was slow.
                let ending = if self.transport.is_flushed() {
                    Ending::Overloaded
                } else {
                    Ending::SlowConsumer
                };
                return Poll::Ready(Outcome::Found(ending));
            }
            match self.heartbeat.due(Instant::now()) {
                Due::Nothing => {}
                Due::Ping => {
                    self.advance();
                    self.transport.queue_ping();
                }
                Due::Missed => {
                    // Unless the sign of life is here, and only the runtime does not know yet.
                    self.transport.ask_kernel();
                    if let Poll::Ready(outcome) = self.poll_incoming(cx) {
                        return Poll::Ready(outcome);
                    }
                    if self.heartbeat.missed(Instant::now()) {
                        return Poll::Ready(Outcome::Found(Ending::HeartbeatMissed));
                    }
                }
            }
        }
    }
}
