//! The task that owns the positions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    Everything, Message,
    pending::{Pending, Work},
};
use crate::{
    config,
    retry_writer::{PendingWrite, answer, finished, write_with_retries},
    store::Store,
    telemetry::{Health, Metrics, Part},
};

/// What a write is of, and who waits for its end.
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
    /// When the next write begins.
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

    /// Takes messages and writes until every handle is gone.
    pub(super) async fn run(mut self, mut received: mpsc::Receiver<Message>) {
        loop {
            let due = self.due.unwrap_or_else(Instant::now).into();
            tokio::select! {
                message = received.recv() => match message {
                    Some(message) => self.take(message),
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

    fn take(&mut self, message: Message) {
        match message {
            Message::Begun(owner, at) => {
                self.pending.begun(owner, at);
                self.write_within(Duration::ZERO);
            }
            Message::Ended(id, at) => {
                self.pending.ended(id, at);
                self.write_within(Duration::ZERO);
            }
            Message::Lost => {
                self.pending.lost();
                self.write_within(Duration::ZERO);
            }
            Message::Whole(owners, at) => {
                self.pending.whole(owners, at);
                self.write_within(Duration::ZERO);
            }
            Message::Acknowledged(owner, at) => {
                if self.pending.acknowledged(&owner, at) {
                    self.write_within(self.ack_delay);
                }
            }
            Message::Flush if self.due.is_some() => self.write_within(Duration::ZERO),
            Message::Flush => {}
            Message::Known(id, reply) => answer(reply, self.pending.known(&id)),
            Message::Written(what, reply) => self.on_asked(what, reply),
        }
    }

    fn write_within(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn on_asked(&mut self, what: Everything, reply: oneshot::Sender<()>) {
        let all = what == Everything::All;
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
