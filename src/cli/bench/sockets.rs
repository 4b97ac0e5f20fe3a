//! The connections of a run.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{plan::Plan, progress::Progress};
use crate::client::{
    Client,
    counting::{self, Receiver, SocketEnd, Tally},
};

/// How long open sockets may wait for their greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// Open sockets, each read by a task of its own.
pub(super) struct Sockets {
    tasks: JoinSet<SocketEnd>,
    pub(super) tally: Arc<Tally>,
    pub(super) opened: u64,
    /// Why others could not be opened, and how many.
    pub(super) refused: BTreeMap<String, u64>,
    /// How those that were open ended.
    pub(super) ended: BTreeMap<SocketEnd, u64>,
    /// How long opening took.
    pub(super) opening: Duration,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            tally: Arc::default(),
            opened: 0,
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            opening: Duration::ZERO,
        }
    }

    /// Opens those of the plan, so many at a time, and waits until each was greeted: from then on
    /// all that is published is for them.
    pub(super) async fn open(
        &mut self,
        plan: &Plan,
        client: &Client,
        ids: &[String],
        stop: &CancellationToken,
        progress: &Progress,
    ) {
        let began = Instant::now();
        let host = client.host();
        let opening = stream::iter((0..plan.connections).zip(ids.iter().cycle()))
            .take_until(stop.cancelled())
            .map(|(number, id)| {
                let path = client.path(&["subscriptions", id, "events"]);
                let host = &host;
                async move { (number, counting::open(host, &path).await) }
            })
            .buffer_unordered(usize::from(plan.opening));
        let mut opening = std::pin::pin!(opening);
        while let Some((number, opened)) = opening.next().await {
            match opened {
                Ok((stream, first)) => {
                    let receiver = Receiver::new(Arc::clone(&self.tally), u64::from(number));
                    self.tasks.spawn(receiver.read(stream, first));
                    self.opened += 1;
                }
                Err(reason) => *self.refused.entry(reason).or_default() += 1,
            }
            progress.say(&format!(
                "connecting, {} of {}",
                self.opened, plan.connections
            ));
        }
        while self.tally.connected.load(Relaxed) < self.opened
            && began.elapsed() < self.opening + GREETING_TIMEOUT
            && !stop.is_cancelled()
            && self.open_now() > 0
        {
            tokio::time::sleep(LOOK).await;
        }
        self.opening = began.elapsed();
    }

    /// How many are open; notes those that are no longer.
    pub(super) fn open_now(&mut self) -> u64 {
        while let Some(ended) = self.tasks.try_join_next() {
            let end = ended.unwrap_or_else(|error| SocketEnd::Broken(error.to_string()));
            *self.ended.entry(end).or_default() += 1;
        }
        self.tasks.len() as u64
    }

    /// Closes them all, without a farewell.
    pub(super) async fn close(&mut self) {
        self.tasks.shutdown().await;
    }
}
