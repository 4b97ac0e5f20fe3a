//! From the client: its messages, and its signs of life.

use std::{
    future::Future as _,
    task::{Context, Poll, ready},
    time::Instant,
};

use super::{Broken, Incoming, Outcome, Session, heartbeat::Due};
use crate::protocol::{ClientMessage, Ending, Message};

/// The answers to messages that may wait; a client that asks faster than it listens is not read.
const ANSWERS_WAITING: usize = 64;

impl Session {
    /// Reads what has arrived.
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.answers_waiting < ANSWERS_WAITING {
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
                self.answers_waiting += 1;
                Ok(())
            }
            Ok(ClientMessage::Ack(cursor)) => {
                let applied = self.context.router.progress().position;
                for channel in self.channels.iter_mut() {
                    channel.acks.take(&self.context, cursor, applied);
                }
                Ok(())
            }
            Ok(ClientMessage::Refresh(token)) => self.take_refresh(token),
            Err(error) => {
                // The error may quote the message, and that may hold a credential.
                tracing::debug!("a client's message is malformed");
                self.fault = Some(error.into());
                Err(Ending::BadMessage)
            }
        }
    }

    /// Lets the acknowledged position of each channel go with the feed, if nothing that was committed up to there is
    /// still on its way to the client.
    fn advance(&mut self) {
        // Asked before looking into the outbox: what matched up to here was put there before.
        let applied = self.context.router.progress().position;
        for channel in self.channels.iter_mut() {
            if channel.is_live() && self.outbox.has_nothing_for(channel.id()) {
                channel.acks.advance(&self.context, applied);
            }
        }
    }

    /// Checks the heartbeat, the end of the credential, and the time that replays take, whatever they wait for. Runs after reading, so that what had
    /// arrived counts.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let timeout = self.context.feed.replay_timeout;
            let replay = self.channels.replay_deadline(timeout);
            let warning = self.warning();
            let others = [replay, warning].into_iter().flatten();
            let next = others.fold(self.heartbeat.next(), Instant::min);
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            if replay.is_some_and(|replay| replay <= Instant::now()) {
                // Either the socket takes nothing now, or this node was slow.
                let ending = if self.transport.is_flushed() {
                    Ending::Overloaded
                } else {
                    Ending::SlowConsumer
                };
                return Poll::Ready(Outcome::Found(ending));
            }
            if warning.is_some_and(|warning| warning <= Instant::now()) {
                self.warn();
            }
            match self.heartbeat.due(Instant::now()) {
                Due::Nothing => {}
                Due::Ping => {
                    self.advance();
                    self.transport.queue_ping();
                }
                Due::Missed => {
                    // The sign of life may be here, and only the runtime does not know yet.
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
