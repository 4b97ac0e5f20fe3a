//! Replays that go on together: those of the items of one message.
//!
//! Each looks through the past for its own channel. What they find is put into one order: a frame goes out when
//! every one of them has looked beyond its position, so an event comes once, with all of these handles that it is
//! for, and cursors rise. One that is far ahead waits; the one that is last always goes on.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    carrier::Place,
    position::Position,
    protocol::{ChannelId, Frame, FrameKind},
    session::{
        Outgoing, Session,
        channel::{CatchUp, Channels, Progress},
    },
};

impl Session {
    /// Notes that a replay is over. Where it goes on together with others, what it has
    /// found may still wait for them.
    pub(in crate::session) fn finish_together(
        &mut self,
        id: ChannelId,
        mut catch_up: Box<CatchUp>,
        progress: Progress,
    ) -> Outgoing {
        catch_up.replay.leave();
        if let Some(together) = &mut catch_up.together {
            let group = together.group;
            together.progress = progress;
            self.channels.put_back(id, catch_up);
            self.merge(group);
        }
        Outgoing::More
    }

    /// Queues what replays of a group have found, as far as all of them have looked.
    pub(in crate::session) fn merge(&mut self, group: u64) {
        while let Some((frame, to)) = self.channels.next_together(group) {
            self.queue_headed(Place::Own(to[0]), &to, &frame, false);
        }
        let empty = self.channels.of_group(group);
        let empty = empty.filter(|(.., together)| together.waiting.is_empty());
        let empty: SmallVec<[(ChannelId, Position, bool); 4]> = empty
            .map(|(id, catch_up, together)| {
                let at = match together.progress {
                    Progress::GoesOn => catch_up.replay.done(),
                    Progress::IsAt(position) => position,
                    Progress::IsAtEnd => Position::START,
                };
                (id, at, together.progress != Progress::GoesOn)
            })
            .collect();
        for (id, at, is_done) in empty {
            self.transport.outbound().advance_to(id, at);
            if is_done {
                self.channels.take_replay(id);
            }
        }
        if self.channels.replays() == 0
            && let Some(several) = &mut self.several
        {
            several.pasts = Vec::new();
        }
    }
}

impl Channels {
    /// Takes the next frame that replays of a group have found, and those that it is for; `None` if some have not
    /// looked so far.
    fn next_together(&mut self, group: u64) -> Option<(Arc<Frame>, SmallVec<[ChannelId; 4]>)> {
        let least = self.least_of_group(group);
        let (first, frame) = self.first_of_group(group)?;
        if least.is_some_and(|least| frame.position >= least) {
            return None;
        }
        // Each hears of its own document.
        let is_own = frame.kind == FrameKind::Tail("updated");
        let heads = self.of_group(group);
        let to = heads.filter(|(id, _, together)| {
            let head = together.waiting.front();
            *id == first || (!is_own && head.is_some_and(|head| is_same(head, &frame)))
        });
        let to: SmallVec<[ChannelId; 4]> = to.map(|(id, ..)| id).collect();
        for id in &to {
            let channel = self.get_mut(*id)?;
            let together = channel.catch_up.as_deref_mut()?.together.as_mut()?;
            together.pop();
        }
        Some((frame, to))
    }

    /// Returns the first frame that waits in a group, and a channel that it is for. Where several have one position, as
    /// on a page of the archive, it is one that nobody has behind another: then all who get it have it first.
    fn first_of_group(&self, group: u64) -> Option<(ChannelId, Arc<Frame>)> {
        let waiting = || self.of_group(group).map(|(id, _, of)| (id, &of.waiting));
        let at = waiting().filter_map(|(_, frames)| Some(frames.front()?.position));
        let at = at.min()?;
        let heads = || {
            let heads = waiting().filter_map(|(id, frames)| Some((id, frames.front()?)));
            heads.filter(|(_, frame)| frame.position == at)
        };
        let is_behind = |frame: &Frame| {
            waiting().any(|(_, frames)| {
                let here = frames.iter().take_while(|of| of.position == at);
                here.skip(1).any(|of| is_same(of, frame))
            })
        };
        let first = heads().find(|(_, frame)| !is_behind(frame));
        let (id, frame) = first.or_else(|| heads().next())?;
        Some((id, Arc::clone(frame)))
    }
}

/// Whether two frames say the same.
fn is_same(a: &Frame, b: &Frame) -> bool {
    let alike = a.position == b.position && a.kind == b.kind;
    alike && (std::ptr::eq(a, b) || a.bytes == b.bytes)
}
