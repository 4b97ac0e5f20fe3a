//! A connection that fetches the past before it is live.
//!
//! It reads changes in order, from what the node remembers or from the database's history, and picks
//! out its own: events that match, and changes of its subscription, each in its own place. When what
//! is left fits one answer of the router, the router switches the connection to live at the end of
//! that answer: no gap and no repeat, because the router is one sequence.

mod late;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bson::{DateTime, RawDocumentBuf};

use self::late::{OldEvents, Page};
use super::{Host, websocket::after_others};
use crate::{
    filter::{Filter, Limits},
    position::Position,
    protocol::{Dialect, Frame, GapReason, Message},
    replay::{Late, Reader, Refusal},
    router::{
        Batch, Busy, Change, ChangeKind, Compiled, Past, filter_limits, registry::ConnectionKey,
    },
    subscription::Key,
};

/// Changes, and bytes of events, looked at before other tasks get a turn.
const CHANGES_A_TURN: usize = 1_024;
const BYTES_A_TURN: usize = 256 * 1024;

type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the next batches come from.
enum Source {
    /// The router is to be asked.
    Next,
    /// The router was asked.
    Router(Asking<Result<Past, Busy>>),
    /// A reader of the history was asked for; the node remembers what comes after this position.
    Waiting(Asking<Result<Reader, Refusal>>, Position),
    /// The history is being read.
    History(Reader),
    /// The history does not reach back so far: a reading of the collection was asked for.
    Shelf(Asking<Result<Late, Refusal>>),
    /// A page of it was.
    Page(Asking<Page>),
}

/// What came of looking further.
#[derive(Clone, Copy)]
pub(super) enum Found {
    /// Frames were appended, perhaps none.
    Frames,
    /// Not everything will come; where something may be missing is told on the way.
    Lacking,
    /// Events between these two positions may be missing.
    Gap(GapReason, Position, Position),
    /// The past is done: everything after this comes through the outbox.
    Live(Position),
    /// The history cannot be read now.
    Unavailable,
}

/// The replay of one connection.
pub(super) struct Replaying {
    key: ConnectionKey,
    subscription: Key,
    dialect: Dialect,
    host: Arc<Host>,
    limits: Limits,
    /// What was committed up to here is judged by the filter that was in force at the attach.
    attached_at: Position,
    past_filter: Option<Filter>,
    past_expiry: Option<DateTime>,
    /// The filter in force beyond; `None` while paused or invalid.
    filter: Option<Filter>,
    expiry: Option<DateTime>,
    /// Everything up to here was looked at.
    done: Position,
    batches: VecDeque<Arc<Batch>>,
    next_change: usize,
    /// Where the batches end, and whether the connection is live from there.
    until: Option<(Position, bool)>,
    source: Source,
    old: OldEvents,
    /// Nothing from here on is delivered: the subscription was deleted.
    limit: Option<Position>,
    turn: Turn,
}

/// What may still be looked at before other tasks get a turn.
struct Turn {
    changes: usize,
    bytes: usize,
}

impl Turn {
    const fn whole() -> Self {
        Self {
            changes: CHANGES_A_TURN,
            bytes: BYTES_A_TURN,
        }
    }

    fn spend(&mut self, change: &Change) {
        self.changes = self.changes.saturating_sub(1);
        if let ChangeKind::Event(range) = &change.kind {
            self.bytes = self.bytes.saturating_sub(range.len());
        }
    }

    fn is_over(&self) -> bool {
        self.changes == 0 || self.bytes == 0
    }
}

/// What a replay is made from.
pub(super) struct Beginning {
    pub(super) key: ConnectionKey,
    pub(super) dialect: Dialect,
    pub(super) host: Arc<Host>,
    pub(super) document: RawDocumentBuf,
    pub(super) from: Position,
    pub(super) attached_at: Position,
}

impl Replaying {
    pub(super) fn new(beginning: Beginning) -> Self {
        let subscription = Key::of(&beginning.document);
        // Spans in which the subscription was paused are not skipped.
        let limits = filter_limits(&beginning.host.config.limits);
        let compiled = Compiled::read(beginning.document, &limits);
        let past_filter = compiled.filter().cloned();
        let filter = past_filter
            .clone()
            .filter(|_| !compiled.subscription.paused);
        let expires_at = compiled.subscription.expires_at;
        Self {
            key: beginning.key,
            subscription,
            dialect: beginning.dialect,
            host: beginning.host,
            limits,
            attached_at: beginning.attached_at,
            past_filter,
            past_expiry: expires_at,
            filter,
            expiry: expires_at,
            done: beginning.from,
            batches: VecDeque::new(),
            next_change: 0,
            until: None,
            source: Source::Next,
            old: OldEvents::default(),
            limit: None,
            turn: Turn::whole(),
        }
    }

    /// The task has a turn again.
    pub(super) fn begin_turn(&mut self) {
        self.turn = Turn::whole();
    }

    /// Everything up to here was looked at.
    pub(super) fn done(&self) -> Position {
        self.done
    }

    /// Bytes that are held for what is still to be looked through.
    pub(super) fn held(&self) -> usize {
        let replies = self.batches.iter().map(|batch| batch.reply.as_bytes());
        replies.map(<[u8]>::len).sum()
    }

    /// The subscription was deleted at `position`: what was committed before is still delivered.
    pub(super) fn stop_at(&mut self, position: Position) {
        self.limit = Some(position);
    }

    /// Whether nothing more is to be delivered.
    pub(super) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.done >= limit)
    }

    /// Looks further, and appends frames of at most about `max_bytes`. Pending too where others are to
    /// have a turn first.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Poll<Found> {
        loop {
            if self.turn.is_over() {
                after_others(cx);
                return Poll::Pending;
            }
            if let Some(batch) = self.batches.front().map(Arc::clone) {
                return Poll::Ready(if self.old.is_page() {
                    self.look_through_page(&batch, max_bytes, out)
                } else {
                    self.look_through(&batch, max_bytes, out)
                });
            }
            if let Some((position, live)) = self.until.take() {
                self.done = self.done.max(position);
                return Poll::Ready(if live {
                    Found::Live(position)
                } else {
                    Found::Frames
                });
            }
            if let Some(found) = ready!(self.poll_source(cx)) {
                return Poll::Ready(found);
            }
        }
    }

    /// Gets more batches. `None`: go on.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        match &mut self.source {
            Source::Next => {
                let (host, key, from) = (Arc::clone(&self.host), self.key, self.done);
                let patience = host.config.feed.replay_wait;
                let asking = async move { host.router.past(key, from, patience).await };
                self.source = Source::Router(Box::pin(asking));
            }
            Source::Router(asking) => match ready!(asking.as_mut().poll(cx)) {
                Ok(Past::Slice {
                    batches,
                    up_to,
                    live,
                }) => {
                    self.batches = batches.into();
                    self.until = Some((up_to, live));
                    self.source = Source::Next;
                }
                Ok(Past::Forgotten(start)) => {
                    let (replays, from) = (self.host.replays.clone(), self.done);
                    let asking = Box::pin(async move { replays.after(from).await });
                    self.source = Source::Waiting(asking, start);
                }
                Err(Busy) => return Poll::Ready(Some(Found::Unavailable)),
            },
            Source::Waiting(asking, start) => {
                let start = *start;
                match ready!(asking.as_mut().poll(cx)) {
                    Ok(reader) => self.source = Source::History(reader),
                    Err(Refusal::Busy) => return Poll::Ready(Some(Found::Unavailable)),
                    Err(Refusal::Lost) => return Poll::Ready(self.go_to_old_events(start)),
                }
            }
            Source::History(reader) => match ready!(reader.poll_next(cx)) {
                Some(batch) => {
                    // The history may be ahead of this node. What the node has not applied yet comes
                    // from the node: else it would come twice.
                    let here = self.host.router.progress().position;
                    self.until = Some((batch.position.min(here), false));
                    if batch.position > here {
                        self.source = Source::Next;
                    }
                    self.batches.push_back(batch);
                }
                None => self.source = Source::Next,
            },
            Source::Shelf(_) | Source::Page(_) => return self.poll_old_events(cx),
        }
        Poll::Ready(None)
    }

    /// Looks through (a part of) the first batch.
    fn look_through(
        &mut self,
        batch: &Batch,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Found {
        let mut bytes = 0;
        let until = self.until.map(|(until, _)| until);
        while let Some(change) = batch.changes.get(self.next_change) {
            if self.turn.is_over() {
                return Found::Frames;
            }
            self.turn.spend(change);
            self.next_change += 1;
            let over = self.limit.is_some_and(|limit| change.position >= limit)
                || until.is_some_and(|until| change.position > until);
            if change.position <= self.done || over {
                continue;
            }
            let before = std::mem::replace(&mut self.done, change.position);
            if let ChangeKind::Missed(reason) = change.kind {
                return Found::Gap(reason, before, change.position);
            }
            // Whoever comes back begins with the filter in force then. What came before is judged by the
            // old one, and so has to be on its way first.
            if self.hides_filter(change) {
                if out.is_empty() {
                    return Found::Unavailable;
                }
                self.done = before;
                self.next_change -= 1;
                return Found::Frames;
            }
            if self.old.has(batch, &change.kind, change.position) {
                continue;
            }
            if let Some(frame) = self.pick(batch, change) {
                bytes += frame.bytes.len();
                out.push(frame);
                if bytes >= max_bytes {
                    return Found::Frames;
                }
            }
        }
        self.batches.pop_front();
        self.next_change = 0;
        Found::Frames
    }

    /// Whether the filter changed here, and the past does not tell into what.
    fn hides_filter(&self, change: &Change) -> bool {
        let replaced = match &change.kind {
            ChangeKind::AllReplaced => true,
            ChangeKind::Unseen(key) => Key::of(key).prevails_over(&self.subscription),
            _ => false,
        };
        replaced && change.position > self.attached_at
    }

    /// The frame of a change, if it concerns this connection.
    fn pick(&mut self, batch: &Batch, change: &Change) -> Option<Arc<Frame>> {
        let is_past = change.position <= self.attached_at;
        match &change.kind {
            ChangeKind::Event(range) => {
                let (filter, expiry) = if is_past {
                    (&self.past_filter, self.past_expiry)
                } else {
                    (&self.filter, self.expiry)
                };
                if expiry.is_some_and(|expiry| self.old.committed(change) > expiry) {
                    return None;
                }
                let document = batch.document(range)?;
                if !filter.as_ref()?.matches(document) {
                    return None;
                }
                batch.frame(change, document, self.dialect, &self.host.wording)
            }
            ChangeKind::Stored(document)
                if !is_past && Key::of(document).prevails_over(&self.subscription) =>
            {
                self.subscription = Key::of(document);
                self.change_filter(document.clone(), change.position)
            }
            ChangeKind::Deleted(key) if !is_past && Key::of(key) == self.subscription => {
                self.filter = None;
                None
            }
            ChangeKind::AllDeleted if !is_past => {
                self.filter = None;
                None
            }
            _ => None,
        }
    }

    fn change_filter(
        &mut self,
        document: RawDocumentBuf,
        position: Position,
    ) -> Option<Arc<Frame>> {
        let mut compiled = Compiled::read(document, &self.limits);
        let json = compiled.to_json();
        self.filter = compiled.take_active_filter();
        self.expiry = compiled.subscription.expires_at;
        if !self.dialect.has_messages() {
            return None;
        }
        let cursor = position.cursor(self.host.wording.deployment);
        let message = Message::updated(&json, &cursor);
        let frame = Frame::notice(&message, self.dialect, position);
        Some(Arc::new(frame.counted(&self.host.wording.load)))
    }
}
