//! The task that follows deletes and writes receipts.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::DateTime;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::oneshot, time::timeout};

use super::{
    CLOSE_GRACE, Request,
    queue::{Number, ReceiptQueue},
    recent_deletes::RecentDeletes,
};
use crate::{
    config,
    position::Position,
    retry_writer::{PendingWrite, answer, finished, write_with_retries},
    router::{EndedRight, Observed, ObserverInbox, ObserverInput, registry::Closed},
    store::{Deletion, Receipt, Store},
    telemetry::{Health, Metrics, Part},
};

/// The state of the task that writes receipts.
pub(super) struct Writer {
    store: Store,
    node: Arc<str>,
    metrics: Arc<Metrics>,
    health: Health,
    close_timeout: Duration,
    retry: std::ops::Range<Duration>,
    recent: RecentDeletes,
    closing: ClosingDeletes,
    queue: ReceiptQueue,
    writing: Option<PendingWrite<Vec<(Position, Number)>>>,
    numbered: Number,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        node: String,
        config: &config::Config,
        metrics: Arc<Metrics>,
        health: Health,
    ) -> Self {
        Self {
            store,
            node: node.into(),
            metrics,
            health,
            close_timeout: config.socket.close_timeout,
            retry: config.feed.retry_min..config.feed.retry_max,
            recent: RecentDeletes::default(),
            closing: ClosingDeletes::default(),
            queue: ReceiptQueue::default(),
            writing: None,
            numbered: 0,
            waiters: Vec::new(),
        }
    }

    /// Takes observations and requests, follows deletes and writes, until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: ObserverInbox<Request>) {
        loop {
            tokio::select! {
                input = inbox.next() => match input {
                    Some(ObserverInput::Observed(observed)) => self.observe(observed),
                    Some(ObserverInput::Request(request)) => self.take(request),
                    None => return,
                },
                (number, receipt) = self.closing.next() => self.on_counted(number, receipt),
                of = finished(&mut self.writing) => self.queue.settle(&of),
            }
            if self.writing.is_none() && !self.queue.is_empty() {
                self.begin_to_write();
            }
            if self.closing.is_empty() && self.queue.is_empty() && self.writing.is_none() {
                self.waiters.drain(..).for_each(|waiter| answer(waiter, ()));
            }
        }
    }

    fn observe(&mut self, observed: Observed) {
        match observed {
            Observed::Loaded(at) => self.recent.loaded(at),
            Observed::Ended(ended) => self.on_ended(ended),
            Observed::RevocationGone(right, holder, at) => self.recent.keep(right, holder, at),
            Observed::BecameDurable(..)
            | Observed::DurableEnded(..)
            | Observed::DurableReplaced(..)
            | Observed::PositionsLost => {}
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::AddOld(right, deletion) => self.recent.add(right, deletion, None),
            Request::OldAddedSince(since) => self.recent.old_added_since(since),
            Request::Find(right, reply) => answer(reply, self.recent.find(&right)),
            Request::Unsettled(reply) => answer(reply, self.queue.unsettled()),
            Request::WaitWritten(reply) => self.waiters.push(reply),
        }
    }

    fn on_ended(&mut self, ended: EndedRight) {
        let deletion = Deletion {
            at: ended.at,
            wall_time: ended.wall_time,
            ending: Some(ended.ending),
        };
        let holder = ended.holder;
        self.recent
            .add(ended.right.clone(), deletion, holder.clone());
        if ended.closed.is_empty() {
            return;
        }
        self.numbered += 1;
        self.queue.expect(deletion.at, self.numbered);
        let receipt = Receipt {
            right: ended.right,
            holder,
            deletion,
            connections: ended.closed.len(),
            decided: ended.decided,
            closed: 0,
            counted: ended.decided,
        };
        let patience = self.close_timeout + CLOSE_GRACE;
        self.closing
            .follow(self.numbered, receipt, ended.closed, patience);
    }

    fn on_counted(&mut self, number: Number, receipt: Receipt) {
        if let Some(took) = took(&receipt) {
            let right = receipt.right.kind.as_str();
            self.metrics.receipts.torn_down(right, took);
        }
        if self.queue.add(number, receipt) {
            tracing::error!("giving up a receipt: too many wait to be written");
            self.metrics.receipts.lost.inc();
        }
    }

    fn begin_to_write(&mut self) {
        let taken = self.queue.take();
        let of = taken
            .iter()
            .map(|(number, receipt)| (receipt.deletion.at, *number));
        let of = of.collect();
        let receipts: Vec<Receipt> = taken.into_iter().map(|(_, receipt)| receipt).collect();
        let (store, node, retry) = (
            self.store.clone(),
            Arc::clone(&self.node),
            self.retry.clone(),
        );
        let (metrics, health) = (Arc::clone(&self.metrics), self.health.clone());
        let done = async move {
            let write = || store.write_receipts(&node, &receipts);
            write_with_retries(&health, Part::Receipts, retry, write).await;
            let written = u64::try_from(receipts.len()).unwrap_or(u64::MAX);
            metrics.receipts.written.inc_by(written);
        };
        self.writing = Some(PendingWrite::new(of, done));
    }
}

type Follow = Pin<Box<dyn Future<Output = (Number, Receipt, Arc<[Closed]>)> + Send>>;

/// The deletes whose connections are not all closed.
#[derive(Default)]
struct ClosingDeletes(FuturesUnordered<Follow>);

impl ClosingDeletes {
    /// Follows a delete until all its connections are closed, `patience` at most. Then its receipt is due, with the count
    /// of those that are closed.
    fn follow(
        &mut self,
        number: Number,
        receipt: Receipt,
        connections: Arc<[Closed]>,
        patience: Duration,
    ) {
        self.0.push(Box::pin(async move {
            let all = timeout(patience, all_closed(&connections)).await;
            if all.is_err() {
                tracing::warn!("connections of a right that has ended did not close in time");
            }
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// Follows the rest of a delete for as long as it takes.
    fn follow_rest(&mut self, number: Number, receipt: Receipt, connections: Arc<[Closed]>) {
        self.0.push(Box::pin(async move {
            all_closed(&connections).await;
            let receipt = counted(receipt, &connections);
            (number, receipt, connections)
        }));
    }

    /// Returns the next receipt that is due. Never returns if nothing is followed.
    async fn next(&mut self) -> (Number, Receipt) {
        let Some((number, receipt, connections)) = self.0.next().await else {
            return std::future::pending().await;
        };
        if receipt.closed < receipt.connections {
            self.follow_rest(number, receipt.clone(), connections);
        }
        (number, receipt)
    }

    /// Whether nothing is followed.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn all_closed(connections: &[Closed]) {
    for connection in connections {
        connection.closed().await;
    }
}

fn counted(mut receipt: Receipt, connections: &[Closed]) -> Receipt {
    let closed = connections.iter().filter(|closed| closed.is_closed());
    receipt.closed = closed.count();
    receipt.counted = Instant::now();
    receipt
}

/// Returns the time from the commit that ended a right to the close of its last connection; `None` before that, and if the
/// commit was not seen. It is between two clocks: one that is wrong shows.
fn took(receipt: &Receipt) -> Option<Duration> {
    let committed = receipt.deletion.wall_time?;
    if receipt.closed < receipt.connections {
        return None;
    }
    let millis = DateTime::now().timestamp_millis() - committed.timestamp_millis();
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    Some(since.saturating_sub(receipt.counted.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Right, protocol::Ending};
    use bson::Timestamp;

    #[test]
    fn a_teardown_takes_until_its_last_connection_is_closed() {
        let receipt = |closed, wall_time| Receipt {
            right: Right::subscription("a"),
            holder: None,
            deletion: Deletion {
                at: Position::at(Timestamp {
                    time: 1,
                    increment: 0,
                }),
                wall_time,
                ending: Some(Ending::Deleted),
            },
            connections: 2,
            decided: Instant::now(),
            closed,
            counted: Instant::now(),
        };
        let hour = 3_600_000;
        let earlier = DateTime::from_millis(DateTime::now().timestamp_millis() - hour);
        let later = DateTime::from_millis(DateTime::now().timestamp_millis() + hour);
        assert_eq!(took(&receipt(1, Some(earlier))), None);
        assert_eq!(took(&receipt(2, None)), None);
        assert!(took(&receipt(2, Some(earlier))) > Some(Duration::from_mins(50)));
        // The server's clock is ahead of ours.
        assert_eq!(took(&receipt(2, Some(later))), Some(Duration::ZERO));
    }
}
