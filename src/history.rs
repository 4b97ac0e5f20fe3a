//! The history that this node's backlog no longer holds, read from the database for clients that were away.
//!
//! Two readers: the *oplog*, through a bounded number of change streams that clients share, and the *archive*
//! (the collection `events`), page by page, for what the oplog has lost. A client whose cursor is older than the
//! backlog waits for an oplog reader; clients that wait for overlapping stretches share one. A reader ends at the
//! router's position, and extends the backlog by what it read from before it, so that ten thousand cursors after a
//! restart cost a handful of streams. A client that takes too long is dropped from its reader, and asks again from where it is.

mod archive;
mod oplog;
mod waiting;

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::archive::{ArchiveReader, DeliveredIds, Seam};
use self::{
    archive::{Archive, Guard},
    oplog::{BacklogExtension, begin},
    waiting::{Tenant, Waiting},
};
use crate::{
    budget::ByteBudget,
    config,
    position::Position,
    router::{PastBatch, RouterHandle},
    store::Store,
    telemetry::{Health, Metrics},
    turns::Turns,
};

/// Requests that may wait for the readers' task to take them in.
const REQUESTS_AHEAD: usize = 1_024;
/// A client that has waited for this fraction of `replay_wait` no longer stands behind those with newer cursors.
const TURN_DIVISOR: u32 = 4;
/// Clients that come within this time of the first are served together.
const GATHER: Duration = Duration::from_millis(50);
/// Batches read ahead of a client.
const BATCHES_AHEAD: usize = 4;
/// The time for which one client may hold up the others of its group.
const PATIENCE: Duration = Duration::from_secs(1);
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
    /// The tenant whose turn at a reader it waits for.
    tenant: Tenant,
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
    /// Returns a reader of the oplog that shows everything after `from`. Tenants take turns at readers.
    pub(crate) async fn oplog_after(
        &self,
        tenant: Option<Box<str>>,
        from: Position,
    ) -> Result<OplogShare, Refusal> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            let since = Instant::now();
            let request = ReplayRequest {
                tenant,
                from,
                since,
                reply,
            };
            self.requests.send(request).await.ok()?;
            answer.await.ok()
        };
        timeout(self.wait, answered)
            .await
            .ok()
            .flatten()
            .unwrap_or(Err(Refusal::Busy))
    }

    /// Returns a reader of the archived events after `from` that the oplog has lost, `to` at most. Tenants take turns at
    /// reading.
    pub(crate) async fn archive_after(
        &self,
        tenant: Option<Box<str>>,
        from: Position,
        to: Position,
    ) -> Result<ArchiveReader, Refusal> {
        let archive = Archive {
            tenant,
            ..self.archive.clone()
        };
        archive.open(from, to).await
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
    /// True if callers have to prove themselves, so that rights may be taken away.
    pub guarded: bool,
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
            turns: Turns::new(context.settings.replay_streams.max(1)),
            tenant: None,
            wait: context.settings.replay_wait,
            guard: context.guarded.then(|| Guard {
                health: context.health.clone(),
                router: context.router.clone(),
            }),
        },
    };
    (history, run(context, inbox))
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

/// The readers of the oplog that run.
struct Running {
    readers: JoinSet<Option<Position>>,
    /// The tenants in whose turn they were started.
    tenants: HashMap<task::Id, Tenant>,
    most: usize,
}

impl Running {
    fn new(most: usize) -> Self {
        Self {
            readers: JoinSet::new(),
            tenants: HashMap::new(),
            most,
        }
    }

    fn has_room(&self) -> bool {
        self.readers.len() < self.most
    }

    /// Whether a tenant may have one more reader. One tenant does not have them all: a stretch may take minutes.
    fn may_have_one(&self, tenant: &Tenant) -> bool {
        let own = self.tenants.values().filter(|other| *other == tenant);
        tenant.is_none() || own.count() < (self.most - 1).max(1)
    }

    fn spawn(
        &mut self,
        tenant: Tenant,
        reader: impl Future<Output = Option<Position>> + Send + 'static,
    ) {
        let id = self.readers.spawn(reader).id();
        self.tenants.insert(id, tenant);
    }

    /// Waits for the end of a reader. `None` if none runs.
    async fn next(&mut self) -> Option<Result<Option<Position>, JoinError>> {
        let ended = self.readers.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        self.tenants.remove(&id);
        Some(ended.map(|(_, backlog_start)| backlog_start))
    }
}

/// Groups the clients that wait, and starts an oplog reader for each group.
async fn run(context: HistoryContext, mut requests: mpsc::Receiver<ReplayRequest>) {
    let streams = context.settings.replay_streams.max(1);
    let turn = context.settings.replay_wait / TURN_DIVISOR;
    // At most half of the streams serve those who have waited for long: theirs are the long stretches, and those
    // with the newest cursors are not to wait behind them either.
    let for_the_longest = Arc::new(Semaphore::new((streams / 2).max(1)));
    let mut waiting = Waiting::default();
    let mut running = Running::new(streams);
    let mut start_at = Instant::now();
    loop {
        let may_start = running.has_room() && waiting.any_of(|tenant| running.may_have_one(tenant));
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => {
                    if waiting.is_empty() {
                        start_at = Instant::now() + GATHER;
                    }
                    if let Err(refused) = waiting.add(request) {
                        refuse(std::iter::once(refused), Refusal::Busy);
                    }
                }
                None => return,
            },
            () = sleep_until(start_at), if may_start => {
                waiting.forget_those_who_left();
                let permit = Arc::clone(&for_the_longest).try_acquire_owned().ok();
                let turn = permit.is_some().then_some(turn);
                let group = waiting.take_group(|tenant| running.may_have_one(tenant), turn);
                if let Some(group) = group {
                    let permit = permit.filter(|_| group.is_late);
                    let context = context.clone();
                    running.spawn(group.tenant, async move {
                        let backlog_start = serve(context, group.requests).await;
                        drop(permit);
                        backlog_start
                    });
                }
            }
            Some(ended) = running.next() => match ended {
                Ok(Some(backlog_start)) => send_to_backlog(&mut waiting, backlog_start),
                Ok(None) => {}
                // Its clients find their readers closed, and ask again.
                Err(error) => {
                    tracing::error!(%error, "a reader of the oplog panicked");
                    context.metrics.http.client_task_panicked("reader");
                }
            },
        }
    }
}

/// Answers those whose stretch is in the backlog by now with a reader that has nothing to read: they ask the router
/// again.
fn send_to_backlog(waiting: &mut Waiting, backlog_start: Position) {
    for request in waiting.take_from(backlog_start) {
        let (_, receiver) = mpsc::channel(1);
        if request.reply.send(Ok(OplogShare(receiver))).is_err() {
            tracing::trace!("the client left before its replay began");
        }
    }
}

/// Reads one stretch of the oplog for a group. Returns the start of the backlog once that is extended, if it is.
async fn serve(context: HistoryContext, mut group: Vec<ReplayRequest>) -> Option<Position> {
    group.sort_unstable_by_key(|request| request.from);
    let budget = ByteBudget::on(Arc::clone(&context.metrics.delivery.outbox_bytes));
    let mut stream = match begin(&context, &group).await {
        Ok((stream, first)) => {
            refuse(group.drain(..first), Refusal::Lost);
            stream
        }
        Err(refusal) => {
            refuse(group.drain(..), refusal);
            return None;
        }
    };
    let mut extension = BacklogExtension::new(stream.from, context.settings.window_bytes);
    let mut members = Vec::new();
    for request in group {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        if request.reply.send(Ok(OplogShare(receiver))).is_ok() {
            members.push(sender);
        }
    }
    while !members.is_empty() {
        let Some(batch) = stream.next().await else {
            return extension.hand_over(&context.router).await;
        };
        batch.charge_to_waiting(&budget);
        extension.add(&batch);
        hand_out(&batch, &mut members).await;
    }
    None
}

/// Gives a batch to every member; drops those that do not take it in time.
async fn hand_out(batch: &Arc<PastBatch>, members: &mut Vec<mpsc::Sender<Arc<PastBatch>>>) {
    let deadline = sleep(PATIENCE);
    tokio::pin!(deadline);
    let mut staying = Vec::with_capacity(members.len());
    for member in members.drain(..) {
        let taken = tokio::select! {
            biased;
            sent = member.send(Arc::clone(batch)) => sent.is_ok(),
            () = &mut deadline => false,
        };
        if taken {
            staying.push(member);
        }
    }
    *members = staying;
}

/// Answers clients that get no reader.
fn refuse(requests: impl Iterator<Item = ReplayRequest>, refusal: Refusal) {
    for request in requests {
        if request.reply.send(Err(refusal)).is_err() {
            tracing::trace!("the client left before its replay began");
        }
    }
}
