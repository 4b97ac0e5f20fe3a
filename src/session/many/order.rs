//! The order of a session for many subscriptions, as its client sees it.
//!
//! Live channels share one order and one cursor. A channel that catches up is held back, and others are taken past
//! its entries; its frames carry `replay`. When the past is there it gets those entries (late), and then stands
//! ahead of the shared order, or where that is. As soon as the order has come there (it shows by the next frame, or
//! by an empty outbox), the client is told that the channel is live. So the shared cursor never says more than
//! every live channel has got.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use smallvec::SmallVec;

use super::cursor_of_end;
use crate::{
    carrier::Place,
    position::Position,
    protocol::{ChannelId, Ending, Frame, FrameKind, GapReason, Head, Message, To},
    router::{
        opened::Opened,
        outbox::{End, Entry, Taken, entry::ToSeveral},
        registry::{ChannelKey, ends_on_gap},
    },
    session::{
        Outcome, Outgoing, ROUND_BYTES, Session,
        channel::{CatchUp, Channel, Greeting, Order, Together},
        closing::retry_after_ms,
    },
};

impl Session {
    /// Takes what was held back for channels that have caught up. True if there was something.
    pub(in crate::session) fn take_late(&mut self) -> bool {
        let late = |channel: &Channel| {
            channel.catch_up.is_none() && matches!(channel.order, Order::Late { .. })
        };
        if !self.channels.iter_all().any(late) {
            return false;
        }
        let channels = &self.channels;
        let is_wanted = |id| channels.get(id).is_some_and(late);
        let (bytes, all) = self
            .outbox
            .take_passed(ROUND_BYTES, is_wanted, &mut self.taken);
        self.reported = bytes;
        let some = !self.taken.is_empty();
        self.queue_taken();
        if all {
            for channel in self.channels.iter_mut().filter(|channel| late(channel)) {
                channel.order = match channel.order {
                    Order::Late { cut: true } => Order::Cut,
                    _ => Order::Aligning,
                };
            }
        }
        some
    }

    /// Notes that nothing waits, and that the router had come to `applied` before: the shared order is there.
    pub(in crate::session) fn on_nothing_waits(&mut self, cx: &mut Context<'_>, applied: Position) {
        let aligning = self.channels.iter_all();
        let aligning = aligning.filter(|channel| channel.is_aligning());
        let aligning: SmallVec<[ChannelId; 4]> = aligning.map(Channel::id).collect();
        let mut next: Option<Position> = None;
        for id in aligning {
            let standing = self.standing(id);
            if standing <= applied {
                self.transport.outbound().advance_shared(applied);
                self.go_live(id, applied);
            } else {
                next = Some(next.map_or(standing, |next| next.min(standing)));
            }
        }
        self.wait_for_router(cx, next);
    }

    /// Has the session woken when the router has come to a position.
    fn wait_for_router(&mut self, cx: &mut Context<'_>, next: Option<Position>) {
        let Some(several) = &mut self.several else {
            return;
        };
        let Some(next) = next else {
            several.reached = None;
            return;
        };
        if several
            .reached
            .as_ref()
            .is_none_or(|(position, _)| *position != next)
        {
            let router = self.context.router.clone();
            let reached = Box::pin(async move { router.reached(next).await });
            several.reached = Some((next, reached));
        }
        if let Some((_, reached)) = &mut several.reached
            && reached.as_mut().poll(cx).is_ready()
        {
            several.reached = None;
            cx.waker().wake_by_ref();
        }
    }

    fn standing(&mut self, id: ChannelId) -> Position {
        let standing = self.transport.outbound().queued(id);
        standing.unwrap_or(Position::START)
    }

    fn go_live(&mut self, id: ChannelId, cursor: Position) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        channel.order = Order::Shared;
        self.transport.outbound().join(id);
        let handle = channel.handle.clone().unwrap_or_default();
        let cursor = cursor.cursor(self.context.router.deployment());
        self.say(&Message::live(&handle, &cursor));
    }

    /// Queues an entry of the outbox.
    pub(in crate::session) fn queue_entry(&mut self, entry: Entry) {
        match entry {
            Entry::ToSeveral(several) => self.queue_several(*several),
            Entry::Opened { opened, .. } => self.begin_under(*opened),
            Entry::End(id, end) => self.end_under(id, *end),
            // Only sessions with one channel get these.
            Entry::Frame(..) => {}
        }
    }

    fn queue_several(&mut self, several: ToSeveral) {
        let ToSeveral { to, frame, more } = several;
        #[cfg(test)]
        crate::session::fault::strike(&frame);
        for id in &to {
            let aligning = self.channels.get(*id).is_some_and(Channel::is_aligning);
            if aligning && self.standing(*id) < frame.position {
                let standing = self.standing(*id);
                self.transport.outbound().advance_shared(standing);
                let cursor = self.transport.outbound().queued_of_shared();
                self.go_live(*id, cursor);
            }
        }
        let mut shared: SmallVec<[ChannelId; 8]> = SmallVec::new();
        for id in to {
            match self.channels.get(id) {
                Some(channel) if channel.is_shared() => shared.push(id),
                Some(channel) if channel.is_cut() => {}
                Some(_) => self.queue_own(id, &frame, more),
                None => {}
            }
        }
        if !shared.is_empty() {
            self.queue_headed(Place::Shared, &shared, &frame, more);
        }
    }

    /// Queues a frame for one channel that does not share the order yet.
    pub(in crate::session) fn queue_own(&mut self, id: ChannelId, frame: &Arc<Frame>, more: bool) {
        self.queue_headed(Place::Own(id), &[id], frame, more);
    }

    pub(super) fn queue_headed(
        &mut self,
        place: Place,
        to: &[ChannelId],
        frame: &Arc<Frame>,
        more: bool,
    ) {
        let FrameKind::Tail(name) = frame.kind else {
            return;
        };
        for id in to {
            if let Some(channel) = self.channels.get_mut(*id) {
                channel.acks.sent(frame.position, frame.event_at.is_some());
            }
        }
        for id in to.iter().filter(|_| place != Place::Shared) {
            let own = Place::Own(*id);
            self.transport.outbound().move_to(own, frame.position);
        }
        self.transport.outbound().move_to(place, frame.position);
        let id = self.id_of_stream();
        let channels = to.iter().filter_map(|id| self.channels.get(*id));
        let handles: SmallVec<[&str; 8]> = channels
            .filter_map(|channel| channel.handle.as_deref())
            .collect();
        let head = Head {
            name,
            to: match handles.as_slice() {
                [one] if name == "updated" => To::Handle(one),
                all => To::Handles(all),
            },
            replay: place != Place::Shared,
            more,
        };
        let (head, end) = if self.dialect.is_sse() {
            head.of_stream(id.as_deref())
        } else {
            (head.of_socket(frame.bytes.len()), &[][..])
        };
        let outbound = self.transport.outbound();
        outbound.push_headed(place, head, Arc::clone(frame), end);
    }

    /// Returns the id that server-sent events carry: the lowest cursor at which a channel stands. While some have
    /// not begun, the client stands where it was: an event without an id would make it forget that.
    pub(in crate::session) fn id_of_stream(&mut self) -> Option<String> {
        if !self.dialect.is_sse() {
            return None;
        }
        let several = self.several.as_deref();
        let some_begin = several.is_some_and(|several| several.handles.has_asked());
        let lowest = self.lowest_standing().filter(|_| !some_begin);
        let id = lowest.map(|lowest| lowest.cursor(self.context.router.deployment()));
        let several = self.several.as_deref_mut()?;
        if id.is_some() {
            several.stream_id.clone_from(&id);
        }
        several.stream_id.clone()
    }

    /// Returns the lowest position at which a channel stands.
    fn lowest_standing(&mut self) -> Option<Position> {
        let outbound = self.transport.outbound();
        let going_on = self.channels.iter_all().filter(|c| !c.has_ended());
        let standings = going_on.filter_map(|channel| {
            if channel.is_shared() {
                Some(outbound.queued_of_shared())
            } else {
                outbound.queued(channel.id())
            }
        });
        standings.min()
    }

    /// Returns the position of the live channels, if there are any.
    pub(in crate::session) fn standing_of_live(&mut self) -> Option<Position> {
        let any = self.channels.iter_all().any(Channel::is_shared);
        any.then(|| self.transport.outbound().queued_of_shared())
    }

    fn begin_under(&mut self, opened: Opened) {
        if !self.is_asked(&opened) {
            // It came too late: the client was told that it does not come.
            return self.fail(opened.channel, Ending::Overloaded, None);
        }
        self.answers_waiting += 1;
        let Opened {
            channel: id,
            handle,
            number,
            adhoc,
            subscription,
            incarnation,
            start,
            may_ack,
            wish,
            alive,
        } = opened;
        let mut channel = Channel::at(id, incarnation, start.from, wish.acknowledged);
        channel.acks.allow(may_ack);
        channel.adhoc = adhoc;
        channel.handle = Some(Arc::clone(&handle));
        channel.hold(alive);
        let after = wish
            .after
            .map(|after| after.position.cursor(after.deployment));
        let greeting = Greeting {
            connection: String::new(),
            subscription: if adhoc {
                "null".to_owned()
            } else {
                subscription.to_json()
            },
            warnings: wish.warnings,
            from: start.from,
            gap: start.gap.map(|reason| (reason, after)),
        };
        let ahead = start.from > start.attached_at;
        let ends_on_gap = ends_on_gap(self.dialect, wish.close_on_gap);
        self.share_within(number);
        if start.replay {
            let key = ChannelKey {
                session: self.key,
                id,
            };
            channel.order = Order::Late { cut: false };
            channel.catch_up = Some(Box::new(CatchUp {
                replay: self.replay(key, (&subscription, adhoc), start, ends_on_gap),
                begun: None,
                together: Some(Together::new(number)),
                frames: Vec::new(),
                greeting: Some(greeting),
                ends_on_gap,
            }));
            self.add_under(channel, &handle, start.from);
            return;
        }
        if ahead {
            channel.order = Order::Aligning;
        }
        self.add_under(channel, &handle, start.from);
        if !ahead {
            self.transport.outbound().join(id);
            self.transport.outbound().advance_shared(start.from);
        }
        self.greet_under(id, &greeting, true, ahead);
    }

    /// Lets replays share a past with those of the same message alone. Those have their turns together, and others would
    /// wait for them.
    fn share_within(&mut self, number: u64) {
        if let Some(several) = &mut self.several
            && several.pasts_of != number
        {
            several.pasts_of = number;
            // Whoever reads one goes on.
            several.pasts.clear();
        }
    }

    fn add_under(&mut self, channel: Channel, handle: &str, from: Position) {
        let id = channel.id();
        self.channels.add(channel, from, self.transport.outbound());
        if let Some(several) = &mut self.several {
            several.handles.open(id, handle, &self.channels);
        }
    }

    /// Whether the client still waits for a channel.
    fn is_asked(&self, opened: &Opened) -> bool {
        let several = self.several.as_deref();
        let asked = several.and_then(|several| several.handles.asked_by(&opened.handle));
        asked == Some(opened.number)
    }

    /// Queues the first message of a channel, and the gap that was known before it.
    pub(in crate::session) fn greet_under(
        &mut self,
        id: ChannelId,
        greeting: &Greeting,
        whole: bool,
        replaying: bool,
    ) {
        let recovered = whole && greeting.gap.is_none();
        let handle = self
            .channels
            .get(id)
            .and_then(|channel| channel.handle.clone());
        let cursor = greeting.from.cursor(self.context.router.deployment());
        let message = Message::connected_under(
            &handle.unwrap_or_default(),
            &greeting.subscription,
            &cursor,
            recovered,
            replaying,
            &greeting.warnings,
        );
        self.say(&message);
        if let Some((reason, after)) = &greeting.gap {
            self.tell_gap_under(id, *reason, after.as_deref(), greeting.from);
        }
    }

    /// Encodes a gap.
    pub(in crate::session) fn gap(
        &self,
        reason: GapReason,
        after: Option<&str>,
        position: Position,
    ) -> Arc<Frame> {
        let cursor = position.cursor(self.context.router.deployment());
        let message = Message::gap(reason, after, &cursor);
        Arc::new(Frame::notice(&message, self.dialect, position))
    }

    fn tell_gap_under(
        &mut self,
        id: ChannelId,
        reason: GapReason,
        after: Option<&str>,
        position: Position,
    ) {
        let frame = self.gap(reason, after, position);
        if self.channels.get(id).is_some_and(Channel::is_shared) {
            self.queue_headed(Place::Shared, &[id], &frame, false);
        } else {
            self.queue_own(id, &frame, false);
        }
    }

    /// Queues the last words of a channel.
    fn end_under(&mut self, id: ChannelId, end: End) {
        self.answers_waiting += 1;
        let shared = self.transport.outbound().queued_of_shared();
        let standing = self.standing(id);
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let cursor = if channel.is_shared() {
            cursor_of_end(end, false, shared)
        } else {
            cursor_of_end(end, channel.is_cut(), standing)
        };
        // Else its cursor, which may lie ahead of the shared order, would be taken for that of the live channels.
        let replay = !channel.is_shared();
        let place = if replay {
            Place::Own(id)
        } else {
            Place::Shared
        };
        channel.set_ended();
        let handle = channel.handle.clone().unwrap_or_default();
        self.transport.outbound().move_to(place, cursor);
        let cursor = cursor.cursor(self.context.router.deployment());
        let retry = retry_after_ms(end.ending, self.context.drain);
        let message = Message::ended(end.ending, retry, Some(&cursor), None);
        let message = message.under(&handle, replay, end.more);
        let id_of_stream = self.id_of_stream();
        let bytes = message.encode_whole(self.dialect, id_of_stream.as_deref());
        self.transport.outbound().push_channel_end(id, bytes);
        self.free(id);
    }

    /// Goes on with frames from the outbox and the replays, now that everything queued was written.
    pub(in crate::session) fn poll_outgoing_of_many(&mut self, cx: &mut Context<'_>) -> Outgoing {
        if self.take_late() {
            return Outgoing::More;
        }
        // Asked before looking into the outbox: what matched up to here was put there before.
        let applied = self.context.router.progress().position;
        let replays = self.channels.any_catches_up();
        let channels = &self.channels;
        let is_held_back = |id| channels.get(id).is_some_and(Channel::is_held_back);
        match (self.outbox).poll_take(cx, ROUND_BYTES, is_held_back, &mut self.taken) {
            Poll::Ready(Taken::Entries { bytes }) => {
                self.reported = bytes;
                self.queue_taken();
                match replays.then(|| self.poll_replays(cx)) {
                    Some(Outgoing::Ends(outcome)) => Outgoing::Ends(outcome),
                    _ => Outgoing::More,
                }
            }
            Poll::Ready(Taken::End(end)) => Outgoing::Ends(Outcome::Ended(end)),
            Poll::Pending => {
                self.reported = 0;
                self.on_nothing_waits(cx, applied);
                if replays {
                    self.poll_replays(cx)
                } else {
                    Outgoing::Idle
                }
            }
        }
    }
}
