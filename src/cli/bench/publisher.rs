//! Publishing in batches, at a rate or as fast as the service takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mongodb::{
    Collection,
    bson::{Document, serialize_to_document},
    options::WriteConcern,
};
use reqwest::Method;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Rate};
use crate::{
    cli::server::call,
    client::{Client, counting::now_micros},
};

/// The destination of the events.
#[derive(Clone)]
pub(super) enum Target {
    /// The service, by `POST /events`.
    Service(Client),
    /// The service's collection of events.
    Database(Collection<Document>),
}

/// Counters of the events so far, shared by the publishers.
#[derive(Default)]
pub(super) struct Published {
    next: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Messages that the accepted events should lead to.
    pub(super) expected: AtomicU64,
}

/// Publishes until the time is over or `stop` is cancelled. An error ends the publisher that met it; the last error is
/// returned.
pub(super) async fn publish(
    plan: &Arc<Plan>,
    target: &Target,
    published: &Arc<Published>,
    stop: &CancellationToken,
) -> Result<Duration, String> {
    let began = Instant::now();
    let mut publishers = JoinSet::new();
    for _ in 0..plan.publishers {
        let one = Publisher {
            plan: Arc::clone(plan),
            target: target.clone(),
            published: Arc::clone(published),
            audience: plan.audience(),
            began,
        };
        let stop = stop.clone();
        publishers.spawn(async move { one.run(&stop).await });
    }
    let mut failure = None;
    while let Some(done) = publishers.join_next().await {
        if let Err(reason) = done.map_err(|error| error.to_string()).flatten() {
            failure = Some(reason);
        }
    }
    match failure {
        None => Ok(began.elapsed()),
        Some(reason) => Err(reason),
    }
}

struct Publisher {
    plan: Arc<Plan>,
    target: Target,
    published: Arc<Published>,
    audience: Vec<u64>,
    began: Instant,
}

impl Publisher {
    async fn run(self, stop: &CancellationToken) -> Result<(), String> {
        let batch = u64::from(self.plan.batch);
        loop {
            let first = self.published.next.fetch_add(batch, Relaxed);
            let due = self.due(first);
            if due.max(self.began.elapsed()) >= self.plan.duration {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(self.began + due) => {}
            }
            self.send(first..first + batch).await?;
        }
    }

    /// Returns the time at which an event is due, from the beginning.
    fn due(&self, event: u64) -> Duration {
        match self.plan.rate {
            Rate::Max => Duration::ZERO,
            Rate::PerSecond(rate) => Duration::from_micros(event * 1_000_000 / u64::from(rate)),
        }
    }

    async fn send(&self, numbers: std::ops::Range<u64>) -> Result<(), String> {
        let sent = now_micros();
        let events: Vec<Value> = numbers.clone().map(|n| self.plan.event(n, sent)).collect();
        let refused = match &self.target {
            Target::Service(client) => post(client, &events).await?,
            Target::Database(collection) => insert(collection, &events).await?,
        };
        for (index, number) in numbers.enumerate() {
            if refused.contains(&(index as u64)) {
                self.published.refused.fetch_add(1, Relaxed);
                continue;
            }
            self.published.accepted.fetch_add(1, Relaxed);
            let group = self.plan.group_of(number);
            let expected = group.map_or(0, |group| self.audience[group]);
            self.published.expected.fetch_add(expected, Relaxed);
        }
        Ok(())
    }
}

/// Publishes by `POST /events`. Returns the indices of the events that were refused.
async fn post(client: &Client, events: &[Value]) -> Result<Vec<u64>, String> {
    let request = client.request(Method::POST, &["events"]).json(events);
    let answer = call(client, request)
        .await
        .map_err(|error| error.to_string())?;
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    Ok(errors.filter_map(|error| error["index"].as_u64()).collect())
}

/// Publishes as any program with access to the database may. Nothing is refused.
async fn insert(collection: &Collection<Document>, events: &[Value]) -> Result<Vec<u64>, String> {
    let documents: Vec<Document> = events
        .iter()
        .map(serialize_to_document)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    collection
        .insert_many(documents)
        .write_concern(WriteConcern::majority())
        .await
        .map_err(|error| error.to_string())?;
    Ok(Vec::new())
}
