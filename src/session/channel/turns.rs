//! The turns that the replays of a session take.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{CatchUp, Channels, Progress, Together};
use crate::{position::Position, protocol::ChannelId};

/// The replays of a session that go on at the same time. The others wait for their turn.
const REPLAYS_AT_ONCE: usize = 4;
/// Bytes that one replay may have found before others that go on together with it.
const AHEAD_BYTES: usize = 64 * 1024;

/// A replay, or several that go on together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Alone(ChannelId),
    Of(u64),
}

impl Channels {
    /// Takes out the replay of the channel whose turn it is. Several take turns; the rest wait until one of those
    /// is done, and those of a group until that `is_complete`.
    pub(in crate::session) fn take_next_replay(
        &mut self,
        is_complete: impl Fn(u64) -> bool,
    ) -> Option<(ChannelId, Box<CatchUp>)> {
        let going_on = self.going_on(is_complete);
        let behind = |id: &&ChannelId| self.last_replay.is_none_or(|last| **id > last);
        let next = going_on.iter().find(behind).or(going_on.first());
        let id = *next?;
        self.last_replay = Some(id);
        let mut catch_up = self.take_replay(id)?;
        catch_up.begun.get_or_insert_with(Instant::now);
        Some((id, catch_up))
    }

    /// Returns the channels whose replays go on. Those that go on together count as one; one of them that is far
    /// ahead waits for the others.
    fn going_on(
        &self,
        is_complete: impl Fn(u64) -> bool,
    ) -> SmallVec<[ChannelId; REPLAYS_AT_ONCE]> {
        let mut turns: SmallVec<[Turn; REPLAYS_AT_ONCE]> = SmallVec::new();
        let mut going_on = SmallVec::new();
        for channel in &self.all {
            let Some(catch_up) = channel.catch_up.as_deref() else {
                continue;
            };
            let together = catch_up.together.as_ref();
            if together.is_some_and(|of| !is_complete(of.group)) {
                continue;
            }
            let turn = together.map_or(Turn::Alone(channel.id), |of| Turn::Of(of.group));
            if !turns.contains(&turn) {
                if turns.len() == REPLAYS_AT_ONCE {
                    continue;
                }
                turns.push(turn);
            }
            if !self.waits_for_others(catch_up) {
                going_on.push(channel.id);
            }
        }
        going_on
    }

    /// Whether a replay has found all that there is, or so much that others of its group have to come up with it first.
    fn waits_for_others(&self, catch_up: &CatchUp) -> bool {
        let Some(together) = &catch_up.together else {
            return false;
        };
        let is_far = together.bytes >= AHEAD_BYTES;
        let least = || self.least_of_group(together.group);
        together.progress != Progress::GoesOn
            || (is_far && least().is_some_and(|least| catch_up.replay.done() > least))
    }

    /// Returns the position before which every replay of a group that goes on has looked at everything; `None` if
    /// all are done.
    pub(in crate::session) fn least_of_group(&self, group: u64) -> Option<Position> {
        let going_on = self.of_group(group);
        let going_on = going_on.filter(|(.., together)| together.progress == Progress::GoesOn);
        going_on
            .map(|(_, catch_up, _)| catch_up.replay.done())
            .min()
    }

    /// Returns the replays of a group.
    pub(in crate::session) fn of_group(
        &self,
        group: u64,
    ) -> impl Iterator<Item = (ChannelId, &CatchUp, &Together)> {
        self.all.iter().filter_map(move |channel| {
            let catch_up = channel.catch_up.as_deref()?;
            let together = catch_up.together.as_ref()?;
            (together.group == group).then_some((channel.id, catch_up, together))
        })
    }

    /// Returns the channel whose replay has to be over first, and by when, if there is one.
    pub(in crate::session) fn replay_deadline(
        &self,
        timeout: Duration,
    ) -> Option<(ChannelId, Instant)> {
        if self.replays == 0 {
            return None;
        }
        let catch_ups = self.all.iter().filter_map(|channel| {
            let catch_up = channel.catch_up.as_deref()?;
            let is_done = catch_up
                .together
                .as_ref()
                .is_some_and(|of| of.progress != Progress::GoesOn);
            let begun = catch_up.begun.filter(|_| !is_done)?;
            Some((channel.id, begun + timeout))
        });
        catch_ups.min_by_key(|(_, by)| *by)
    }
}
