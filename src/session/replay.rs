//! The replay of a channel: the past that it catches up with before it is live.
//!
//! A replay reads changes in order ([`source`]) and picks out the channel's own ([`pick`]): events that match, and changes
//! of its subscription, each in its own place. When the rest fits one answer of the router, the channel is live from the
//! end of that answer on; `router::subscribe` says why nothing is lost or repeated there.

mod compiling;
mod pick;
mod share;
mod source;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bson::DateTime;

pub(super) use self::share::Shared;
use self::{
    compiling::Compiling,
    pick::{Judgement, Picked},
    share::Share,
    source::{ArchivePages, Stretch},
};
use super::NodeContext;
use crate::{
    access::{BoundPolicy, Policies, Unbound},
    carrier::after_others,
    filter::{Filter, Limits},
    position::Position,
    protocol::{Dialect, Frame, GapReason},
    router::{LiveFrom, PastBatch, PastChange, PastChangeKind, registry::ChannelKey},
    subscription::{DocumentKey, Subscription},
};

/// The changes, and the bytes of events, that a replay looks at before other tasks get a turn.
const CHANGES_A_TURN: usize = 1_024;
const BYTES_A_TURN: usize = 256 * 1024;
/// The steps of filters before other tasks get a turn: about ten milliseconds.
const STEPS_A_TURN: u64 = 10_000_000;

type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The outcome of looking further.
#[derive(Clone, Copy)]
pub(super) enum Found {
    /// Frames were appended, perhaps none.
    Frames,
    /// Not everything will come; gaps follow where something may be missing.
    Lacking,
    /// Events between these two positions may be missing.
    Gap(GapReason, Position, Position),
    /// The replay is done: everything after this comes through the outbox.
    Live(Position),
    /// The history cannot be read now.
    Unavailable,
    /// The subscription is invalid, and the client cannot be told or wants to be closed then.
    Untold,
}

/// The replay of one channel.
pub(super) struct Replay {
    key: ChannelKey,
    subscription: DocumentKey,
    /// True if the client brought the subscription.
    adhoc: bool,
    dialect: Dialect,
    context: Arc<NodeContext>,
    limits: Limits,
    /// Changes up to here are matched by the filter that was in force at the attach.
    attached_at: Position,
    /// The subscription whose filter is in force, as the client was told of it.
    shown: Subscription,
    /// The policies by which `policy` was found.
    policies: Arc<Policies>,
    /// The policy that narrows the subscription. It applies to the past as it is now.
    policy: Result<Option<BoundPolicy>, Unbound>,
    /// True if a gap ends the channel.
    ends_on_gap: bool,
    compiling: Option<Compiling>,
    /// The matching of an event whose match may take long.
    matching: Option<Asking<Judgement>>,
    judgement: Option<Judgement>,
    /// The number of events that were passed over because nobody could say whether they match.
    given_up: usize,
    past_filter: Option<Arc<Filter>>,
    past_expiry: Option<DateTime>,
    /// The filter in force beyond; `None` while paused or invalid.
    filter: Option<Arc<Filter>>,
    expiry: Option<DateTime>,
    /// Everything up to here was looked at.
    done: Position,
    batches: VecDeque<Arc<PastBatch>>,
    next_change: usize,
    /// The end of the batches, where it lies beyond or within the last of them.
    until: Option<Until>,
    /// `None` once nothing more is to be read.
    past: Option<Share>,
    /// True if the batches are not of the backlog: nearer sources may hold them too.
    is_far: bool,
    archive: ArchivePages,
    /// Nothing behind this is delivered: the channel ends there.
    limit: Option<Position>,
    turn: Turn,
}

/// The end of the batches at hand.
#[derive(Clone)]
struct Until {
    /// With them, everything up to here is known.
    position: Position,
    /// The channels are live from there on.
    live: Option<LiveFrom>,
}

/// The rest of a turn: work that is left before other tasks get theirs.
struct Turn {
    changes: usize,
    bytes: usize,
    steps: u64,
}

impl Turn {
    const fn whole() -> Self {
        Self {
            changes: CHANGES_A_TURN,
            bytes: BYTES_A_TURN,
            steps: STEPS_A_TURN,
        }
    }

    fn spend(&mut self, change: &PastChange) {
        self.changes = self.changes.saturating_sub(1);
        if let PastChangeKind::Operation(operation) = &change.kind {
            self.bytes = self.bytes.saturating_sub(operation.bytes());
        }
    }

    fn is_over(&self) -> bool {
        self.changes == 0 || self.bytes == 0 || self.steps == 0
    }
}

/// The arguments of [`Replay::new`].
pub(super) struct Beginning {
    pub(super) key: ChannelKey,
    pub(super) dialect: Dialect,
    pub(super) context: Arc<NodeContext>,
    pub(super) subscription: Subscription,
    pub(super) adhoc: bool,
    pub(super) ends_on_gap: bool,
    pub(super) from: Position,
    pub(super) attached_at: Position,
}

impl Replay {
    /// Returns a replay. It reads the past together with others that begin at the same point, if there are `shared`
    /// pasts.
    pub(super) fn new(beginning: Beginning, shared: Option<&mut Vec<Shared>>) -> Self {
        let shown = beginning.subscription;
        let limits = Limits::from(&beginning.context.limits);
        let compiling = Compiling::of(&shown.document, &limits, None);
        let policies = beginning.context.router.credentials().policies();
        let (key, from) = (beginning.key, beginning.from);
        let (context, attached_at) = (Arc::clone(&beginning.context), beginning.attached_at);
        let past = match shared {
            Some(all) => Share::among(all, key, context, from, attached_at),
            None => Share::alone(key, context, from, attached_at),
        };
        Self {
            key: beginning.key,
            subscription: shown.key(),
            adhoc: beginning.adhoc,
            dialect: beginning.dialect,
            context: beginning.context,
            limits,
            attached_at: beginning.attached_at,
            policy: policies.of_document(&shown.document),
            policies,
            shown,
            ends_on_gap: beginning.ends_on_gap,
            compiling: Some(compiling),
            matching: None,
            judgement: None,
            given_up: 0,
            past_filter: None,
            past_expiry: None,
            filter: None,
            expiry: None,
            done: beginning.from,
            batches: VecDeque::new(),
            next_change: 0,
            until: None,
            past: Some(past),
            is_far: false,
            archive: ArchivePages::default(),
            limit: None,
            turn: Turn::whole(),
        }
    }

    /// Starts a new turn.
    pub(super) fn begin_turn(&mut self) {
        self.turn = Turn::whole();
    }

    /// Returns the position up to which everything was looked at.
    pub(super) fn done(&self) -> Position {
        self.done
    }

    /// Returns the bytes that it holds. Those that it shares with others are told once.
    pub(super) fn held(&self) -> usize {
        let replies = self.batches.iter().map(|batch| batch.reply.as_bytes());
        let replies = replies.map(<[u8]>::len).sum::<usize>();
        let sharers = self.past.as_ref().map_or(1, Share::sharers);
        replies / sharers.max(1) + self.archive.held()
    }

    /// Reads no more: those who read together with it do not wait for it.
    pub(super) fn leave(&mut self) {
        self.past = None;
    }

    /// Makes `position` the last that is delivered: the channel ends there.
    pub(super) fn stop_behind(&mut self, position: Position) {
        self.limit = Some(position);
    }

    /// Whether everything up to the channel's end was looked at. (Several events of a page may share one position.)
    pub(super) fn is_over(&self) -> bool {
        !self.archive.is_page() && self.limit.is_some_and(|limit| self.done >= limit)
    }

    /// Looks further, and appends frames of at most about `max_bytes`. Pending too when other tasks are to have a turn.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Poll<Found> {
        loop {
            // The end is decided already, and about to come.
            if self.is_over() {
                return Poll::Pending;
            }
            if let Some(compiling) = &mut self.compiling {
                let read = ready!(compiling.reading.as_mut().poll(cx));
                if let Some(frame) = self.compiled(read) {
                    out.push(frame);
                    return Poll::Ready(Found::Frames);
                }
                continue;
            }
            if let Some(matching) = &mut self.matching {
                self.judgement = Some(ready!(matching.as_mut().poll(cx)));
                self.matching = None;
            }
            if self.turn.is_over() {
                after_others(cx);
                return Poll::Pending;
            }
            if let Some(batch) = self.batches.front().map(Arc::clone) {
                let found = self.look_through(&batch, max_bytes, out);
                // Nothing is found yet, and the greeting depends on the first event.
                if out.is_empty() && self.matching.is_some() {
                    continue;
                }
                return Poll::Ready(found);
            }
            if let Some(until) = self.until.take() {
                return Poll::Ready(self.end_of_stretch(until, out));
            }
            let Some(past) = &self.past else {
                return Poll::Pending;
            };
            let stretch = ready!(past.poll(cx, self.done, self.shown.tenant()));
            if let Some(found) = self.take(stretch) {
                return Poll::Ready(found);
            }
        }
    }

    /// Takes a part of the past, to look through it. It may be nothing, for a reason.
    fn take(&mut self, stretch: Stretch) -> Option<Found> {
        self.next_change = 0;
        match stretch {
            Stretch::Near {
                batches,
                until,
                is_of_backlog,
            } => {
                self.batches = batches.into();
                self.until = Some(until);
                self.is_far = !is_of_backlog;
            }
            Stretch::Page { batch, of } => {
                self.batches.push_back(batch);
                self.archive.open_page(of, self.done);
                self.is_far = true;
            }
            Stretch::Nothing(found, done) => {
                self.done = self.done.max(done);
                return Some(found);
            }
        }
        None
    }

    /// Comes to the end of the batches at hand, which is the end of the replay if the channel is live from there. If
    /// the subscription is invalid on this node then, and nothing in the replay said so, the client is told here: else
    /// it would wait for events that cannot come.
    fn end_of_stretch(&mut self, until: Until, out: &mut Vec<Arc<Frame>>) -> Found {
        let Until { position, live } = until;
        self.done = self.done.max(position);
        let Some(live) = live else {
            return Found::Frames;
        };
        let untold = live.invalid_of(self.key);
        let untold = untold.filter(|_| !self.is_told_invalid());
        if untold.is_some() && self.ends_on_gap {
            return Found::Untold;
        }
        out.extend(untold.and_then(|invalid| self.updated(invalid, position)));
        Found::Live(position)
    }

    /// Whether the client knows already that the subscription is invalid.
    fn is_told_invalid(&self) -> bool {
        self.shown.fault.is_some()
    }

    /// Looks through (a part of) the first batch.
    fn look_through(
        &mut self,
        batch: &PastBatch,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Found {
        self.follow_policies();
        let mut bytes = 0;
        while let Some(change) = batch.changes.get(self.next_change) {
            if self.turn.is_over() {
                return Found::Frames;
            }
            self.turn.spend(change);
            self.next_change += 1;
            if !self.is_due(change.position) {
                continue;
            }
            let before = self.done;
            self.done = before.max(change.position);
            if let PastChangeKind::Missed(reason) = change.kind {
                return Found::Gap(reason, before, change.position);
            }
            // We cannot see the new filter. Flush what the old one matched, then end as `overloaded`; when the client
            // reconnects, it gets the filter in force then.
            if self.hides_filter(change) {
                if out.is_empty() {
                    return Found::Unavailable;
                }
                self.done = before;
                self.next_change -= 1;
                return Found::Frames;
            }
            if self.archive.has(batch, change) {
                continue;
            }
            match self.pick(batch, change) {
                Picked::Frame(frame) => {
                    self.archive.note_delivered(batch, change);
                    bytes += frame.bytes.len();
                    out.push(frame);
                    if bytes >= max_bytes {
                        return Found::Frames;
                    }
                }
                Picked::Undecided(reason) => {
                    let after = self.archive.before(before, self.done);
                    return self.give_up(reason, after);
                }
                Picked::Nothing => {}
            }
            if self.is_held_up(before) {
                return Found::Frames;
            }
        }
        self.end_batch(batch.position)
    }

    /// Takes a change of policies into account: what was read by now may be forbidden now.
    fn follow_policies(&mut self) {
        let now = self.context.router.credentials().policies();
        if !Arc::ptr_eq(&now, &self.policies) {
            self.policies = now;
            self.policy = self.policies.of_document(&self.shown.document);
        }
    }

    /// Whether a change at `position` is still to be looked at. Several events of a page may share one position.
    fn is_due(&self, position: Position) -> bool {
        let is_new = position > self.done || self.archive.is_page();
        let until = self.until.as_ref().map(|until| until.position);
        let is_within = |end: Option<Position>| end.is_none_or(|end| position <= end);
        is_new && is_within(self.limit) && is_within(until)
    }

    fn end_batch(&mut self, position: Position) -> Found {
        self.batches.pop_front();
        self.next_change = 0;
        let Some(begun) = self.archive.page.take() else {
            return Found::Frames;
        };
        self.done = self.done.max(position);
        // Told page by page, so that a client that resumes in between hears of the rest again.
        if self.archive.lacks_some && begun < self.done {
            Found::Gap(GapReason::HistoryLost, begun, self.done)
        } else {
            Found::Frames
        }
    }

    /// Whether the filter changed here, and the history does not show the new one.
    fn hides_filter(&self, change: &PastChange) -> bool {
        let replaced = match &change.kind {
            PastChangeKind::AllSubscriptionsReplaced => !self.adhoc,
            PastChangeKind::SubscriptionUnknown(key) => {
                !self.adhoc && DocumentKey::of(key).prevails_over(&self.subscription)
            }
            _ => false,
        };
        replaced && change.position > self.attached_at
    }

    /// Whether the next change has to wait. If so, the client does not stand behind the current change yet. Nothing comes
    /// behind its subscription's delete.
    fn is_held_up(&mut self, before: Position) -> bool {
        let matches = self.matching.is_some();
        let waits = matches || self.compiling.is_some();
        if waits {
            self.done = before;
        }
        if matches {
            // Look at it again, with the judgement.
            self.next_change -= 1;
        }
        waits || self.is_over()
    }
}
