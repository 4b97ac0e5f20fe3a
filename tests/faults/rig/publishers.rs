//! Programs that publish, through the service and straight into the database. Each goes on through all trouble, and
//! repeats what it has begun until that is known to be stored.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use bson::{Document, doc};
use mongodb::{
    Collection,
    error::{Error, ErrorKind},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    keyring::Keyring,
    node::http_client,
    record::{KINDS, LAST, Notebook, Refusal, TICK},
};

/// The pause between two ticks.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_millis(50);
/// The pause between two attempts of a call.
const PAUSE: Duration = Duration::from_millis(100);
/// Time for one attempt to write straight into the database.
const PATIENCE: Duration = Duration::from_secs(12);

/// Inserts an event each [`TICK_INTERVAL`], so that pauses show.
pub(crate) async fn tick(
    events: Collection<Document>,
    notebook: Notebook,
    stop: CancellationToken,
) {
    while stop
        .run_until_cancelled(sleep(TICK_INTERVAL))
        .await
        .is_some()
    {
        insert(&events, &notebook, &[(notebook.number(), TICK)]).await;
    }
}

/// Inserts a few events at a time, straight into the database.
pub(crate) async fn publish_directly(
    events: Collection<Document>,
    notebook: Notebook,
    seed: u64,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        let batch = batch(&notebook, &mut random);
        insert(&events, &notebook, &batch).await;
        let pause = Duration::from_millis(random.random_range(20..200));
        stop.run_until_cancelled(sleep(pause)).await;
    }
}

/// Publishes a few events at a time through a node.
pub(crate) async fn publish_over_http(
    (front, keyring): (SocketAddr, Keyring),
    node: usize,
    notebook: Notebook,
    seed: u64,
    stop: CancellationToken,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let http = http_client()?;
    let url = format!("http://{front}/api/v1/events");
    while !stop.is_cancelled() {
        let batch = batch(&notebook, &mut random);
        let events: Vec<Value> = batch.iter().map(|event| over_http(*event)).collect();
        loop {
            let request = http.post(&url).json(&events);
            match keyring.authorize(request).send().await {
                Ok(answer) if answer.status().as_u16() == 202 => break,
                Ok(answer) => refused(&notebook, node, "publish", answer).await,
                // The connection broke. Nobody knows whether they were stored.
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
        notebook.note(|notes| {
            let numbers = batch.iter().map(|(number, _)| *number);
            notes.acknowledged.events.extend(numbers);
        });
        let pause = Duration::from_millis(random.random_range(20..200));
        stop.run_until_cancelled(sleep(pause)).await;
    }
    Ok(())
}

/// Publishes the very last event.
pub(crate) async fn publish_last(events: &Collection<Document>, notebook: &Notebook, number: u64) {
    insert(events, notebook, &[(number, LAST)]).await;
}

/// Notes an answer that is no success.
pub(crate) async fn refused(
    notebook: &Notebook,
    node: usize,
    call: &'static str,
    answer: reqwest::Response,
) {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().contains_key("retry-after");
    let body: Value = answer.json().await.unwrap_or_default();
    let refusal = Refusal {
        node,
        call,
        status,
        retry_after,
        problem: body["type"].as_str().unwrap_or_default().to_owned(),
    };
    notebook.note(|notes| *notes.refusals.entry(refusal).or_default() += 1);
}

fn batch(notebook: &Notebook, random: &mut StdRng) -> Vec<(u64, usize)> {
    let count = random.random_range(1..=5);
    let one = |_| (notebook.number(), random.random_range(TICK + 1..LAST));
    (0..count).map(one).collect()
}

fn over_http((number, kind): (u64, usize)) -> Value {
    json!({"id": number.to_string(), "source": "/http", "type": KINDS[kind], "data": {"n": number}})
}

/// Inserts events until all of them are stored.
async fn insert(events: &Collection<Document>, notebook: &Notebook, batch: &[(u64, usize)]) {
    let document = |(number, kind): &(u64, usize)| {
        let number = i64::try_from(*number).unwrap();
        doc! {"_id": number, "type": KINDS[*kind], "data": {"n": number}}
    };
    let documents: Vec<Document> = batch.iter().map(document).collect();
    loop {
        let inserting = events.insert_many(&documents).ordered(false).into_future();
        match timeout(PATIENCE, inserting).await {
            Ok(Ok(_)) => break,
            Ok(Err(error)) if all_are_there(&error) => break,
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
    notebook.note(|notes| {
        let numbers = batch.iter().map(|(number, _)| *number);
        notes.acknowledged.events.extend(numbers);
    });
}

/// Whether only events were refused that an earlier attempt has stored.
fn all_are_there(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::InsertMany(many) => {
            many.write_concern_error.is_none()
                && many.write_errors.as_ref().is_some_and(|errors| {
                    !errors.is_empty() && errors.iter().all(|error| error.code == 11_000)
                })
        }
        _ => false,
    }
}
