//! Backpressure: a full outbox means to wait, or that its client is slow, or that this node is overloaded.
//!
//! A client whose socket refuses bytes must not hold the router up. A session that this node merely did not get round to
//! must not be taken for slow. Only the session can tell the two apart, and only from an attempt to write. The rule:
//!
//! 1. A push finds no room. The router keeps the frame, wakes all sessions to which it has just given something, and waits
//!    with [`Sender::room`]. The feed lags meanwhile, and MongoDB keeps the history. (If too much waits on the whole node,
//!    the router waits in the same way, with [`Sender::less_than`], for each of the sessions that hold most.)
//! 2. The beginning of a wait wakes the session. Either it takes what waits, which makes room, or its socket refused
//!    earlier, and it tries again ([`Receiver::poll_end`]). With server-sent events, HTTP's task makes the attempts; while
//!    the router waits ([`Receiver::is_awaited`]), the session has it make one.
//! 3. The session reports each attempt that the socket refused ([`Receiver::refused`]). Only those count that it made
//!    after the wait began.
//! 4. The wait ends in one of four ways ([`Room`]), and [`Room::ending`] says what becomes of the session:
//!
//!    | outcome | the session |
//!    |---|---|
//!    | there is room | gets the frame |
//!    | it takes nothing any more | is ending already |
//!    | its socket refused an attempt | ends as `slow_consumer`, at once |
//!    | neither within `socket.router_patience` | ends as `overloaded` |
//!
//!    The patience is counted once for all sessions that are full together.
//!
//! A session that still waits for its socket from HTTP can make no attempt. It hears of the wait
//! ([`Receiver::poll_asked`]), and gives up a moment later.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, timeout_at};

use super::{End, Intake, Receiver, Sender, Size, wake_receiver, wake_sender};
use crate::protocol::Ending;

/// The outcome of waiting for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There is room now.
    Free,
    /// There is none, and the socket has refused bytes since the wait began.
    Refused,
    /// The session takes nothing any more.
    Closed,
    /// Neither in the time given: this node is too busy to serve the session.
    Unserved,
}

impl Room {
    /// Returns the ending of a session that was waited for in vain.
    pub(crate) fn ending(self) -> Option<Ending> {
        match self {
            Self::Free | Self::Closed => None,
            Self::Refused => Some(Ending::SlowConsumer),
            Self::Unserved => Some(Ending::Overloaded),
        }
    }
}

/// A wait of the router, and the number of refused attempts when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    wait_for: WaitFor,
    refusals: u64,
}

/// The things that the router may wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitFor {
    /// Room for a frame of this size.
    Room(Size),
    /// Fewer bytes held than this.
    LessHeld(usize),
}

impl Sender {
    /// Waits until a frame of this size has room, or until it is known why it has none.
    /// One task at a time may wait.
    pub(crate) async fn room(&self, size: Size, deadline: Instant) -> Room {
        self.wait(WaitFor::Room(size), deadline).await
    }

    /// Waits until less than `held` bytes are held for the session, or until it is known why not.
    /// One task at a time may wait.
    pub(crate) async fn less_than(&self, held: usize, deadline: Instant) -> Room {
        self.wait(WaitFor::LessHeld(held), deadline).await
    }

    async fn wait(&self, wait_for: WaitFor, deadline: Instant) -> Room {
        let wait = self.begin_wait(wait_for);
        let answered = poll_fn(|cx| self.poll_wait(wait, cx));
        let answer = timeout_at(deadline, answered).await;
        self.0.lock().sender = None;
        answer.unwrap_or(Room::Unserved)
    }

    /// Begins to wait: only an attempt that the session makes after this moment counts.
    pub(crate) fn begin_wait(&self, wait_for: WaitFor) -> Wait {
        let mut state = self.0.lock();
        state.sender = Some(Waker::noop().clone());
        let (refusals, receiver) = (state.refusals, state.receiver.take());
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Wait { wait_for, refusals }
    }

    /// Ready when the wait is over.
    pub(crate) fn poll_wait(&self, wait: Wait, cx: &Context<'_>) -> Poll<Room> {
        let mut state = self.0.lock();
        let free = match wait.wait_for {
            WaitFor::Room(size) => state.has_room(size, self.0.bounds),
            WaitFor::LessHeld(held) => state.held() < held,
        };
        if state.is_closed() {
            if matches!(wait.wait_for, WaitFor::Room(_)) {
                state.miss();
            }
            return Poll::Ready(Room::Closed);
        }
        if free {
            return Poll::Ready(Room::Free);
        }
        if state.refusals > wait.refusals {
            return Poll::Ready(Room::Refused);
        }
        state.sender = Some(cx.waker().clone());
        // The session may have looked while nobody seemed to wait.
        wake_receiver(state);
        Poll::Pending
    }

    /// Waits until nothing is held for a session that ends.
    pub(crate) async fn emptied(&self, deadline: Instant) {
        let emptied = poll_fn(|cx| self.poll_emptied(cx));
        if timeout_at(deadline, emptied).await.is_err() {
            tracing::debug!("an ending session was not served in time");
        }
        self.0.lock().sender = None;
    }

    /// Ready when nothing is held for a session that ends.
    pub(crate) fn poll_emptied(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.held() == 0 {
            return Poll::Ready(());
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Receiver {
    /// Like [`Receiver::poll_take`] for a session that cannot take frames now: it is woken only by an end, or when
    /// the sender wants it to make an attempt.
    pub(crate) fn poll_end(&self, cx: &Context<'_>) -> Poll<End> {
        let mut state = self.0.lock();
        if let Some(end) = state.take_end() {
            return Poll::Ready(end);
        }
        state.register(cx, true);
        if state.sender.is_some() && state.intake == Intake::Open {
            // The router started waiting after our last attempt; it needs a newer one.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reports the number of bytes in hand, where that is not what was taken last.
    pub(crate) fn holds(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.in_hand = bytes;
        wake_sender(state);
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

    /// Whether the sender waits for room, or for an attempt that the socket refuses.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.lock().sender.is_some()
    }

    /// Reports an attempt to write that the socket refused.
    pub(crate) fn refused(&self) {
        let mut state = self.0.lock();
        state.refusals += 1;
        wake_sender(state);
    }
}
