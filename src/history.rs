//! The history that this node's backlog no longer holds, read from the database for clients that were away.
//!
//! Two readers: the *oplog*, through a bounded number of change streams that clients share, and the *archive*
//! (the collection `events`), page by page, for what the oplog has lost. A client whose cursor is older than the
//! backlog waits for an oplog reader; clients that wait for overlapping stretches share one. A reader ends where the
//! backlog begins, and extends the backlog by what it read, so that ten thousand cursors after a restart cost a
//! handful of streams. A client that takes too long is dropped from its reader, and asks again from where it is.

mod archive;
mod oplog;
mod readers;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};

use self::archive::Archive;
pub(crate) use self::archive::{ArchiveReader, DeliveredIds, Seam};
use crate::{
    config,
    position::Position,
    router::{PastBatch, RouterHandle},
    store::Store,
    telemetry::{Health, Metrics},
};

/// Requests that may wait for the readers' task to take them in.
const REQUESTS_AHEAD: usize = 1_024;
/// Attempts to read something, before the client is refused as busy.
const ATTEMPTS: u32 = 5;

/// The reason why there is no reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The oplog does not reach back so far.
    Lost,
    /// Not now: too many wait, or the database is unavailable.
    Busy,
}

/// A client's share of an oplog reader: batches in order, from its position on and perhaps a little before.
/// Closed at the end, or when the client was too slow: to go on, ask again.
#[derive(Debug)]
pub(crate) struct OplogShare(mpsc::Receiver<Arc<PastBatch>>);

impl OplogShare {
    /// Returns the next batch; `None` when the reader has ended.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<PastBatch>>> {
        self.0.poll_recv(cx)
    }
}

/// A client that waits for an oplog reader.
#[derive(Debug)]
struct ReplayRequest {
    from: Position,
    since: Instant,
    reply: oneshot::Sender<Result<OplogShare, Refusal>>,
}

/// A handle to the readers of a node.
#[derive(Clone, Debug)]
pub(crate) struct History {
    requests: mpsc::Sender<ReplayRequest>,
    wait: Duration,
    archive: Archive,
}

impl History {
    /// Returns a reader of the oplog that shows everything after `from`.
    pub(crate) async fn oplog_after(&self, from: Position) -> Result<OplogShare, Refusal> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            let since = Instant::now();
            let request = ReplayRequest { from, since, reply };
            self.requests.send(request).await.ok()?;
            answer.await.ok()
        };
        timeout(self.wait, answered)
            .await
            .ok()
            .flatten()
            .unwrap_or(Err(Refusal::Busy))
    }

    /// Returns a reader of the archived events after `from` that the oplog has lost, `to` at most.
    pub(crate) async fn archive_after(
        &self,
        from: Position,
        to: Position,
    ) -> Result<ArchiveReader, Refusal> {
        self.archive.clone().open(from, to).await
    }
}

/// Everything that readers work with.
#[derive(Clone, Debug)]
pub(crate) struct HistoryContext {
    pub store: Store,
    /// Knows how far the backlog reaches back, and takes what extends it.
    pub router: RouterHandle,
    pub settings: config::Feed,
    pub metrics: Arc<Metrics>,
    pub health: Health,
}

/// Returns the task that owns the readers, and the handle to it.
pub(crate) fn history(context: HistoryContext) -> (History, impl Future<Output = ()>) {
    let (sender, inbox) = mpsc::channel(REQUESTS_AHEAD);
    let history = History {
        requests: sender,
        wait: context.settings.replay_wait,
        archive: Archive {
            store: context.store.clone(),
            metrics: Arc::clone(&context.metrics),
            permits: Arc::new(Semaphore::new(context.settings.replay_streams.max(1))),
            wait: context.settings.replay_wait,
        },
    };
    (history, readers::run(context, inbox))
}

/// Waits until the database is available again, but not longer than `wait`.
async fn wait_available(store: &Store, wait: Duration) {
    if timeout(wait, store.availability().wait_primary())
        .await
        .is_err()
    {
        tracing::debug!("the database of the history is still unavailable");
    }
}
