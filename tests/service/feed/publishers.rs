//! Several publishers at once, each in its own way, until they are stopped.

use bson::{Document, doc};
use mongodb::{Collection, Database};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::Service;

/// Publishers at work. Every event is `{type, data: {n, even}}`.
pub(crate) struct Publishers {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Publishers {
    /// Starts one publisher of each kind.
    pub(crate) fn start(service: &Service) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let events: Collection<Document> = service.database.collection("events");
        let (url, http) = (service.url("/events"), service.http.clone());
        tasks.spawn(rounds(stop.clone(), async move |n| {
            let batch = json!([of_rest(n), of_rest(n + 1), of_rest(n + 2)]);
            let answer = http.post(&url).json(&batch).send().await.unwrap();
            assert_eq!(answer.status(), 202);
        }));
        let one = events.clone();
        tasks.spawn(rounds(stop.clone(), async move |n| {
            one.insert_one(event("one", n)).await.unwrap();
        }));
        let many = events;
        tasks.spawn(rounds(stop.clone(), async move |n| {
            let documents = (n..n + 5).map(|n| event("many", n));
            many.insert_many(documents).await.unwrap();
        }));
        let database = service.database.clone();
        tasks.spawn(rounds(stop.clone(), async move |n| {
            publish_in_transaction(&database, n, 20).await;
        }));
        Self { stop, tasks }
    }

    /// Lets every publisher finish its round.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

async fn rounds(stop: CancellationToken, round: impl AsyncFn(i32)) {
    let mut n = 0;
    while !stop.is_cancelled() {
        round(n).await;
        n += 1;
    }
}

fn of_rest(n: i32) -> serde_json::Value {
    json!({"type": "rest", "data": {"n": n, "even": n % 2 == 0}})
}

/// Makes an event as a program writes it that knows nothing of the service.
pub(crate) fn event(kind: &str, n: i32) -> Document {
    doc! {"type": kind, "data": {"n": n, "even": n % 2 == 0}}
}

/// Inserts `count` events in one transaction: they share a cluster time.
pub(crate) async fn publish_in_transaction(database: &Database, first: i32, count: i32) {
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let events: Collection<Document> = database.collection("events");
    let documents = (first..first + count).map(|n| event("transaction", n));
    events
        .insert_many(documents)
        .session(&mut session)
        .await
        .unwrap();
    session.commit_transaction().await.unwrap();
}
