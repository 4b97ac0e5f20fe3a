//! The moment at which a node waits no longer for what still runs.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use tokio_util::sync::CancellationToken;

/// Tells tasks that they are not waited for any more. Clones are one.
///
/// A token that is cheap to run under: a connection's task runs for every message, and asks only a flag.
#[derive(Clone, Default, Debug)]
pub struct Cut {
    token: CancellationToken,
    done: Arc<AtomicBool>,
}

impl Cut {
    /// Now.
    pub fn now(&self) {
        self.done.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Runs a task until it ends, or until the cut, which drops it.
    pub async fn end<T>(self, task: impl Future<Output = T>) -> Option<T> {
        let mut task = pin!(task);
        let mut cut = pin!(self.token.cancelled());
        let mut told: Option<Waker> = None;
        poll_fn(|cx| {
            let known = told.as_ref().is_some_and(|told| told.will_wake(cx.waker()));
            if !known || self.done.load(Ordering::Acquire) {
                if cut.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                told = Some(cx.waker().clone());
            }
            task.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_ends_by_itself_or_by_the_cut_whenever_that_comes() {
        let cut = Cut::default();
        assert_eq!(cut.clone().end(async { 5 }).await, Some(5));
        let (_held, never) = oneshot::channel::<()>();
        let waiting = tokio::spawn(cut.clone().end(never));
        let (_also_held, never) = oneshot::channel::<()>();
        let mut busy = pin!(cut.clone().end(never));
        for _ in 0..3 {
            assert!(futures_util::poll!(busy.as_mut()).is_pending());
        }
        tokio::task::yield_now().await;
        cut.now();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(busy.await, None);
        assert_eq!(cut.end(async { 5 }).await, None, "too late");
    }
}
