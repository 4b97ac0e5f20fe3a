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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    position::Position,
    protocol::{Ending, Frame},
};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages.
    pub frames: usize,
    /// Bytes. One frame may exceed both if it waits alone.
    pub bytes: usize,
}

/// The registry's decision that a connection ends. Made once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Why.
    pub ending: Ending,
    /// Up to where the feed was applied when it was decided.
    pub position: Position,
    /// Whether what waits is delivered first.
    pub drain: bool,
}

/// What came of a push.
#[derive(Debug)]
pub enum Pushed {
    /// The frame waits; the waker, if any, is to be woken when the hand-over is complete.
    Queued(Option<Waker>),
    /// There is no room; the frame was not taken.
    Full,
    /// The connection takes nothing any more.
    Closed,
}

/// What came of waiting for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// There is room now.
    Free,
    /// The queue is full and the socket has refused bytes since it was.
    Refused,
    /// The connection takes nothing any more.
    Closed,
    /// Neither in the time given: this node is too busy to serve the connection.
    Unserved,
}

/// Whether the connection takes frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Intake {
    #[default]
    Open,
    Stopped,
    /// Stopped, and a frame was refused for it before the end was decided.
    Missed,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arc<Frame>>,
    messages: usize,
    bytes: usize,
    end: Option<End>,
    end_taken: bool,
    intake: Intake,
    /// Counts attempts that the socket refused.
    refusals: u64,
    waker: Option<Waker>,
    /// Whether the waker is not to be used for new frames.
    only_urgent: bool,
    sender_waits: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    bounds: Bounds,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while holding the lock; a poisoned one still holds a valid queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a waiting sender that something changed.
    fn signal(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.sender_waits) {
            drop(state);
            self.changed.notify_one();
        }
    }
}

/// The registry's end.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Shared>);

/// The connection's end. Dropping it closes the queue.
#[derive(Debug)]
pub struct Receiver(Arc<Shared>);

/// A new, empty outbox.
pub fn outbox(bounds: Bounds) -> (Sender, Receiver) {
    let state = Mutex::new(State::default());
    let shared = Arc::new(Shared {
        state,
        changed: Notify::new(),
        bounds,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Adds a frame if there is room.
    pub fn push(&self, frame: &Arc<Frame>) -> Pushed {
        let mut state = self.0.lock();
        if state.is_closed() {
            return Pushed::Closed;
        }
        if !state.has_room(frame, self.0.bounds) {
            return Pushed::Full;
        }
        state.bytes += frame.bytes.len();
        state.messages += frame.messages();
        state.frames.push_back(Arc::clone(frame));
        if state.only_urgent {
            return Pushed::Queued(None);
        }
        Pushed::Queued(state.waker.take())
    }

    /// Waits until a frame has room, or until it is known why it has none.
    /// One task at a time may wait.
    pub async fn room(&self, frame: &Frame, deadline: Instant) -> Room {
        let refusals_before = {
            let mut state = self.0.lock();
            state.sender_waits = true;
            // The connection must make an attempt after this moment to be judged by it.
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            state.refusals
        };
        let decided = async {
            loop {
                {
                    let mut state = self.0.lock();
                    if state.is_closed() {
                        return Room::Closed;
                    }
                    if state.has_room(frame, self.0.bounds) {
                        return Room::Free;
                    }
                    if state.refusals > refusals_before {
                        return Room::Refused;
                    }
                    state.sender_waits = true;
                }
                self.0.changed.notified().await;
            }
        };
        timeout_at(deadline, decided)
            .await
            .unwrap_or(Room::Unserved)
    }

    /// Ends the connection. Only the first call counts; it says whether it was the first.
    pub fn end(&self, end: End) -> bool {
        let mut state = self.0.lock();
        if state.end.is_some() {
            return false;
        }
        state.end = Some(end);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.0.lock().messages
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn has_room(&self, frame: &Frame, bounds: Bounds) -> bool {
        self.frames.is_empty()
            || (self.messages + frame.messages() <= bounds.frames
                && self.bytes + frame.bytes.len() <= bounds.bytes)
    }

    /// Whether the frame at hand finds nobody any more.
    fn is_closed(&mut self) -> bool {
        if self.intake == Intake::Stopped && self.end.is_none() {
            self.intake = Intake::Missed;
        }
        self.intake != Intake::Open || self.end.is_some()
    }

    fn stop(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Stopped;
        }
    }

    fn take_end(&mut self) -> Option<End> {
        let end = self.end.filter(|_| !self.end_taken)?;
        self.end_taken = true;
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
        // An idle connection keeps no queue in memory.
        if self.frames.is_empty() && self.frames.capacity() > 16 {
            self.frames = VecDeque::new();
        }
        bytes
    }

    fn register(&mut self, cx: &Context<'_>, only_urgent: bool) {
        self.only_urgent = only_urgent;
        if !self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.waker = Some(cx.waker().clone());
        }
    }
}

impl Receiver {
    /// Ready with the end, once, as soon as it is decided; what still waits is then to be had from
    /// [`Receiver::drain`]. Else ready with frames, moved into `out`: at most `max_bytes` of them,
    /// but at least one. Pending registers the task to be woken by the next push.
    pub fn poll_take(
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
        if bytes > 0 {
            self.0.signal(state);
            return Poll::Ready(Taken::Frames { bytes });
        }
        state.register(cx, false);
        Poll::Pending
    }

    /// Like [`Receiver::poll_take`] for a connection that cannot take frames now: it is woken only
    /// by the end, or when the sender wants it to make an attempt.
    pub fn poll_end(&self, cx: &Context<'_>) -> Poll<End> {
        let mut state = self.0.lock();
        if let Some(end) = state.take_end() {
            return Poll::Ready(end);
        }
        state.register(cx, true);
        if state.sender_waits && state.intake == Intake::Open {
            // It has begun to wait since the last attempt was reported, and judges by another.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Everything that waits, and its bytes.
    pub fn drain(&self) -> (Vec<Arc<Frame>>, usize) {
        let mut state = self.0.lock();
        let frames = std::mem::take(&mut state.frames);
        state.messages = 0;
        (frames.into(), std::mem::take(&mut state.bytes))
    }

    /// Ready when the sender waits for room; until then it is woken only by that and by the end.
    pub fn poll_asked(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.sender_waits {
            return Poll::Ready(());
        }
        state.register(cx, true);
        Poll::Pending
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.lock().frames.is_empty()
    }

    /// Whether the sender waits for room, or for an attempt that the socket refuses.
    pub fn is_awaited(&self) -> bool {
        self.0.lock().sender_waits
    }

    /// Reports an attempt to write that the socket refused.
    pub fn refused(&self) {
        let mut state = self.0.lock();
        state.refusals += 1;
        self.0.signal(state);
    }

    /// Takes nothing any more. What waits may still be had from [`Receiver::drain`], and an end,
    /// decided before or after, is still given.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stop();
        self.0.signal(state);
    }

    /// Whether frames were refused between [`Receiver::stop`] and the end.
    pub fn missed(&self) -> bool {
        self.0.lock().intake == Intake::Missed
    }

    /// Takes nothing any more, and drops what waits; returns the bytes dropped. An end, decided
    /// before or after, is still given.
    pub fn close(&self) -> usize {
        let mut state = self.0.lock();
        state.stop();
        state.frames = VecDeque::new();
        state.messages = 0;
        let bytes = std::mem::take(&mut state.bytes);
        self.0.signal(state);
        bytes
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

/// What [`Receiver::poll_take`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Frames, of this many bytes together.
    Frames {
        /// Their bytes.
        bytes: usize,
    },
    /// Everything was taken and the connection ends.
    End(End),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};

    const BOUNDS: Bounds = Bounds {
        frames: 2,
        bytes: 100,
    };

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn frame(len: usize) -> Arc<Frame> {
        Frame::blank(len)
    }

    fn take(receiver: &Receiver) -> Poll<Taken> {
        let mut out = Vec::new();
        receiver.poll_take(&Context::from_waker(Waker::noop()), usize::MAX, &mut out)
    }

    fn deleted() -> End {
        End {
            ending: Ending::Deleted,
            position: Position::START,
            drain: true,
        }
    }

    #[test]
    fn frames_and_bytes_are_bounded_but_one_frame_always_fits() {
        let (sender, receiver) = outbox(BOUNDS);
        assert!(matches!(sender.push(&frame(500)), Pushed::Queued(_)));
        assert!(matches!(sender.push(&frame(1)), Pushed::Full));
        assert_eq!(take(&receiver), Poll::Ready(Taken::Frames { bytes: 500 }));
        assert!(matches!(sender.push(&frame(40)), Pushed::Queued(_)));
        assert!(matches!(sender.push(&frame(40)), Pushed::Queued(_)));
        assert!(matches!(sender.push(&frame(1)), Pushed::Full));
    }

    #[test]
    fn the_end_comes_once_and_leaves_what_waits() {
        let (sender, receiver) = outbox(BOUNDS);
        sender.push(&frame(10));
        assert!(sender.end(deleted()));
        assert!(!sender.end(End {
            ending: Ending::Shutdown,
            ..deleted()
        }));
        assert!(matches!(sender.push(&frame(1)), Pushed::Closed));
        assert_eq!(take(&receiver), Poll::Ready(Taken::End(deleted())));
        let (frames, bytes) = receiver.drain();
        assert_eq!(
            (frames.len(), bytes),
            (1, 10),
            "last words are still to be had"
        );
        assert_eq!(take(&receiver), Poll::Pending);
    }

    #[test]
    fn what_is_refused_between_stop_and_end_is_known() {
        let (sender, receiver) = outbox(BOUNDS);
        sender.push(&frame(10));
        receiver.stop();
        assert!(!receiver.missed());
        assert!(matches!(sender.push(&frame(1)), Pushed::Closed));
        assert!(receiver.missed());
        assert_eq!(receiver.drain().1, 10, "what waited before is kept");
    }

    #[tokio::test]
    async fn a_waiting_sender_asks_the_receiver() {
        let (sender, receiver) = outbox(BOUNDS);
        let asked = poll_fn(|cx| receiver.poll_asked(cx));
        sender.push(&frame(100));
        let next = frame(10);
        let (room, ()) = tokio::join!(sender.room(&next, deadline()), async {
            asked.await;
            receiver.stop();
        });
        assert_eq!(room, Room::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn full_is_not_slow_until_the_socket_refuses_afterwards() {
        let (sender, receiver) = outbox(BOUNDS);
        receiver.refused();
        sender.push(&frame(100));
        assert_eq!(
            sender.room(&frame(10), deadline()).await,
            Room::Unserved,
            "an old refusal says nothing"
        );
        let waiting = tokio::spawn({
            let sender = sender.clone();
            async move { sender.room(&frame(10), deadline()).await }
        });
        tokio::task::yield_now().await;
        receiver.refused();
        assert_eq!(waiting.await.unwrap(), Room::Refused);
        let waiting = tokio::spawn(async move { sender.room(&frame(10), deadline()).await });
        tokio::task::yield_now().await;
        assert_eq!(take(&receiver), Poll::Ready(Taken::Frames { bytes: 100 }));
        assert_eq!(waiting.await.unwrap(), Room::Free);
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_frees_the_sender() {
        let (sender, receiver) = outbox(BOUNDS);
        sender.push(&frame(100));
        let waiting = tokio::spawn(async move { sender.room(&frame(10), deadline()).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Room::Closed);
    }
}
