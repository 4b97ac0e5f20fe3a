//! The bounded queue from the router to one session.
//!
//! It has two ends: the [`Sender`] belongs to the registry, the [`Receiver`] to the session's task. It carries the
//! frames of all channels of the session, and the end of a channel in its place behind that channel's frames. Frames
//! are bounded in number and in bytes; ends always have room, since a channel has one. The end of the session itself
//! overtakes everything that waits.
//!
//! [`backpressure`] has the rule for a full queue.

pub(crate) mod backpressure;
mod credential_end;
pub(crate) mod entry;

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use self::credential_end::CredentialEnd;
pub(crate) use self::entry::{End, Entry};
use super::lock::{Mutex, MutexGuard};
use crate::protocol::{ChannelId, Frame};

/// A larger queue that is empty gives its memory back.
const KEPT_ENTRIES: usize = 16;

/// The bounds of what may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Counted in messages: a frame may be a run of several.
    pub frames: usize,
    /// One frame may exceed both bounds if it waits alone.
    pub bytes: usize,
}

/// The outcome of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The frame waits; the caller wakes the waker, if any, when the hand-over is complete.
    Queued(Option<Waker>),
    /// There is no room; the frame was not taken.
    Full,
    /// The session takes nothing any more.
    Closed,
}

/// A frame's share of the bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    pub(crate) fn of(frame: &Frame) -> Self {
        Self {
            messages: frame.messages(),
            bytes: frame.bytes.len(),
        }
    }
}

/// The session's side of the queue. Advances down this list only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Intake {
    #[default]
    Open,
    Stopped,
    /// Stopped, and something was refused for it before the end was decided.
    Missed,
}

/// The registry's verdict on the session. Advances down this list only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Verdict {
    #[default]
    None,
    Decided(End),
    /// Decided, and the session knows.
    Given,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Entries that others were taken past: for channels that were held back. They are older than all others.
    passed: VecDeque<Entry>,
    /// Ends of channels among all of them.
    ends: usize,
    /// Messages of the frames that wait.
    messages: usize,
    /// Bytes of the frames that wait.
    bytes: usize,
    /// Bytes that the session has taken and not written yet.
    in_hand: usize,
    verdict: Verdict,
    intake: Intake,
    /// Attempts that the socket refused.
    refusals: u64,
    /// The session's task.
    receiver: Option<Waker>,
    /// True if new frames do not wake the session's task.
    only_urgent: bool,
    /// The router's task, while it waits for this session.
    sender: Option<Waker>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    bounds: Bounds,
    credential_end: CredentialEnd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while holding the lock; a poisoned one still holds a valid queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a waiting sender that something changed.
fn wake_sender(mut state: MutexGuard<'_, State>) {
    let sender = state.sender.take();
    drop(state);
    if let Some(sender) = sender {
        sender.wake();
    }
}

/// Tells the session's task that something changed.
fn wake_receiver(mut state: MutexGuard<'_, State>) {
    let receiver = state.receiver.take();
    drop(state);
    if let Some(receiver) = receiver {
        receiver.wake();
    }
}

/// The registry's end.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// The verdict as tests see it: whether it was given, or else the verdict, if there is one.
#[cfg(test)]
pub(crate) type VerdictShape = (bool, Option<End>);

/// The session's end. Dropping it closes the queue.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// Returns the two ends of a new, empty outbox.
pub(crate) fn outbox(bounds: Bounds) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::default()),
        bounds,
        credential_end: CredentialEnd::default(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Adds a frame for a channel if there is room.
    pub(crate) fn push(&self, channel: ChannelId, frame: &Arc<Frame>) -> Pushed {
        let mut state = self.0.lock();
        if state.is_closed() {
            state.miss();
            return Pushed::Closed;
        }
        let size = Size::of(frame);
        if !state.has_room(size, self.0.bounds) {
            return Pushed::Full;
        }
        state.messages += size.messages;
        state.bytes += size.bytes;
        state
            .entries
            .push_back(Entry::Frame(channel, Arc::clone(frame)));
        if state.only_urgent {
            return Pushed::Queued(None);
        }
        Pushed::Queued(state.receiver.take())
    }

    /// Adds an entry, and returns the waker as [`Sender::push`] does, if there is one. An entry without room is
    /// given back.
    pub(crate) fn push_entry(&self, entry: Entry) -> Result<Option<Waker>, Entry> {
        let mut state = self.0.lock();
        if state.is_closed() {
            state.miss();
            return Ok(None);
        }
        if let Some(size) = entry.frame().map(|frame| Size::of(frame)) {
            if !state.has_room(size, self.0.bounds) {
                return Err(entry);
            }
            state.messages += size.messages;
            state.bytes += size.bytes;
        }
        let is_end = entry.is_end();
        state.ends += usize::from(is_end);
        state.entries.push_back(entry);
        if state.only_urgent && !is_end {
            return Ok(None);
        }
        Ok(state.receiver.take())
    }

    /// Ends the session. Only the first call counts; returns whether it was the first. What waits is forgotten at
    /// once, unless it is to be delivered first.
    pub(crate) fn end(&self, end: End) -> bool {
        let mut state = self.0.lock();
        if state.verdict != Verdict::None {
            return false;
        }
        state.verdict = Verdict::Decided(end);
        if !end.drain {
            state.forget_entries();
        }
        wake_receiver(state);
        true
    }

    /// Ends a channel, behind everything that waits for it; that is forgotten, unless it is to be delivered first.
    pub(crate) fn end_channel(&self, channel: ChannelId, end: End) {
        let mut state = self.0.lock();
        if state.is_closed() {
            return state.miss();
        }
        if !end.drain {
            state.forget_entries_of(channel);
        }
        state.entries.push_back(Entry::End(channel, Box::new(end)));
        state.ends += 1;
        wake_receiver(state);
    }

    /// Returns the bytes that are held for the session: those that wait, and those that it has in hand.
    pub(crate) fn held(&self) -> usize {
        self.0.lock().held()
    }

    /// Returns the number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().messages
    }
}

impl State {
    fn has_room(&self, size: Size, bounds: Bounds) -> bool {
        self.messages == 0
            || (self.messages + size.messages <= bounds.frames
                && self.bytes + size.bytes <= bounds.bytes)
    }

    fn held(&self) -> usize {
        self.bytes + self.in_hand
    }

    fn forget_entries(&mut self) {
        self.entries = VecDeque::new();
        self.passed = VecDeque::new();
        self.ends = 0;
        self.messages = 0;
        self.bytes = 0;
    }

    fn forget_entries_of(&mut self, channel: ChannelId) {
        let (messages, bytes) = (&mut self.messages, &mut self.bytes);
        let mut keep = |entry: &mut Entry| {
            let part = entry.split(|id| id == channel);
            if part.is_some() {
                return true;
            }
            if !entry.is_only_for(|id| id == channel) {
                return true;
            }
            if let Some(frame) = entry.frame() {
                *messages -= frame.messages();
                *bytes -= frame.bytes.len();
            }
            false
        };
        self.passed.retain_mut(&mut keep);
        self.entries.retain_mut(keep);
    }

    fn is_closed(&self) -> bool {
        self.intake != Intake::Open || self.verdict != Verdict::None
    }

    /// Notes that something finds nobody any more.
    fn miss(&mut self) {
        if self.intake == Intake::Stopped && self.verdict == Verdict::None {
            self.intake = Intake::Missed;
        }
    }

    fn stop(&mut self) {
        self.intake = self.intake.max(Intake::Stopped);
    }

    fn take_end(&mut self) -> Option<End> {
        let Verdict::Decided(end) = self.verdict else {
            return None;
        };
        self.verdict = Verdict::Given;
        Some(end)
    }

    /// Moves entries of channels that are not held back into `out`: frames of at most `max_bytes`, but at least one.
    /// Those of channels that are held back are passed over. Returns the bytes of the frames.
    fn take_entries(
        &mut self,
        max_bytes: usize,
        is_held_back: impl Fn(ChannelId) -> bool,
        out: &mut Vec<Entry>,
    ) -> usize {
        let (mut bytes, whole) = self.take_passed(max_bytes, |id| !is_held_back(id), out);
        while whole && let Some(entry) = self.entries.front_mut() {
            let kept = entry.split(&is_held_back);
            if kept.is_none() && entry.is_only_for(&is_held_back) {
                self.passed.extend(self.entries.pop_front());
                continue;
            }
            let len = entry.frame().map_or(0, |frame| frame.bytes.len());
            if bytes > 0 && len > 0 && bytes + len > max_bytes {
                if let Some(kept) = kept {
                    entry.join(kept);
                }
                break;
            }
            bytes += len;
            let is_last = entry.holds_back();
            let taken = self.entries.pop_front();
            match kept {
                // It still waits for the others.
                Some(kept) => self.passed.push_back(kept),
                None => self.forget(taken.as_ref()),
            }
            out.extend(taken);
            if is_last {
                break;
            }
        }
        if self.entries.is_empty() {
            if self.entries.capacity() > KEPT_ENTRIES {
                self.entries = VecDeque::new();
            } else {
                // The next one takes the first place again, which is still in the processor's cache.
                self.entries.clear();
            }
        }
        bytes
    }

    /// Moves entries that were passed over, of some channels, into `out`, within the same bounds. Returns the bytes of
    /// the frames, and whether these are all.
    fn take_passed(
        &mut self,
        max_bytes: usize,
        is_wanted: impl Fn(ChannelId) -> bool,
        out: &mut Vec<Entry>,
    ) -> (usize, bool) {
        let (mut bytes, mut at) = (0, 0);
        while let Some(entry) = self.passed.get_mut(at) {
            let wanted = entry.split(&is_wanted);
            if wanted.is_none() && !entry.is_only_for(&is_wanted) {
                at += 1;
                continue;
            }
            let len = entry.frame().map_or(0, |frame| frame.bytes.len());
            if bytes > 0 && bytes + len > max_bytes {
                if let Some(wanted) = wanted {
                    entry.join(wanted);
                }
                return (bytes, false);
            }
            bytes += len;
            if let Some(wanted) = wanted {
                out.push(wanted);
                at += 1;
            } else {
                let taken = self.passed.remove(at);
                self.forget(taken.as_ref());
                out.extend(taken);
            }
        }
        (bytes, true)
    }

    /// Accounts for an entry that does not wait any more.
    fn forget(&mut self, entry: Option<&Entry>) {
        let Some(entry) = entry else { return };
        self.ends -= usize::from(entry.is_end());
        if let Some(frame) = entry.frame() {
            self.messages -= frame.messages();
            self.bytes -= frame.bytes.len();
        }
    }

    fn register(&mut self, cx: &Context<'_>, only_urgent: bool) {
        self.only_urgent = only_urgent;
        if !self
            .receiver
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.receiver = Some(cx.waker().clone());
        }
    }
}

impl Receiver {
    /// Ready with the session's end, once, as soon as it is decided; what still waits is then to be had from
    /// [`Receiver::drain`]. Else ready with entries, moved into `out`: frames of at most `max_bytes`, but at least
    /// one. The entries of channels that `is_held_back` stay where they are. What was taken before counts as written.
    /// Pending registers the task to be woken by the next push.
    pub(crate) fn poll_take(
        &self,
        cx: &Context<'_>,
        max_bytes: usize,
        is_held_back: impl Fn(ChannelId) -> bool,
        out: &mut Vec<Entry>,
    ) -> Poll<Taken> {
        let mut state = self.0.lock();
        if let Some(end) = state.take_end() {
            return Poll::Ready(Taken::End(end));
        }
        let had = out.len();
        let bytes = state.take_entries(max_bytes, is_held_back, out);
        // Taking again implies that the previous entries were written.
        let before = std::mem::replace(&mut state.in_hand, bytes);
        if out.len() > had {
            wake_sender(state);
            return Poll::Ready(Taken::Entries { bytes });
        }
        state.register(cx, false);
        if before > 0 {
            wake_sender(state);
        }
        Poll::Pending
    }

    /// Moves the entries of some channels that others were taken past into `out`, as [`Receiver::poll_take`] does.
    /// What was taken before counts as written. Returns the bytes of the frames, and whether these are all.
    pub(crate) fn take_passed(
        &self,
        max_bytes: usize,
        is_wanted: impl Fn(ChannelId) -> bool,
        out: &mut Vec<Entry>,
    ) -> (usize, bool) {
        let mut state = self.0.lock();
        let (bytes, all) = state.take_passed(max_bytes, is_wanted, out);
        state.in_hand = bytes;
        if bytes > 0 {
            wake_sender(state);
        }
        (bytes, all)
    }

    /// Whether the end of a channel waits.
    pub(crate) fn has_ends(&self) -> bool {
        self.0.lock().ends > 0
    }

    /// Returns the end of a channel, if it waits. It stays in its place.
    pub(crate) fn end_of(&self, channel: ChannelId) -> Option<End> {
        let state = self.0.lock();
        if state.ends == 0 {
            return None;
        }
        let mut ends = state.entries.iter().rev().chain(&state.passed);
        ends.find_map(|entry| match entry {
            Entry::End(of, end) if *of == channel => Some(**end),
            _ => None,
        })
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&self) -> Vec<Entry> {
        let mut state = self.0.lock();
        state.messages = 0;
        state.bytes = 0;
        state.ends = 0;
        let mut all = std::mem::take(&mut state.passed);
        all.append(&mut state.entries);
        all.into()
    }

    /// Whether the session has taken everything that came for a channel. Nobody knows once the end is decided: what
    /// waited may have been dropped.
    pub(crate) fn has_nothing_for(&self, channel: ChannelId) -> bool {
        let state = self.0.lock();
        let mut all = state.passed.iter().chain(&state.entries);
        !state.is_closed() && all.all(|entry| !entry.is_for(channel))
    }

    /// Whether the session has taken everything but what others were taken past. Nobody knows once the end is decided.
    pub(crate) fn has_nothing(&self) -> bool {
        let state = self.0.lock();
        !state.is_closed() && state.entries.is_empty()
    }

    /// Returns all that decides what happens next: what waits, the intake, and the verdict.
    #[cfg(test)]
    pub(crate) fn shape(&self) -> (Vec<Entry>, u8, VerdictShape) {
        let state = self.0.lock();
        let entries = state.passed.iter().chain(&state.entries);
        let entries = entries.filter_map(Entry::copy).collect();
        let verdict = match state.verdict {
            Verdict::None => (false, None),
            Verdict::Decided(end) => (false, Some(end)),
            Verdict::Given => (true, None),
        };
        (entries, state.intake as u8, verdict)
    }

    /// Takes nothing any more. What waits may still be had from [`Receiver::drain`], and the session's end, decided
    /// before or after, is still given.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock();
        state.stop();
        wake_sender(state);
    }

    /// Whether something was refused between [`Receiver::stop`] and the end.
    pub(crate) fn missed(&self) -> bool {
        self.0.lock().intake == Intake::Missed
    }

    /// Takes nothing any more, and drops what waits. The session's end, decided before or after, is still given.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.stop();
        state.forget_entries();
        state.in_hand = 0;
        wake_sender(state);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

/// The outcome of [`Receiver::poll_take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Entries were taken, whose frames have so many bytes.
    Entries { bytes: usize },
    /// The session ends. What waits is still there.
    End(End),
}
