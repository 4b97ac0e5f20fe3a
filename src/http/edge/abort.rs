//! The moment at which a node waits no longer for what still runs.

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

/// Tells tasks that they are not waited for any more. Clones are one.
///
/// A token that is cheap to run under: a connection's task runs for every message, and asks only a flag.
#[derive(Clone, Default, Debug)]
pub(crate) struct Cut {
    token: CancellationToken,
    done: Arc<AtomicBool>,
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<T> {
    /// By itself.
    Done(T),
    /// By the cut.
    Cut,
    /// By a panic with these words.
    Panicked(String),
}

impl Cut {
    /// Now.
    pub(crate) fn now(&self) {
        self.done.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Runs a task until it ends, or until the cut, which drops it.
    pub(crate) async fn end<T>(self, task: impl Future<Output = T>) -> Outcome<T> {
        let mut task = pin!(AssertUnwindSafe(task).catch_unwind());
        let mut cut = pin!(self.token.cancelled());
        let mut told: Option<Waker> = None;
        poll_fn(|cx| {
            let known = told.as_ref().is_some_and(|told| told.will_wake(cx.waker()));
            if !known || self.done.load(Ordering::Acquire) {
                if cut.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Outcome::Cut);
                }
                told = Some(cx.waker().clone());
            }
            task.as_mut().poll(cx).map(|ended| match ended {
                Ok(done) => Outcome::Done(done),
                Err(panic) => Outcome::Panicked(words(panic.as_ref()).to_owned()),
            })
        })
        .await
    }
}

/// What a panic says.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_ends_by_itself_or_by_the_cut_whenever_that_comes() {
        let cut = Cut::default();
        assert_eq!(cut.clone().end(async { 5 }).await, Outcome::Done(5));
        let (_held, never) = oneshot::channel::<()>();
        let waiting = tokio::spawn(cut.clone().end(never));
        let (_also_held, never) = oneshot::channel::<()>();
        let mut busy = pin!(cut.clone().end(never));
        for _ in 0..3 {
            assert!(futures_util::poll!(busy.as_mut()).is_pending());
        }
        tokio::task::yield_now().await;
        cut.now();
        assert_eq!(waiting.await.unwrap(), Outcome::Cut);
        assert_eq!(busy.await, Outcome::Cut);
        assert_eq!(cut.end(async { 5 }).await, Outcome::Cut, "too late");
    }

    #[tokio::test]
    async fn a_panic_is_told_in_its_own_words() {
        let panicking = async { panic!("oh {}", 7) };
        let ended: Outcome<()> = Cut::default().end(panicking).await;
        assert_eq!(ended, Outcome::Panicked("oh 7".to_owned()));
    }
}
