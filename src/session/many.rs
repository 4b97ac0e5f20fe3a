//! A session for many subscriptions: its client's messages, and the channels under the handles that the client chose.
//!
//! A client's `subscribe` and `unsubscribe` are handled strictly one after the other, so a handle can be used again
//! at once. A handle is in use from the message that names it until its `refused` or `ended` is queued. The router
//! opens the channels, and tells the session of each in its place among the frames ([`order`]).

mod closing;
mod handles;
mod opening;
mod order;
mod rate;
#[cfg(test)]
mod tests;
mod together;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use serde_json::Value;

pub(crate) use self::opening::{ManyRequest, NotOpened, serve};
use self::{handles::Handles, rate::Rate};
use super::{
    Outcome, Session,
    channel::{CatchUp, Channels, Order},
    replay::Shared,
};
use crate::{
    access::Caller,
    position::Position,
    protocol::{Asked, ChannelId, Ending, ManyMessage, Message, Wanted},
    router::{
        outbox::End,
        registry::{ChannelKey, SessionKey},
    },
};

/// The messages that may wait for their turn. A client that says more is not read.
const MOST_WAITING: usize = 256;

/// The proof of what a client asks for: HTTP knows how a wish is read, and refused.
pub(crate) trait Subscriber: fmt::Debug + Send + Sync {
    /// Reads what a client asks for, and has the router open the channels.
    /// The channels carry the number.
    fn subscribe(
        self: Arc<Self>,
        session: SessionKey,
        caller: Arc<Caller>,
        number: u64,
        asked: Asked,
    ) -> Subscribing;

    /// Returns the problem document of a refusal.
    fn problem(&self, refusal: Refusal) -> Value;
}

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A `subscribe` under way: the outcome of each item.
pub(crate) type Subscribing = Pin<Box<dyn Future<Output = Vec<Result<(), NotSubscribed>>> + Send>>;

/// A refusal of one item, as a problem document.
#[derive(Debug)]
pub(crate) struct NotSubscribed {
    pub problem: Value,
    pub retry_after_ms: Option<u64>,
}

/// The refusals that depend on the socket alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The handle is in use.
    InUse,
    /// The socket has as many handles as it may.
    TooManyHandles(usize),
    /// The socket has as many handles with filters of its client's own as it may.
    TooManyAdHoc(usize),
    /// The message has more items than it may.
    TooManyItems(usize),
    /// More handles are subscribed in a second than may be; the milliseconds to wait.
    TooFast(u64),
}

impl Refusal {
    fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::TooFast(after) => Some(after),
            Self::InUse
            | Self::TooManyHandles(_)
            | Self::TooManyAdHoc(_)
            | Self::TooManyItems(_) => None,
        }
    }
}

/// A message that waits for its turn.
enum Due {
    /// With the refusals that are decided already.
    Subscribe(Asked, Vec<Option<Refusal>>),
    Unsubscribe(Box<str>),
}

/// The part of a session that only those for many subscriptions have.
pub(super) struct Several {
    subscriber: Arc<dyn Subscriber>,
    handles: Handles,
    /// The number of the last `subscribe`.
    last_number: u64,
    /// The pasts that replays of one message read.
    pub(super) pasts: Vec<Shared>,
    /// The number of that message.
    pasts_of: u64,
    due: VecDeque<(Due, usize)>,
    /// Bytes of the messages that are due.
    due_bytes: usize,
    under_way: Option<(Vec<Arc<str>>, Subscribing)>,
    /// Ends that the router is to hear of.
    to_end: VecDeque<(ChannelId, Ending)>,
    ending: Option<Waiting<bool>>,
    rate: Rate,
    /// The first `subscribe` has to come by then.
    first_by: Option<Instant>,
    /// The router has to come to this position, before channels that stand there share the order.
    reached: Option<(Position, Waiting<()>)>,
    /// The last id of server-sent events that the client was told, or came with.
    stream_id: Option<String>,
    /// Ends of channels wait since then, while the socket refuses bytes.
    ends_wait_since: Option<Instant>,
}

impl Several {
    /// Whether a client is to be read further.
    pub(super) fn has_room(&self, most_bytes: usize) -> bool {
        self.due.len() < MOST_WAITING && self.due_bytes < most_bytes
    }

    /// Returns the time by which the first `subscribe` has to come, if none has.
    pub(super) fn first_by(&self) -> Option<Instant> {
        self.first_by
    }

    /// Whether everything that a message asked for has begun, or was refused.
    pub(super) fn is_complete(&self, number: u64) -> bool {
        self.handles.is_complete(number)
    }

    fn push(&mut self, due: Due, bytes: usize) {
        self.due_bytes += bytes;
        self.due.push_back((due, bytes));
    }

    fn pop(&mut self) -> Option<Due> {
        let (due, bytes) = self.due.pop_front()?;
        self.due_bytes -= bytes;
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
        Some(due)
    }
}

/// The messages of a client.
impl Session {
    /// Acts on a client's message, or lets it wait for its turn.
    pub(super) fn answer_many(&mut self, text: &str) -> Result<(), Ending> {
        match ManyMessage::parse(text) {
            Ok(ManyMessage::Ping) => {
                self.say(&Message::pong());
                self.answers_waiting += 1;
            }
            Ok(ManyMessage::Ack(cursor, handle)) => self.acknowledge(cursor, handle.as_deref()),
            Ok(ManyMessage::Refresh(token)) => return self.take_refresh(token),
            Ok(ManyMessage::Subscribe(asked)) => self.take_subscribe(asked, text.len()),
            Ok(ManyMessage::Unsubscribe(handle)) => {
                if let Some(several) = &mut self.several {
                    several.push(Due::Unsubscribe(handle), text.len());
                }
            }
            Err(error) => {
                // The error may quote the message, and that may hold a credential.
                tracing::debug!("a client's message is malformed");
                self.fault = Some(error.into());
                return Err(Ending::BadMessage);
            }
        }
        Ok(())
    }

    fn take_subscribe(&mut self, asked: Asked, bytes: usize) {
        let most = self.context.socket.items;
        let Some(several) = &mut self.several else {
            return;
        };
        several.first_by = None;
        let too_many = asked.items.len() > most;
        let refusals = asked.items.iter().map(|_| {
            if too_many {
                return Some(Refusal::TooManyItems(most));
            }
            several
                .rate
                .take(Instant::now())
                .err()
                .map(Refusal::TooFast)
        });
        let refusals = refusals.collect();
        several.push(Due::Subscribe(asked, refusals), bytes);
    }

    /// Takes the client's word that it has handled everything up to a cursor, on one channel or on all that are live.
    fn acknowledge(&mut self, cursor: crate::position::Cursor, handle: Option<&str>) {
        let applied = self.context.router.progress().position;
        let outbound = self.transport.outbound();
        for channel in self.channels.iter_mut() {
            let is_meant = match handle {
                Some(handle) => channel.handle.as_deref() == Some(handle),
                None => channel.is_shared(),
            };
            if !is_meant || channel.adhoc || channel.has_ended() {
                continue;
            }
            // Whatever was for it up to there was sent.
            let sent = if channel.is_shared() {
                outbound.queued_of_shared()
            } else {
                outbound.queued(channel.id()).unwrap_or(Position::START)
            };
            channel.acks.take(&self.context, cursor, sent, applied);
        }
    }

    /// Goes on with what the client has asked for, and tells the router which channels are to end.
    pub(super) fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            self.poll_ends(cx);
            let Some(several) = &mut self.several else {
                return Poll::Pending;
            };
            if self.dialect.is_sse() && several.handles.len() == 0 && self.transport.is_flushed() {
                // Nothing can come any more, and the client can ask for nothing here.
                return Poll::Ready(Outcome::Found(Ending::ClientLeft));
            }
            if let Some((_, subscribing)) = &mut several.under_way {
                let outcomes = ready!(subscribing.as_mut().poll(cx));
                self.on_subscribed(outcomes);
                continue;
            }
            let had_room = several.has_room(self.context.socket.many_message_bytes);
            match several.due.front() {
                None => return Poll::Pending,
                Some((due, _)) if several.must_wait(due, &self.channels) => return Poll::Pending,
                Some(_) => {}
            }
            if !had_room {
                // The client can be read again.
                cx.waker().wake_by_ref();
            }
            match several.pop() {
                Some(Due::Subscribe(asked, refusals)) => self.subscribe(asked, refusals),
                Some(Due::Unsubscribe(handle)) => self.unsubscribe(&handle),
                None => {}
            }
        }
    }

    /// Asks for the items whose handles are free, and refuses the others.
    fn subscribe(&mut self, asked: Asked, refusals: Vec<Option<Refusal>>) {
        let most = self.context.socket.handles;
        let most_adhoc = self.context.socket.adhoc_handles;
        let (mut wanted, mut refused) = (Vec::new(), Vec::new());
        let Some(several) = &mut self.several else {
            return;
        };
        several.last_number += 1;
        let number = several.last_number;
        for (item, refusal) in asked.items.into_iter().zip(refusals) {
            let Wanted { handle, .. } = &item;
            let refusal = match refusal {
                Some(refusal) => Some(refusal),
                None if several.handles.has(handle, &self.channels) => Some(Refusal::InUse),
                None if several.handles.len() >= most => Some(Refusal::TooManyHandles(most)),
                None => (item.is_adhoc() && several.handles.adhoc() >= most_adhoc)
                    .then_some(Refusal::TooManyAdHoc(most_adhoc)),
            };
            if let Some(refusal) = refusal {
                refused.push((Arc::clone(handle), refusal));
            } else {
                let handles = &mut several.handles;
                handles.ask(Arc::clone(handle), number, item.is_adhoc());
                wanted.push(item);
            }
        }
        if !wanted.is_empty() {
            let handles = wanted.iter().map(|item| Arc::clone(&item.handle)).collect();
            let asked = Asked {
                items: wanted,
                ..asked
            };
            let subscriber = Arc::clone(&several.subscriber);
            let caller = Arc::clone(&self.caller);
            let subscribing = subscriber.subscribe(self.key, caller, number, asked);
            several.under_way = Some((handles, subscribing));
        }
        for (handle, refusal) in refused {
            self.refuse(&handle, refusal);
        }
    }

    fn refuse(&mut self, handle: &str, refusal: Refusal) {
        let Some(several) = &self.several else { return };
        let problem = several.subscriber.problem(refusal);
        self.say_refused(handle, &problem, refusal.retry_after_ms());
    }

    fn say_refused(&mut self, handle: &str, problem: &Value, retry_after_ms: Option<u64>) {
        self.answers_waiting += 1;
        self.say(&Message::refused_under(handle, problem, retry_after_ms));
    }

    fn on_subscribed(&mut self, outcomes: Vec<Result<(), NotSubscribed>>) {
        let Some(several) = &mut self.several else {
            return;
        };
        let Some((handles, _)) = several.under_way.take() else {
            return;
        };
        for (handle, outcome) in handles.into_iter().zip(outcomes) {
            // Those that were granted come through the outbox. One may have come where the answer was late.
            if let Err(refused) = outcome
                && let Some(several) = &mut self.several
                && several.handles.refuse(&handle)
            {
                self.say_refused(&handle, &refused.problem, refused.retry_after_ms);
            }
        }
    }

    fn unsubscribe(&mut self, handle: &str) {
        let Some(several) = &mut self.several else {
            return;
        };
        let id = several.handles.find(handle, &self.channels);
        if let Some(channel) = id.and_then(|id| self.channels.get_mut(id))
            && !channel.is_leaving
        {
            channel.is_leaving = true;
            let leaving = (channel.id(), Ending::Unsubscribed);
            several.to_end.push_back(leaving);
        }
    }

    /// Tells the router which channels have found a reason to end, one after the other.
    fn poll_ends(&mut self, cx: &mut Context<'_>) {
        let Some(several) = &mut self.several else {
            return;
        };
        loop {
            if let Some(ending) = &mut several.ending {
                if ending.as_mut().poll(cx).is_pending() {
                    return;
                }
                // Where the router is gone, the whole node is.
                several.ending = None;
            }
            let Some((id, ending)) = several.to_end.pop_front() else {
                several.to_end = VecDeque::new();
                return;
            };
            let key = ChannelKey {
                session: self.key,
                id,
            };
            let router = self.context.router.clone();
            several.ending = Some(Box::pin(
                async move { router.end_channel(key, ending).await },
            ));
        }
    }

    /// Ends a channel for a reason that the session has found.
    pub(super) fn fail(&mut self, id: ChannelId, ending: Ending, catch_up: Option<Box<CatchUp>>) {
        self.cut(id, catch_up);
        if let Some(several) = &mut self.several {
            several.to_end.push_back((id, ending));
        }
    }

    /// Gives a channel nothing more but its end.
    pub(super) fn cut(&mut self, id: ChannelId, catch_up: Option<Box<CatchUp>>) {
        if let Some(mut catch_up) = catch_up {
            self.greet_behind(id, &mut catch_up);
            if let Some(together) = catch_up.together {
                self.merge(together.group);
            }
        }
        if let Some(channel) = self.channels.get_mut(id) {
            channel.order = Order::Late { cut: true };
        }
    }

    /// Queues the first message of a channel whose replay comes to nothing, if it is not queued: an end has a
    /// beginning.
    pub(super) fn greet_behind(&mut self, id: ChannelId, catch_up: &mut CatchUp) {
        if self.several.is_some()
            && let Some(greeting) = catch_up.greeting.take()
        {
            self.greet_under(id, &greeting, false, true);
        }
    }

    /// Notes that the last words of a channel are queued: its handle can be used again.
    fn free(&mut self, id: ChannelId) {
        if let Some(several) = &mut self.several
            && let Some(channel) = self.channels.get(id)
        {
            several.handles.close(channel, &self.channels);
        }
    }
}

impl Several {
    /// Whether a message is to wait: a handle that it names is on its way in or out.
    fn must_wait(&self, due: &Due, channels: &Channels) -> bool {
        let is_leaving = |handle: &str| {
            let id = self.handles.find(handle, channels);
            let channel = id.and_then(|id| channels.get(id));
            channel.is_some_and(|channel| channel.is_leaving)
        };
        match due {
            Due::Subscribe(asked, _) => asked.items.iter().any(|item| is_leaving(&item.handle)),
            Due::Unsubscribe(handle) => self.handles.asked_by(handle).is_some(),
        }
    }
}

/// Returns the cursor of the last words of a channel. If it was cut, it has not got everything up to its end.
fn cursor_of_end(end: End, cut: bool, standing: Position) -> Position {
    if cut {
        standing
    } else {
        standing.max(end.position)
    }
}
