//! The bounded queue from the router to one connection.
//!
//! Two ends: the [`Sender`] belongs to the registry, the [`Receiver`] to the connection's task. The
//! queue is bounded by frames and by bytes. What to do when it is full is decided by the router,
//! which needs to know one thing more: whether the socket refuses bytes. Only the connection knows
//! that, and only from an attempt: so the receiver reports each refused attempt, and
//! [`Sender::room`] waits until there is room or an attempt made *after* the queue was full has been
//! refused. A connection that merely was not scheduled yet is thus never taken for a slow one.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, timeout_at};

use super::lock::{Mutex, MutexGuard};
use crate::{
    position::Position,
    protocol::{Ending, Frame},
};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Messages.
    pub frames: usize,
    /// Bytes. One frame may exceed both if it waits alone.
    pub bytes: usize,
}

/// The registry's decision that a connection ends. Made once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// Why.
    pub ending: Ending,
    /// Up to where the feed was applied when it was decided.
    pub position: Position,
    /// Whether what waits is delivered first.
    pub drain: bool,
}

/// What came of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The frame waits; the waker, if any, is to be woken when the hand-over is complete.
    Queued(Option<Waker>),
    /// There is no room; the frame was not taken.
    Full,
    /// The connection takes nothing any more.
    Closed,
}

/// What came of waiting for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There is room now.
    Free,
    /// There is none, and the socket has refused bytes since that was asked.
    Refused,
    /// The connection takes nothing any more.
    Closed,
    /// Neither in the time given: this node is too busy to serve the connection.
    Unserved,
}

/// What a frame takes of the bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    /// The size of a frame.
    pub(crate) fn of(frame: &Frame) -> Self {
        Self {
            messages: frame.messages(),
            bytes: frame.bytes.len(),
        }
    }
}

/// What the router waits for, and how many attempts had been refused when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    wish: Wish,
    refusals: u64,
}

/// What the router may wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// Room for this.
    Room(Size),
    /// Less to be held than so many bytes.
    Less(usize),
}

/// Whether the connection takes frames. Goes down this list only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Intake {
    #[default]
    Open,
    Stopped,
    /// Stopped, and a frame was refused for it before the end was decided.
    Missed,
}

/// What the registry has decided. Goes down this list only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Verdict {
    #[default]
    None,
    Decided(End),
    /// Decided, and the connection knows.
    Given,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arc<Frame>>,
    messages: usize,
    bytes: usize,
    /// Bytes that the connection has taken and not written yet.
    in_hand: usize,
    verdict: Verdict,
    intake: Intake,
    /// Counts attempts that the socket refused.
    refusals: u64,
    /// The connection's task.
    receiver: Option<Waker>,
    /// Whether that is not to be woken for new frames.
    only_urgent: bool,
    /// The router's task, while it waits for this connection.
    sender: Option<Waker>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    bounds: Bounds,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while holding the lock; a poisoned one still holds a valid queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a waiting sender that something changed.
fn signal(mut state: MutexGuard<'_, State>) {
    let sender = state.sender.take();
    drop(state);
    if let Some(sender) = sender {
        sender.wake();
    }
}

/// The registry's end.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// Whether a verdict was given, or else what it is, if there is one.
#[cfg(test)]
pub(crate) type Told = (bool, Option<End>);

/// The connection's end. Dropping it closes the queue.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// A new, empty outbox.
pub(crate) fn outbox(bounds: Bounds) -> (Sender, Receiver) {
    let state = Mutex::new(State::default());
    let shared = Arc::new(Shared { state, bounds });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Adds a frame if there is room.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> Pushed {
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
        state.frames.push_back(Arc::clone(frame));
        if state.only_urgent {
            return Pushed::Queued(None);
        }
        Pushed::Queued(state.receiver.take())
    }

    /// Waits until a frame of this size has room, or until it is known why it has none.
    /// One task at a time may wait.
    pub(crate) async fn room(&self, size: Size, deadline: Instant) -> Room {
        self.wait(Wish::Room(size), deadline).await
    }

    /// Waits until less than `held` bytes are held for the connection, or until it is known why not.
    /// One task at a time may wait.
    pub(crate) async fn less_than(&self, held: usize, deadline: Instant) -> Room {
        self.wait(Wish::Less(held), deadline).await
    }

    async fn wait(&self, wish: Wish, deadline: Instant) -> Room {
        let asked = self.ask(wish);
        let answered = poll_fn(|cx| self.poll_answer(asked, cx));
        let answer = timeout_at(deadline, answered).await;
        self.0.lock().sender = None;
        answer.unwrap_or(Room::Unserved)
    }

    /// Begins to wait: the connection must make an attempt after this moment to be judged by it.
    pub(crate) fn ask(&self, wish: Wish) -> Asked {
        let mut state = self.0.lock();
        state.sender = Some(Waker::noop().clone());
        let (refusals, receiver) = (state.refusals, state.receiver.take());
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Asked { wish, refusals }
    }

    /// Ready when what was asked is known.
    pub(crate) fn poll_answer(&self, asked: Asked, cx: &Context<'_>) -> Poll<Room> {
        let mut state = self.0.lock();
        let free = match asked.wish {
            Wish::Room(size) => state.has_room(size, self.0.bounds),
            Wish::Less(held) => state.held() < held,
        };
        if state.is_closed() {
            if matches!(asked.wish, Wish::Room(_)) {
                state.miss();
            }
            return Poll::Ready(Room::Closed);
        }
        if free {
            return Poll::Ready(Room::Free);
        }
        if state.refusals > asked.refusals {
            return Poll::Ready(Room::Refused);
        }
        state.sender = Some(cx.waker().clone());
        // It may have looked while nobody seemed to wait.
        let receiver = state.receiver.take();
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Poll::Pending
    }

    /// Waits until nothing is held for a connection that ends.
    pub(crate) async fn emptied(&self, deadline: Instant) {
        let emptied = poll_fn(|cx| self.poll_emptied(cx));
        if timeout_at(deadline, emptied).await.is_err() {
            tracing::debug!("an ending connection was not served in time");
        }
        self.0.lock().sender = None;
    }

    /// Ready when nothing is held for a connection that ends.
    pub(crate) fn poll_emptied(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.held() == 0 {
            return Poll::Ready(());
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the connection. Only the first call counts; it says whether it was the first. What waits
    /// is forgotten at once, unless it is to be delivered first.
    pub(crate) fn end(&self, end: End) -> bool {
        let mut state = self.0.lock();
        if state.verdict != Verdict::None {
            return false;
        }
        state.verdict = Verdict::Decided(end);
        if !end.drain {
            state.forget_frames();
        }
        let receiver = state.receiver.take();
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        true
    }

    /// Bytes that are held for the connection: those that wait, and those that it has in hand.
    pub(crate) fn held(&self) -> usize {
        self.0.lock().held()
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().messages
    }
}

impl State {
    fn has_room(&self, size: Size, bounds: Bounds) -> bool {
        self.frames.is_empty()
            || (self.messages + size.messages <= bounds.frames
                && self.bytes + size.bytes <= bounds.bytes)
    }

    fn held(&self) -> usize {
        self.bytes + self.in_hand
    }

    fn forget_frames(&mut self) {
        self.frames = VecDeque::new();
        self.messages = 0;
        self.bytes = 0;
    }

    fn is_closed(&self) -> bool {
        self.intake != Intake::Open || self.verdict != Verdict::None
    }

    /// A frame finds nobody any more.
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

    fn take_frames(&mut self, max_bytes: usize, out: &mut Vec<Arc<Frame>>) -> usize {
        let mut bytes = 0;
        while let Some(frame) = self.frames.front() {
            let len = frame.bytes.len();
            if bytes > 0 && bytes + len > max_bytes {
                break;
            }
            bytes += len;
            self.messages -= frame.messages();
            out.extend(self.frames.pop_front());
        }
        self.bytes -= bytes;
        if self.frames.is_empty() {
            if self.frames.capacity() > 16 {
                // An idle connection keeps no large queue in memory.
                self.frames = VecDeque::new();
            } else {
                // The next one takes the first place again, which is still near.
                self.frames.clear();
            }
        }
        bytes
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
    /// Ready with the end, once, as soon as it is decided; what still waits is then to be had from
    /// [`Receiver::drain`]. Else ready with frames, moved into `out`: at most `max_bytes` of them,
    /// but at least one; what was taken before counts as written. Pending registers the task to be woken by the next push.
    pub(crate) fn poll_take(
        &self,
        cx: &Context<'_>,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Poll<Taken> {
        let mut state = self.0.lock();
        if let Some(end) = state.take_end() {
            return Poll::Ready(Taken::End(end));
        }
        let bytes = state.take_frames(max_bytes, out);
        // Who takes more has written what it had.
        let before = std::mem::replace(&mut state.in_hand, bytes);
        if bytes > 0 {
            signal(state);
            return Poll::Ready(Taken::Frames { bytes });
        }
        state.register(cx, false);
        if before > 0 {
            signal(state);
        }
        Poll::Pending
    }

    /// Like [`Receiver::poll_take`] for a connection that cannot take frames now: it is woken only
    /// by the end, or when the sender wants it to make an attempt.
    pub(crate) fn poll_end(&self, cx: &Context<'_>) -> Poll<End> {
        let mut state = self.0.lock();
        if let Some(end) = state.take_end() {
            return Poll::Ready(end);
        }
        state.register(cx, true);
        if state.sender.is_some() && state.intake == Intake::Open {
            // It has begun to wait since the last attempt was reported, and judges by another.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Everything that waits.
    pub(crate) fn drain(&self) -> Vec<Arc<Frame>> {
        let mut state = self.0.lock();
        state.messages = 0;
        state.bytes = 0;
        std::mem::take(&mut state.frames).into()
    }

    /// Reports how many bytes are in hand, where that is not what was taken last.
    pub(crate) fn holds(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.in_hand = bytes;
        signal(state);
    }

    /// Ready when the sender waits for room; until then it is woken only by that and by the end.
    pub(crate) fn poll_asked(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.sender.is_some() {
            return Poll::Ready(());
        }
        state.register(cx, true);
        Poll::Pending
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().frames.is_empty()
    }

    /// All that decides what happens next: what waits, the intake, and the verdict, which may have been
    /// given.
    #[cfg(test)]
    pub(crate) fn shape(&self) -> (Vec<(Position, usize)>, u8, Told) {
        let state = self.0.lock();
        let frames = state.frames.iter();
        let frames = frames.map(|frame| (frame.position, frame.messages()));
        let frames = frames.collect();
        let verdict = match state.verdict {
            Verdict::None => (false, None),
            Verdict::Decided(end) => (false, Some(end)),
            Verdict::Given => (true, None),
        };
        (frames, state.intake as u8, verdict)
    }

    /// Whether the sender waits for room, or for an attempt that the socket refuses.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.lock().sender.is_some()
    }

    /// Reports an attempt to write that the socket refused.
    pub(crate) fn refused(&self) {
        let mut state = self.0.lock();
        state.refusals += 1;
        signal(state);
    }

    /// Takes nothing any more. What waits may still be had from [`Receiver::drain`], and an end,
    /// decided before or after, is still given.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock();
        state.stop();
        signal(state);
    }

    /// Whether frames were refused between [`Receiver::stop`] and the end.
    pub(crate) fn missed(&self) -> bool {
        self.0.lock().intake == Intake::Missed
    }

    /// Takes nothing any more, and drops what waits. An end, decided before or after, is still given.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.stop();
        state.forget_frames();
        state.in_hand = 0;
        signal(state);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

/// What [`Receiver::poll_take`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Frames, of this many bytes together.
    Frames {
        /// Their bytes.
        bytes: usize,
    },
    /// Everything was taken and the connection ends.
    End(End),
}
