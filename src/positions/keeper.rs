//! The task that owns the positions.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, sleep_until},
};

use super::{
    Everything, Message,
    pending::{Pending, Work},
};
use crate::{
    config,
    store::Store,
    telemetry::{Health, Metrics, Part},
};

/// A write that goes on until it succeeds.
struct Writing {
    done: Pin<Box<dyn Future<Output = ()> + Send>>,
    structural: bool,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The task's state.
pub(super) struct Keeper {
    store: Store,
    metrics: Arc<Metrics>,
    health: Health,
    ack_delay: Duration,
    retry: std::ops::Range<Duration>,
    pending: Pending,
    /// When the next write begins.
    due: Option<Instant>,
    writing: Option<Writing>,
}

impl Keeper {
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
                () = written(&mut self.writing) => self.on_written(),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Begun(id, at) => {
                self.pending.begun(id, at);
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
            Message::Whole(ids, at) => {
                self.pending.whole(ids, at);
                self.write_within(Duration::ZERO);
            }
            Message::Acknowledged(id, at) => {
                if self.pending.acknowledged(&id, at) {
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
            Some(writing) if all || writing.structural => writing.waiters.push(reply),
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
        let done = Box::pin(async move {
            let mut pause = retry.start;
            while let Err(error) = store.write_positions(&changes).await {
                if health.report(Part::Positions, "behind", Some(error.to_string())) {
                    tracing::warn!(%error, "positions cannot be written yet");
                }
                let jitter = rand::rng().random_range(0.5..1.0);
                sleep(pause.mul_f64(jitter)).await;
                pause = (pause * 2).min(retry.end);
            }
            health.report(Part::Positions, "up", None);
            metrics.position_writes.inc();
        });
        self.writing = Some(Writing {
            done,
            structural,
            waiters,
        });
    }

    fn on_written(&mut self) {
        for waiter in self.writing.take().into_iter().flat_map(|w| w.waiters) {
            answer(waiter, ());
        }
    }
}

/// Waits for the write that is under way; for ever if there is none.
async fn written(writing: &mut Option<Writing>) {
    match writing {
        Some(writing) => writing.done.as_mut().await,
        None => std::future::pending().await,
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("the asker has gone");
    }
}
