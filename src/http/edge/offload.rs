//! Long computations, away from the threads that serve sockets, and few at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    failure::internal,
    problem::{Kind, Problem},
};

/// How long a request waits for its turn before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bodies up to this size are read on the spot: that is quicker than handing them over.
const ON_THE_SPOT_BYTES: usize = 64 << 10;

/// Room for so many of one kind of work at once.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    /// What is done so many times, for people.
    of: &'static str,
}

impl Turns {
    /// So many at once `of` something.
    pub(crate) fn new(most: usize, of: &'static str) -> Self {
        let free = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { free, of }
    }

    /// Waits for a turn; a refusal where none is free in time.
    pub(crate) async fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(closed)) => Err(internal(&closed)),
            Err(_) => Err(Problem::new(
                Kind::Overloaded,
                format!(
                    "this node has as many {} under way as it may; try again",
                    self.of
                ),
            )),
        }
    }

    /// Does work on a thread of its own, in its turn. A panic in it is the caller's. Where the caller
    /// leaves, the turn is not over before the work is.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.take().await?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(internal(&error)),
        }
    }

    /// Does work that grows with a body of so many bytes: aside, unless there are few.
    pub(crate) async fn for_bytes<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= ON_THE_SPOT_BYTES {
            return Ok(work());
        }
        self.aside(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_its_turn_and_not_for_ever() {
        let turns = Turns::new(1, "tests");
        let turn = turns.take().await.unwrap();
        let refused = turns.aside(|| 1).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Overloaded);
        assert_eq!(turns.for_bytes(1, || 2).await.unwrap(), 2);
        drop(turn);
        assert_eq!(turns.aside(|| 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_turn_is_given_back() {
        let turns = Turns::new(1, "tests");
        for _ in 0..3 {
            let turns = turns.clone();
            let work = tokio::spawn(async move { turns.aside(|| panic!("on purpose")).await });
            assert!(work.await.unwrap_err().is_panic());
        }
    }
}
