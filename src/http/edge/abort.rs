//! The point at which a stopping node no longer waits for the tasks of its clients.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// A signal that drops the tasks that run under it. Clones share it.
///
/// It is cheap to run under: a connection's task is polled for every message, and then reads only a flag.
#[derive(Clone, Default, Debug)]
pub(crate) struct Abort {
    token: CancellationToken,
    triggered: Arc<AtomicBool>,
}

/// The outcome of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<T> {
    /// The task ended by itself.
    Done(T),
    /// The task was dropped.
    Aborted,
    /// The task panicked with this message.
    Panicked(String),
}

impl Abort {
    /// Ends all tasks that run under this signal.
    pub(crate) fn trigger(&self) {
        self.triggered.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Runs a task until it ends, or drops it when the signal comes.
    pub(crate) async fn run<T>(self, task: impl Future<Output = T>) -> Outcome<T> {
        let mut task = pin!(AssertUnwindSafe(task).catch_unwind());
        let mut cancelled = pin!(self.token.cancelled());
        let mut registered: Option<Waker> = None;
        poll_fn(|cx| {
            let is_registered = registered
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()));
            if !is_registered || self.triggered.load(Ordering::Acquire) {
                if cancelled.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Outcome::Aborted);
                }
                registered = Some(cx.waker().clone());
            }
            task.as_mut().poll(cx).map(|ended| match ended {
                Ok(done) => Outcome::Done(done),
                Err(panic) => Outcome::Panicked(panic_message(panic.as_ref()).to_owned()),
            })
        })
        .await
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_ends_by_itself_or_is_aborted_whenever_the_signal_comes() {
        let abort = Abort::default();
        assert_eq!(abort.clone().run(async { 5 }).await, Outcome::Done(5));
        let (_held, never) = oneshot::channel::<()>();
        let waiting = tokio::spawn(abort.clone().run(never));
        let (_also_held, never) = oneshot::channel::<()>();
        let mut busy = pin!(abort.clone().run(never));
        for _ in 0..3 {
            assert!(futures_util::poll!(busy.as_mut()).is_pending());
        }
        tokio::task::yield_now().await;
        abort.trigger();
        assert_eq!(waiting.await.unwrap(), Outcome::Aborted);
        assert_eq!(busy.await, Outcome::Aborted);
        assert_eq!(abort.run(async { 5 }).await, Outcome::Aborted, "too late");
    }

    #[tokio::test]
    async fn a_panic_is_told_in_its_own_words() {
        let panicking = async { panic!("oh {}", 7) };
        let ended: Outcome<()> = Abort::default().run(panicking).await;
        assert_eq!(ended, Outcome::Panicked("oh 7".to_owned()));
    }
}
