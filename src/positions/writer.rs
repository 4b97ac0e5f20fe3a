//! The task that writes positions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::sleep_until};

use super::{
    Request, Scope,
    pending::{Pending, Work},
};
use crate::{
    config,
    retry_writer::{PendingWrite, answer, finished, write_with_retries},
    router::{Observed, ObserverInbox, ObserverInput},
    store::Store,
    telemetry::{Health, Metrics, Part},
};

/// The content of a write, and those who wait for its end.
struct Batch {
    structural: bool,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The state of the task that writes positions.
pub(super) struct Writer {
    store: Store,
    metrics: Arc<Metrics>,
    health: Health,
    ack_delay: Duration,
    retry: std::ops::Range<Duration>,
    pending: Pending,
    /// The time at which the next write begins.
    due: Option<Instant>,
    writing: Option<PendingWrite<Batch>>,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        settings: &config::Feed,
        metrics: Arc<Metrics>,
        health: Health,
    ) -> Self {
        Self {
            store,
            metrics,
            health,
            ack_delay: settings.ack_delay,
            retry: settings.retry_min..settings.retry_max,
            pending: Pending::default(),
            due: None,
            writing: None,
        }
    }

    /// Takes observations and requests, and writes, until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: ObserverInbox<Request>) {
        loop {
            let due = self.due.unwrap_or_else(Instant::now).into();
            tokio::select! {
                input = inbox.next() => match input {
                    Some(ObserverInput::Observed(observed)) => self.observe(observed),
                    Some(ObserverInput::Request(request)) => self.take(request),
                    None => return,
                },
                () = sleep_until(due), if self.due.is_some() && self.writing.is_none() => {
                    self.begin_to_write();
                }
                batch = finished(&mut self.writing) => {
                    batch.waiters.into_iter().for_each(|waiter| answer(waiter, ()));
                }
            }
        }
    }

    fn observe(&mut self, observed: Observed) {
        match observed {
            Observed::BecameDurable(incarnation, at) => self.pending.begun(incarnation, at),
            Observed::DurableEnded(id, at) => self.pending.ended(id, at),
            Observed::DurableReplaced(all, at) => self.pending.replaced(&all, at),
            Observed::PositionsLost => self.pending.lost(),
            // Other observations tell of those that were durable.
            Observed::Loaded(_) | Observed::Ended(_) | Observed::RevocationGone(..) => return,
        }
        self.write_within(Duration::ZERO);
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Acknowledge(incarnation, at) => {
                if self.pending.acknowledged(&incarnation, at) {
                    self.write_within(self.ack_delay);
                }
            }
            Request::Flush if self.due.is_some() => self.write_within(Duration::ZERO),
            Request::Flush => {}
            Request::Find(id, reply) => answer(reply, self.pending.known(&id)),
            Request::WaitWritten(scope, reply) => self.wait_written(scope, reply),
        }
    }

    fn write_within(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn wait_written(&mut self, scope: Scope, reply: oneshot::Sender<()>) {
        let all = scope == Scope::All;
        if self.pending.waits(all) {
            self.pending.add_waiter(reply);
            self.write_within(Duration::ZERO);
            return;
        }
        match &mut self.writing {
            Some(writing) if all || writing.of.structural => writing.of.waiters.push(reply),
            _ => answer(reply, ()),
        }
    }

    fn begin_to_write(&mut self) {
        self.due = None;
        let Work {
            changes,
            structural,
            waiters,
        } = self.pending.take();
        let (store, metrics, health, retry) = (
            self.store.clone(),
            Arc::clone(&self.metrics),
            self.health.clone(),
            self.retry.clone(),
        );
        let done = async move {
            let write = || store.write_positions(&changes);
            write_with_retries(&health, Part::Positions, retry, write).await;
            metrics.positions.writes.inc();
        };
        let batch = Batch {
            structural,
            waiters,
        };
        self.writing = Some(PendingWrite::new(batch, done));
    }
}
