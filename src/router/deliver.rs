//! From a matched event to the outboxes.
//!
//! A frame is encoded once in each dialect that somebody wants, and shared by all. The events of a batch are first
//! collected by subscription and then pushed together ([`Delivery::flush`]). Sessions are woken together at the end,
//! so that each finds all its frames at once.

use std::{collections::HashMap, ops::Range, sync::Arc, task::Waker, time::Duration};

use bson::RawDocument;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    EventEncoder, PastChange, Settings,
    outbox::{Bounds, Entry, Pushed, Sender, Size, backpressure::Room},
    outbox_bounds,
    registry::{ChannelEntry, ChannelKey, Registry, SessionKey, Told},
    table::{Matched, Panicked, Slot, Table},
};
use crate::{
    budget::ByteBudget,
    position::Position,
    protocol::{ChannelId, Dialect, Frame},
    telemetry::Metrics,
};

/// Sessions that may wait to be woken until the end of a long batch.
const WAKE_AFTER: usize = 2_048;
/// Bytes that are collected before they are pushed, for the same reason; and the part of all bytes that may wait
/// which they may take.
const GATHERED_BYTES: u64 = 256 * 1024;
const GATHERED_PART: u64 = 8;

/// A run is a copy of its events. For fewer channels than this it is not worth it.
const SHARED_BY: usize = 4;
/// The size of a run. A single event may be larger.
const RUN_BYTES: usize = 16 * 1024;
/// The part of an outbox that a run may take.
const PART_OF_OUTBOX: usize = 8;

/// The part of the router that delivers.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) encoder: EventEncoder,
    pub(super) patience: Duration,
    pub(super) metrics: Arc<Metrics>,
    /// Bytes that may wait for all sessions together.
    pub(super) most_bytes: u64,
    bounds: Bounds,
    coalescer: Coalescer,
    gathered_bytes: u64,
    // Kept between events for their allocations.
    pub(super) matched: Matched,
    several: Vec<(ChannelKey, Slot, usize)>,
    wakers: Vec<Waker>,
    full: Vec<Waiting>,
}

/// An entry with a frame that found no room in an outbox.
#[derive(Debug)]
struct Waiting {
    session: SessionKey,
    outbox: Sender,
    size: Size,
    entry: Entry,
}

impl Delivery {
    pub(super) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            encoder: settings.encoder(&metrics),
            patience: settings.socket.router_patience,
            most_bytes: settings.limits.waiting_bytes as u64,
            bounds: outbox_bounds(&settings.socket),
            metrics,
            coalescer: Coalescer::default(),
            gathered_bytes: 0,
            matched: Matched::default(),
            several: Vec::new(),
            wakers: Vec::new(),
            full: Vec::new(),
        }
    }

    /// Delivers an event to every channel whose subscription matches it, by the next [`Delivery::flush`]. The
    /// subscriptions whose filters are too expensive are left in `matched`.
    pub(super) async fn event(
        &mut self,
        document: &RawDocument,
        change: &PastChange,
        subscriptions: &Table,
        registry: &mut Registry<Slot>,
    ) -> Result<(), Panicked> {
        let mut matched = std::mem::take(&mut self.matched);
        let effort = subscriptions.matching(document, change.wall_time, &mut matched)?;
        if effort.steps > 0 {
            self.metrics.delivery.observe_filter_steps(effort.steps);
        }
        if !matched.slots.is_empty() {
            self.metrics.delivery.events_matched.inc();
            for slot in &matched.slots {
                self.gather(*slot, registry, document, change);
            }
            self.gather_for_several(&matched.slots, registry, document, change);
        }
        self.matched = matched;
        if self.gathered_bytes >= GATHERED_BYTES.min(self.most_bytes / GATHERED_PART) {
            self.flush(registry).await;
            self.settle(registry, change.position).await;
            self.shed_load(registry, change.position).await;
        }
        Ok(())
    }

    fn gather(
        &mut self,
        slot: Slot,
        registry: &Registry<Slot>,
        document: &RawDocument,
        change: &PastChange,
    ) {
        let Some(group) = self.coalescer.to(slot, registry.of(slot)) else {
            return;
        };
        for dialect in Dialect::OF_ONE {
            if !group.wants(dialect) {
                continue;
            }
            let Some(frame) = change.frame(document, dialect, &self.encoder) else {
                return;
            };
            self.gathered_bytes += frame.bytes.len() as u64;
            group.add(dialect, frame);
        }
    }

    /// Collects an event for the sessions for many subscriptions: once for each, with all its channels that get it.
    fn gather_for_several(
        &mut self,
        slots: &[Slot],
        registry: &mut Registry<Slot>,
        document: &RawDocument,
        change: &PastChange,
    ) {
        let mut several = std::mem::take(&mut self.several);
        for slot in slots.iter().filter(|slot| registry.has_many(**slot)) {
            let channels = registry.of(*slot).iter().enumerate();
            let of_many = channels.filter(|(_, c)| c.dialect.is_of_many());
            let get_it = of_many.filter(|(_, c)| c.gets(change.position));
            several.extend(get_it.map(|(index, channel)| (channel.key, *slot, index)));
        }
        several.sort_unstable();
        let frame = (!several.is_empty())
            .then(|| change.frame(document, Dialect::Many, &self.encoder))
            .flatten();
        if let Some(frame) = frame {
            self.gathered_bytes += frame.bytes.len() as u64;
            for of_session in several.chunk_by(|(a, ..), (b, ..)| a.session == b.session) {
                let to = of_session.iter().map(|(key, ..)| key.id).collect();
                let (key, slot, index) = of_session[0];
                let outbox = registry.of(slot)[index].outbox.clone();
                let entry = Entry::to_several(to, Arc::clone(&frame));
                registry.tell(key.session, &outbox, entry);
            }
        }
        several.clear();
        self.several = several;
    }

    /// Puts what was collected for sessions for many subscriptions into their outboxes, in order.
    pub(super) async fn settle(&mut self, registry: &mut Registry<Slot>, position: Position) {
        for told in registry.take_told() {
            let Told {
                session,
                outbox,
                entry,
            } = told;
            if self.full.iter().any(|waiting| waiting.session == session) {
                self.wait_for_full(registry, position).await;
            }
            self.push_entry(session, &outbox, entry);
        }
        self.wait_for_full(registry, position).await;
    }

    fn push_entry(&mut self, session: SessionKey, outbox: &Sender, entry: Entry) {
        match outbox.push_entry(entry) {
            Ok(waker) => self.wakers.extend(waker),
            Err(entry) => {
                let size = entry.frame().map(|frame| Size::of(frame));
                self.full.extend(size.map(|size| Waiting {
                    session,
                    outbox: outbox.clone(),
                    size,
                    entry,
                }));
            }
        }
    }

    /// Pushes what was collected. This has to happen before anything else goes to a channel, and at the end of a
    /// batch. Only then does the budget tell whether too much waits on this node: what is collected counts in it.
    pub(super) async fn flush(&mut self, registry: &mut Registry<Slot>) {
        self.gathered_bytes = 0;
        for mut group in self.coalescer.take() {
            for dialect in Dialect::OF_ONE {
                self.send(&mut group, dialect, registry).await;
            }
        }
    }

    /// Pushes the events of one dialect to the channels of one subscription. Each frame goes to all of them before
    /// the next one, so that those that find no room are settled in between.
    async fn send(
        &mut self,
        group: &mut EventGroup,
        dialect: Dialect,
        registry: &mut Registry<Slot>,
    ) {
        let slot = group.slot;
        let budget = &self.encoder.budget;
        for frame in group.take(dialect, registry.of(slot), self.bounds, budget) {
            for channel in registry.of(slot) {
                if channel.dialect == dialect && channel.gets(frame.position) {
                    self.push(channel.key, &channel.outbox, &frame);
                }
            }
            self.wait_for_full(registry, frame.position).await;
        }
    }

    fn push(&mut self, key: ChannelKey, outbox: &Sender, frame: &Arc<Frame>) {
        match outbox.push(key.id, frame) {
            Pushed::Queued(waker) => self.wakers.extend(waker),
            Pushed::Full => self.full.push(Waiting {
                session: key.session,
                outbox: outbox.clone(),
                size: Size::of(frame),
                entry: Entry::Frame(key.id, Arc::clone(frame)),
            }),
            // It is ending, and takes nothing any more.
            Pushed::Closed => {}
        }
    }

    /// Sends a notice to every live channel of a subscription, in its place among the events. Dialects without such
    /// messages get none. What `frame` returns depends on the position at which a channel starts, but is the same for
    /// all that start at `shared` or before.
    pub(super) async fn notice(
        &mut self,
        slot: Slot,
        registry: &mut Registry<Slot>,
        shared: Position,
        frame: impl Fn(Position, Dialect) -> Option<Frame>,
    ) {
        let mut last: [Option<(Position, Arc<Frame>)>; Dialect::COUNT] = Default::default();
        let mut told: Vec<(SessionKey, Sender, ChannelId, Arc<Frame>)> = Vec::new();
        for channel in registry.of(slot) {
            // A replay meets the change in its own place.
            let dialect = channel.dialect;
            if !dialect.has_messages() || !channel.is_live() {
                continue;
            }
            // Nearly all start before here, and share one frame.
            let from = channel.from().max(shared);
            let last = &mut last[dialect.index()];
            let made = match last {
                Some((at, made)) if *at == from => Some(Arc::clone(made)),
                _ => frame(channel.from(), dialect)
                    .map(|made| Arc::new(made.counted(&self.encoder.budget))),
            };
            if let Some(made) = made {
                *last = Some((from, Arc::clone(&made)));
                if dialect.is_of_many() {
                    let outbox = channel.outbox.clone();
                    told.push((channel.key.session, outbox, channel.key.id, made));
                } else {
                    self.push(channel.key, &channel.outbox, &made);
                }
            }
        }
        drop(last);
        for (session, outbox, channel, frame) in told {
            let entry = Entry::to_several([channel].into_iter().collect(), frame);
            registry.tell_notice(session, &outbox, entry);
        }
        self.wait_for_full(registry, shared).await;
        self.shed_load(registry, shared).await;
    }

    /// Settles the frames that found no room, by the rule of [`backpressure`](super::outbox::backpressure).
    async fn wait_for_full(&mut self, registry: &mut Registry<Slot>, position: Position) {
        if self.full.is_empty() {
            if self.wakers.len() >= WAKE_AFTER {
                self.hand_over();
                tokio::task::yield_now().await;
            }
            return;
        }
        self.hand_over();
        let deadline = Instant::now() + self.patience;
        let mut full = std::mem::take(&mut self.full);
        for waiting in full.drain(..) {
            self.metrics.delivery.router_waits.inc();
            let room = waiting.outbox.room(waiting.size, deadline).await;
            match room.ending() {
                Some(ending) => {
                    registry.end_session(waiting.session, ending, position);
                }
                None if room == Room::Free => {
                    self.push_entry(waiting.session, &waiting.outbox, waiting.entry);
                }
                None => {}
            }
        }
        self.full = full;
        self.hand_over();
    }

    /// Wakes every session that was given something.
    pub(super) fn hand_over(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}

/// The collected events of one subscription, by dialect.
#[derive(Debug)]
struct EventGroup {
    slot: Slot,
    wanted: [bool; Dialect::COUNT],
    frames: [SmallVec<[Arc<Frame>; 1]>; Dialect::COUNT],
}

/// The collected events of all subscriptions.
#[derive(Debug, Default)]
struct Coalescer {
    all: Vec<EventGroup>,
    places: HashMap<Slot, usize>,
}

impl Coalescer {
    /// Returns the group of a subscription with these channels; `None` if none of them is live.
    fn to(&mut self, slot: Slot, channels: &[ChannelEntry]) -> Option<&mut EventGroup> {
        if let Some(place) = self.places.get(&slot) {
            return self.all.get_mut(*place);
        }
        let mut wanted = [false; Dialect::COUNT];
        let live = |channel: &&ChannelEntry| channel.is_live();
        let of_one = |channel: &&ChannelEntry| !channel.dialect.is_of_many();
        for channel in channels.iter().filter(live).filter(of_one) {
            wanted[channel.dialect.index()] = true;
        }
        if wanted == [false; Dialect::COUNT] {
            return None;
        }
        self.places.insert(slot, self.all.len());
        self.all.push(EventGroup {
            slot,
            wanted,
            frames: Default::default(),
        });
        self.all.last_mut()
    }

    /// Takes all groups, in no particular order.
    fn take(&mut self) -> Vec<EventGroup> {
        self.places.clear();
        std::mem::take(&mut self.all)
    }
}

impl EventGroup {
    /// Whether a channel takes events in this dialect.
    fn wants(&self, dialect: Dialect) -> bool {
        self.wanted[dialect.index()]
    }

    fn add(&mut self, dialect: Dialect, frame: Arc<Frame>) {
        self.frames[dialect.index()].push(frame);
    }

    /// Takes the frames of a dialect for these channels, in order. Where several channels get the same events, frames
    /// are runs of events.
    fn take(
        &mut self,
        dialect: Dialect,
        channels: &[ChannelEntry],
        bounds: Bounds,
        budget: &ByteBudget,
    ) -> SmallVec<[Arc<Frame>; 1]> {
        let frames = std::mem::take(&mut self.frames[dialect.index()]);
        let Some(first) = frames.first().filter(|_| frames.len() > 1) else {
            return frames;
        };
        // A channel that starts in the middle gets only what comes after its start.
        let together = channels.iter().all(|to| to.from() < first.position);
        if channels.len() < SHARED_BY || !together {
            return frames;
        }
        let run = |piece: Range<usize>| match &frames[piece] {
            [alone] => Arc::clone(alone),
            events => Arc::new(Frame::run(events).counted(budget)),
        };
        pieces(&frames, bounds).map(run).collect()
    }
}

/// Cuts frames into pieces that fit an outbox easily.
fn pieces(frames: &[Arc<Frame>], bounds: Bounds) -> impl Iterator<Item = Range<usize>> {
    let most_bytes = RUN_BYTES.min(bounds.bytes / PART_OF_OUTBOX);
    let most_frames = (bounds.frames / PART_OF_OUTBOX).max(1);
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut bytes = frames.get(start)?.bytes.len();
        let mut end = start + 1;
        while let Some(next) = frames.get(end)
            && end - start < most_frames
            && bytes + next.bytes.len() <= most_bytes
        {
            bytes += next.bytes.len();
            end += 1;
        }
        let piece = start..end;
        start = end;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn frames(lengths: &[usize]) -> Vec<Arc<Frame>> {
        let frame = |len: &usize| Frame::new(vec![0; *len].into(), Position::START, None);
        lengths.iter().map(frame).map(Arc::new).collect()
    }

    #[test]
    fn pieces_keep_to_their_part_of_an_outbox() {
        let check = |lengths: &[usize], bounds: Bounds, expected: &[Range<usize>]| {
            let cut: Vec<_> = pieces(&frames(lengths), bounds).collect();
            assert_eq!(cut, expected, "{lengths:?} {bounds:?}");
        };
        let wide = Bounds {
            frames: 1_024,
            bytes: 800,
        };
        check(&[], wide, &[]);
        check(
            &[50, 50, 50, 99, 2, 100],
            wide,
            &[0..2, 2..3, 3..4, 4..5, 5..6],
        );
        check(&[120, 10, 10], wide, &[0..1, 1..3]);
        let few = Bounds {
            frames: 16,
            bytes: 1 << 20,
        };
        check(&[10, 10, 10], few, &[0..2, 2..3]);
        let fewest = Bounds { frames: 1, ..few };
        check(&[10, 10], fewest, &[0..1, 1..2]);
    }
}
