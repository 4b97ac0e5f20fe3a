//! The task that follows deletes and writes receipts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Message, PATIENCE, Teardown,
    following::{Following, Number},
    memory::Memory,
    waiting::Waiting,
};
use crate::{
    config,
    position::Position,
    retry_writer::{PendingWrite, answer, finished, write_with_retries},
    store::{Receipt, Store},
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
    memory: Memory,
    following: Following,
    waiting: Waiting,
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
            memory: Memory::default(),
            following: Following::default(),
            waiting: Waiting::default(),
            writing: None,
            numbered: 0,
            waiters: Vec::new(),
        }
    }

    /// Takes messages, follows and writes until every handle is gone.
    pub(super) async fn run(mut self, mut received: mpsc::Receiver<Message>) {
        loop {
            tokio::select! {
                message = received.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                (number, receipt) = self.following.next() => self.on_counted(number, receipt),
                of = finished(&mut self.writing) => self.waiting.settle(&of),
            }
            if self.writing.is_none() && !self.waiting.is_empty() {
                self.begin_to_write();
            }
            if self.following.is_empty() && self.waiting.is_empty() && self.writing.is_none() {
                self.waiters.drain(..).for_each(|waiter| answer(waiter, ()));
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Loaded(at) => self.memory.loaded(at),
            Message::Deleted(teardown, decided) => self.on_deleted(teardown, decided),
            Message::Recalled(id, deletion) => self.memory.add(id, deletion),
            Message::RecalledSince(since) => self.memory.recalled_since(since),
            Message::Find(id, reply) => answer(reply, self.memory.find(&id)),
            Message::Unsettled(reply) => answer(reply, self.waiting.unsettled()),
            Message::Written(reply) => self.waiters.push(reply),
        }
    }

    fn on_deleted(&mut self, teardown: Teardown, decided: Instant) {
        self.memory
            .add(teardown.subscription.clone(), teardown.deletion);
        if teardown.connections.is_empty() {
            return;
        }
        self.numbered += 1;
        self.waiting.owe(teardown.deletion.at, self.numbered);
        let patience = self.close_timeout + PATIENCE;
        self.following
            .begin(self.numbered, teardown, decided, patience);
    }

    fn on_counted(&mut self, number: Number, receipt: Receipt) {
        if self.waiting.add(number, receipt) {
            tracing::error!("giving up a receipt: too many wait to be written");
            self.metrics.receipts.lost.inc();
        }
    }

    fn begin_to_write(&mut self) {
        let taken = self.waiting.take();
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
