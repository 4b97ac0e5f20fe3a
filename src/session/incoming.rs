//! From the client: its messages, and its signs of life.

use std::{
    future::Future as _,
    task::{Context, Poll, ready},
    time::Instant,
};

use smallvec::SmallVec;

use super::{Broken, Incoming, Outcome, Session, heartbeat::Due, many::Several};
use crate::{
    position::Position,
    protocol::{ChannelId, ClientMessage, Ending, Message},
};

/// The answers to messages that may wait; a client that asks faster than it listens is not read.
const ANSWERS_WAITING: usize = 64;

impl Session {
    /// Reads what has arrived.
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.answers_waiting < ANSWERS_WAITING && self.may_ask_more() {
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

    fn may_ask_more(&self) -> bool {
        let most_bytes = self.context.socket.many_message_bytes;
        let several = self.several.as_deref();
        several.is_none_or(|several| several.has_room(most_bytes))
    }

    /// Tells a client where it stands, if nothing waits for it and it was told less. Positions of live channels
    /// alone are told.
    fn tell_at(&mut self) {
        // Asked before looking into the outbox: what matched up to here was put there before.
        let applied = self.context.router.progress().position;
        if !self.dialect.has_messages() || !self.outbox.has_nothing() {
            return;
        }
        let standing = if self.several.is_some() {
            self.standing_of_live()
        } else if self.channels.any_catches_up() {
            None
        } else {
            self.transport.outbound().queued_of_all()
        };
        if standing.is_none_or(|standing| applied <= standing) {
            return;
        }
        let live: SmallVec<[ChannelId; 4]> = self.channels.live().collect();
        for id in live {
            self.transport.outbound().advance_to(id, applied);
        }
        self.transport.outbound().advance_shared(applied);
        let cursor = applied.cursor(self.context.router.deployment());
        if self.dialect.is_sse() {
            let of_all = self.several.is_some().then(|| self.id_of_stream());
            let id = of_all.flatten().unwrap_or(cursor);
            self.transport.queue(Message::bare_id(&id));
        } else {
            self.say(&Message::at(&cursor));
        }
    }

    /// Acts on a client's message.
    fn answer(&mut self, text: &str) -> Result<(), Ending> {
        if !self.dialect.has_messages() {
            return Ok(());
        }
        if self.several.is_some() {
            return self.answer_many(text);
        }
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Ping) => {
                self.say(&Message::pong());
                self.answers_waiting += 1;
                Ok(())
            }
            Ok(ClientMessage::Ack(cursor)) => {
                let applied = self.context.router.progress().position;
                let outbound = self.transport.outbound();
                for channel in self.channels.iter_mut() {
                    let sent = outbound.queued(channel.id()).unwrap_or(Position::START);
                    channel.acks.take(&self.context, cursor, sent, applied);
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

    /// Checks the heartbeat, the end of the credential, and the time that replays take, whatever they wait for.
    /// Runs after reading, so that what had arrived counts.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let timeout = self.context.feed.replay_timeout;
            let replay = self.channels.replay_deadline(timeout);
            let replay_by = replay.map(|(_, by)| by);
            let warning = self.warning();
            let first_by = self.several.as_deref().and_then(Several::first_by);
            let ends_by = self.ends_wait_until(self.context.socket.close_timeout);
            let at = self.dialect.has_messages().then_some(self.next_at);
            let others = [replay_by, warning, first_by, ends_by, at];
            let others = others.into_iter().flatten();
            let next = others.fold(self.heartbeat.next(), Instant::min);
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if ends_by.is_some_and(|by| by <= now) {
                return Poll::Ready(Outcome::Found(Ending::SlowConsumer));
            }
            if first_by.is_some_and(|by| by <= now) {
                return Poll::Ready(Outcome::Found(Ending::HeartbeatMissed));
            }
            if self.next_at <= now {
                self.next_at = now + self.context.socket.ping_interval / 2;
                self.tell_at();
            }
            if let Some((id, _)) = replay.filter(|(_, by)| *by <= now) {
                // Either the socket takes nothing now, or this node was slow.
                let ending = if self.transport.is_flushed() {
                    Ending::Overloaded
                } else {
                    Ending::SlowConsumer
                };
                if self.several.is_some() {
                    let catch_up = self.channels.take_replay(id);
                    self.fail(id, ending, catch_up);
                    cx.waker().wake_by_ref();
                    continue;
                }
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
