//! The history that this node's backlog no longer holds, read from the database for clients that were away.
//!
//! Two readers: the *oplog*, through a bounded number of change streams that clients share, and the *archive*
//! (the collection `events`), page by page, for what the oplog has lost. A client whose cursor is older than the
//! backlog waits for an oplog reader; clients that wait for overlapping stretches share one. A reader ends at the
//! router's position, and extends the backlog by what it read from before it, so that ten thousand cursors after a
//! restart cost a handful of streams. A client that takes too long is dropped from its reader, and asks again from where it is.

mod archive;
mod oplog;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::archive::{ArchiveReader, DeliveredIds, Seam};
use self::{
    archive::Archive,
    oplog::{BacklogExtension, begin},
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
/// Clients that may wait for a stream. More are refused as busy, and come back.
const WAITING_REQUESTS: usize = 32_768;
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
            feed: context.guarded.then(|| context.health.clone()),
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

/// Groups the clients that wait, and starts an oplog reader for each group.
async fn run(context: HistoryContext, mut requests: mpsc::Receiver<ReplayRequest>) {
    let streams = context.settings.replay_streams.max(1);
    let turn = context.settings.replay_wait / TURN_DIVISOR;
    // At most half of the streams serve those who have waited for long: theirs are the long stretches, and those
    // with the newest cursors are not to wait behind them either.
    let for_the_longest = Arc::new(Semaphore::new((streams / 2).max(1)));
    let mut waiting: Vec<ReplayRequest> = Vec::new();
    let mut running = JoinSet::new();
    let mut start_at = Instant::now();
    loop {
        let free = running.len() < streams;
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => {
                    if waiting.is_empty() {
                        start_at = Instant::now() + GATHER;
                    }
                    take_in(request, &mut waiting);
                }
                None => return,
            },
            () = sleep_until(start_at), if free && !waiting.is_empty() => {
                waiting.retain(|request| !request.reply.is_closed());
                let permit = Arc::clone(&for_the_longest).try_acquire_owned().ok();
                let longest = permit.is_some().then(|| longest(&waiting, turn)).flatten();
                let permit = permit.filter(|_| longest.is_some());
                let group = take_group(&mut waiting, longest);
                if !group.is_empty() {
                    let context = context.clone();
                    running.spawn(async move {
                        let backlog_start = serve(context, group).await;
                        drop(permit);
                        backlog_start
                    });
                }
            }
            Some(ended) = running.join_next() => match ended {
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

/// Lets a request wait, unless too many do whose clients still want an answer.
fn take_in(request: ReplayRequest, waiting: &mut Vec<ReplayRequest>) {
    if waiting.len() >= WAITING_REQUESTS {
        waiting.retain(|request| !request.reply.is_closed());
    }
    if waiting.len() < WAITING_REQUESTS {
        waiting.push(request);
    } else {
        refuse(std::iter::once(request), Refusal::Busy);
    }
}

/// Returns the position of the client that has waited longest, if that is longer than a turn.
fn longest(waiting: &[ReplayRequest], turn: Duration) -> Option<Position> {
    let first = waiting.iter().min_by_key(|request| request.since)?;
    (first.since.elapsed() > turn).then_some(first.from)
}

/// Takes the clients that are best served together: one of them, and all whose stretch is not much longer or
/// shorter. A client that was away for days does not hold up those that were away for a minute. The one is the client
/// that goes on at `longest`, if somebody has waited too long, else the one with the newest cursor.
fn take_group(waiting: &mut Vec<ReplayRequest>, longest: Option<Position>) -> Vec<ReplayRequest> {
    const AT_LEAST: u32 = 60;
    let now = u32::try_from(bson::DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let away = |from: Position| now.saturating_sub(from.cluster_time().time);
    let shortest = waiting.iter().map(|request| away(request.from)).min();
    let Some(one) = longest.map(away).or(shortest) else {
        return Vec::new();
    };
    let together = one / 2..=one.saturating_mul(2).saturating_add(AT_LEAST);
    let (group, rest) = waiting
        .drain(..)
        .partition(|request| together.contains(&away(request.from)));
    *waiting = rest;
    group
}

/// Answers those whose stretch is in the backlog by now with a reader that has nothing to read: they ask the router
/// again.
fn send_to_backlog(waiting: &mut Vec<ReplayRequest>, backlog_start: Position) {
    for request in waiting.extract_if(.., |request| request.from >= backlog_start) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp};
    use tokio::{sync::oneshot, time::Instant};

    /// Checks which clients go together, of those that were away for so many seconds.
    fn check(away: &[u32], longest: Option<u32>, expected: &[u32]) {
        let now = u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap();
        let from = |away: u32| {
            Position::at(Timestamp {
                time: now - away,
                increment: 0,
            })
        };
        let request = |away: &u32| ReplayRequest {
            from: from(*away),
            since: Instant::now(),
            reply: oneshot::channel().0,
        };
        let mut waiting: Vec<ReplayRequest> = away.iter().map(request).collect();
        let group = take_group(&mut waiting, longest.map(from));
        let found: Vec<u32> = (group.iter())
            .map(|request| now - request.from.cluster_time().time)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(waiting.len(), away.len() - expected.len());
    }

    #[test]
    fn the_newest_go_first_until_one_has_waited_too_long() {
        let away = [10, 86_400, 100, 100_000, 30];
        check(&away, None, &[10, 30]);
        check(&away, Some(100_000), &[86_400, 100_000]);
        check(&away, Some(100), &[100]);
        check(&[], None, &[]);
    }
}
