//! The matching of an event of the past. A match that may take long runs on a thread that serves no sockets.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bson::{RawDocument, RawDocumentBuf};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::filter::{Filter, Steps, TooExpensive};

/// Bounds the matches that run on other threads at the same time, for all replays of the process.
static OFFLOADED: Semaphore = Semaphore::const_new(2);

/// The outcome of matching an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Matches,
    Not,
    TooExpensive,
    Panicked,
}

/// Matches an event on this thread; also returns the steps that it took.
pub(super) fn judge(filter: &Filter, document: &RawDocument) -> (Verdict, u64) {
    let mut steps = Steps::default();
    let matching = AssertUnwindSafe(|| {
        #[cfg(test)]
        crate::session::fault::strike_matching(document);
        filter.matches_within(document, &mut steps)
    });
    let verdict = match catch_unwind(matching) {
        Ok(Ok(true)) => Verdict::Matches,
        Ok(Ok(false)) => Verdict::Not,
        Ok(Err(TooExpensive)) => Verdict::TooExpensive,
        Err(_) => Verdict::Panicked,
    };
    (verdict, steps.spent())
}

/// Matches an event on a thread for blocking work, when its turn has come.
pub(super) async fn judge_offloaded(filter: Arc<Filter>, document: RawDocumentBuf) -> Verdict {
    // Held to the end of the work, even if nobody waits for it any more. (The semaphore is never closed.)
    let permit = OFFLOADED.acquire().await;
    let judging = spawn_blocking(move || {
        let (verdict, _) = judge(&filter, &document);
        drop(permit);
        verdict
    });
    judging.await.unwrap_or(Verdict::Panicked)
}
