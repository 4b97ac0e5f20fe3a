//! The connections of a run.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{plan::Plan, status_line::StatusLine};
use crate::client::{
    Client,
    counting::{self, Receiver, SocketEnd, Tally},
};

/// Time for the `connected` of all open sockets.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two looks at the counters.
const LOOK: Duration = Duration::from_millis(5);

/// The open sockets, each read by a task of its own.
pub(super) struct Sockets {
    tasks: JoinSet<SocketEnd>,
    pub(super) tally: Arc<Tally>,
    pub(super) opened: u64,
    /// The reasons for which sockets could not be opened, with counts.
    pub(super) refused: BTreeMap<String, u64>,
    /// The ends of open sockets, with counts.
    pub(super) ended: BTreeMap<SocketEnd, u64>,
    /// The time that opening took.
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

    /// Opens the sockets of the plan and waits until each got its `connected`. From then on each gets every event that
    /// it matches.
    pub(super) async fn open(
        &mut self,
        plan: &Plan,
        client: &Client,
        ids: &[String],
        stop: &CancellationToken,
        status: &StatusLine,
    ) {
        let began = Instant::now();
        let host = client.host();
        let connections = if ids.is_empty() { 0 } else { plan.connections };
        let opening = stream::iter(0..connections)
            .take_until(stop.cancelled())
            .map(|number| {
                let host = &host;
                async move { (number, open(host, client, plan, ids, number).await) }
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
            status.show(&format!(
                "connecting, {} of {}",
                self.opened, plan.connections
            ));
        }
        while self.tally.connected.load(Relaxed) < self.channels(plan)
            && self.tally.refused.load(Relaxed) == 0
            && began.elapsed() < self.opening + GREETING_TIMEOUT
            && !stop.is_cancelled()
            && self.open_now() > 0
        {
            tokio::time::sleep(LOOK).await;
        }
        self.opening = began.elapsed();
    }

    /// Counts the channels of the sockets that were opened, each of which gets a `connected`.
    pub(super) fn channels(&self, plan: &Plan) -> u64 {
        self.opened * u64::from(plan.handles.unwrap_or(1))
    }

    /// Counts the sockets that are open, and notes the ends of the others.
    pub(super) fn open_now(&mut self) -> u64 {
        while let Some(ended) = self.tasks.try_join_next() {
            let end = ended.unwrap_or_else(|error| SocketEnd::Broken(error.to_string()));
            *self.ended.entry(end).or_default() += 1;
        }
        self.tasks.len() as u64
    }

    /// Drops all sockets, without a close frame.
    pub(super) async fn close(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Opens one socket, and subscribes its handles if it is one for many.
async fn open(
    host: &str,
    client: &Client,
    plan: &Plan,
    ids: &[String],
    number: u32,
) -> Result<(TcpStream, Vec<u8>), String> {
    let mut ids = plan
        .subscriptions_of(number)
        .filter_map(|subscription| ids.get(subscription as usize));
    if plan.handles.is_none() {
        let id = ids.next().ok_or("there is no subscription")?;
        let path = client.path(&["subscriptions", id, "events"]);
        return counting::open(host, &path, client.token()).await;
    }
    let path = client.path(&["socket"]);
    let (mut stream, mut first) = counting::open(host, &path, client.token()).await?;
    let items: Vec<Value> = ids
        .enumerate()
        .map(|(handle, id)| json!({"handle": handle.to_string(), "subscription": id}))
        .collect();
    counting::subscribe(&mut stream, &mut first, items).await?;
    Ok((stream, first))
}
