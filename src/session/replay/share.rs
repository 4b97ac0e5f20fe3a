//! A past that is read once for several replays.
//!
//! Those who begin at one point read together: one question to the router, one reader of the oplog, one of the
//! archive. Each looks through a part of the past for its own channel, at its own pace; the next part is read when
//! all of them are through with the last.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker, ready},
};

use super::source::{Past, Readers, Stretch};
use crate::{position::Position, router::registry::ChannelKey, session::NodeContext};

/// The part that one replay has in a past.
pub(super) struct Share {
    key: ChannelKey,
    reading: Arc<Mutex<Reading>>,
}

/// A past, and those who read it.
struct Reading {
    past: Past,
    members: Vec<Member>,
    /// The number of stretches that were read.
    count: u64,
    /// The last of them, until all have it.
    last: Option<Stretch>,
    /// Whoever waits for the others.
    waits: Option<Waker>,
}

struct Member {
    key: ChannelKey,
    /// The number of stretches that it has.
    count: u64,
    done: Position,
    /// True once it is through with what it has.
    through: bool,
}

/// A past that others may share, as long as somebody reads it.
pub(in crate::session) struct Shared {
    from: Position,
    attached_at: Position,
    reading: Weak<Mutex<Reading>>,
}

impl Share {
    /// Returns the share of a replay that reads alone, so far.
    pub(super) fn alone(
        key: ChannelKey,
        context: Arc<NodeContext>,
        from: Position,
        attached_at: Position,
    ) -> Self {
        let reading = Reading {
            past: Past::new(context, attached_at),
            members: vec![Member {
                key,
                count: 0,
                done: from,
                through: true,
            }],
            count: 0,
            last: None,
            waits: None,
        };
        Self {
            key,
            reading: Arc::new(Mutex::new(reading)),
        }
    }

    /// Returns another share of one of these pasts, if one begins at the same point and nothing is read of it; else a
    /// new past, which is added to them.
    pub(super) fn among(
        all: &mut Vec<Shared>,
        key: ChannelKey,
        context: Arc<NodeContext>,
        from: Position,
        attached_at: Position,
    ) -> Self {
        all.retain(|shared| shared.reading.strong_count() > 0);
        let same = all.iter();
        let same = same.filter(|of| of.from == from && of.attached_at == attached_at);
        let joined = same
            .filter_map(|of| of.reading.upgrade())
            .find_map(|reading| Self::join(reading, key, from));
        joined.unwrap_or_else(|| {
            let share = Self::alone(key, context, from, attached_at);
            all.push(Shared {
                from,
                attached_at,
                reading: Arc::downgrade(&share.reading),
            });
            share
        })
    }

    fn join(reading: Arc<Mutex<Reading>>, key: ChannelKey, from: Position) -> Option<Self> {
        let mut locked = lock(&reading);
        if locked.past.has_begun() {
            return None;
        }
        locked.members.push(Member {
            key,
            count: 0,
            done: from,
            through: true,
        });
        drop(locked);
        Some(Self { key, reading })
    }

    /// Returns the next stretch. The replay is `done` with everything up to there.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        done: Position,
        tenant: Option<&str>,
    ) -> Poll<Stretch> {
        let mut reading = lock(&self.reading);
        let reading = &mut *reading;
        let is_it = |member: &&mut Member| member.key == self.key;
        let Some(own) = reading.members.iter_mut().find(is_it) else {
            return Poll::Pending;
        };
        own.done = done;
        own.through = true;
        if own.count == reading.count {
            let count = reading.count;
            // Nobody is in the middle of a stretch while more is asked for: the answer may make all of them live.
            let lags = |of: &Member| of.count < count || !of.through;
            if reading.members.iter().any(lags) {
                reading.waits = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let readers = Readers {
                done: reading.done(),
                keys: reading.members.iter().map(|of| of.key).collect(),
                tenant: tenant.map(Into::into),
            };
            reading.last = Some(ready!(reading.past.poll(cx, &readers)));
            reading.count += 1;
            if let Some(waits) = reading.waits.take() {
                waits.wake();
            }
        }
        let count = reading.count;
        if let Some(own) = reading.members.iter_mut().find(is_it) {
            own.count = count;
            own.through = false;
        }
        let stretch = reading.last.clone();
        reading.forget();
        stretch.map_or(Poll::Pending, Poll::Ready)
    }

    /// Returns the number of replays that share the past.
    pub(super) fn sharers(&self) -> usize {
        lock(&self.reading).members.len()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut reading = lock(&self.reading);
        reading.members.retain(|member| member.key != self.key);
        reading.forget();
        let waits = reading.waits.take();
        drop(reading);
        if let Some(waits) = waits {
            waits.wake();
        }
    }
}

impl Reading {
    /// Returns the position up to which all have looked at everything.
    fn done(&self) -> Position {
        let done = self.members.iter().map(|member| member.done);
        done.min().unwrap_or(Position::START)
    }

    /// Forgets the last stretch once all have it.
    fn forget(&mut self) {
        if self.members.iter().all(|member| member.count == self.count) {
            self.last = None;
        }
    }
}

fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    // Nothing here is left half done by a panic.
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}
