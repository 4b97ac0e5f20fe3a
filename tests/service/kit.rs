//! Helpers of several files: random choices, the metrics' balance while something happens, panics, and many sockets.

use std::{
    panic,
    pin::pin,
    sync::{LazyLock, Mutex, PoisonError},
};

use futures_util::future::join_all;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{Closed, Service, Socket};

/// Panics in the service's own code since the first call. The driver's are not counted: its tasks panic if a test's
/// runtime ends before they do.
static PANICS: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or("", |location| location.file());
        if place.starts_with("src/") {
            lock(&PANICS).push(info.to_string());
        }
        before(info);
    }));
    Mutex::default()
});

fn lock(panics: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    panics.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a seed for random choices, and prints it. `TEST_TIDEGATE_SEED` repeats a run's choices.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TEST_TIDEGATE_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TEST_TIDEGATE_SEED={seed}");
    seed
}

/// Makes a generator from such a seed.
pub(crate) fn random() -> StdRng {
    StdRng::seed_from_u64(seed())
}

/// Starts to watch for panics, and fails if there was one.
pub(crate) fn assert_no_panic() {
    let panics = lock(&PANICS);
    assert!(panics.is_empty(), "{panics:?}");
}

/// Runs `work` while the metrics are read over and over. They must balance at every reading.
pub(crate) async fn with_books_watched<T>(service: &Service, work: impl Future<Output = T>) -> T {
    assert_no_panic();
    let watching = async {
        loop {
            service.assert_books_balance().await;
        }
    };
    let mut watching = pin!(watching);
    tokio::select! {
        done = work => {
            service.assert_books_balance().await;
            assert_no_panic();
            done
        }
        never = &mut watching => never,
    }
}

/// Opens `count` sockets on a subscription, and reads the `connected` of each.
pub(crate) async fn connect_many(service: &Service, id: &str, count: usize) -> Vec<Socket> {
    join_all((0..count).map(|_| service.connect(id))).await
}

/// Waits until no connection is open and `count` were closed for this reason.
pub(crate) async fn until_closed(service: &Service, reason: &str, count: usize) {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let count = count as f64;
    service
        .until(&format!("{count} closed as {reason}"), async || {
            (
                service.metric("tidegate_connections").await,
                service.closed(reason).await,
            ) == (0.0, count)
        })
        .await;
    assert_eq!(service.closed("internal_error").await.to_bits(), 0);
}

/// Inserts events `{type, data: {n}}` for each n straight into the database, in this order.
pub(crate) async fn insert_events(service: &Service, kind: &str, numbers: std::ops::Range<i32>) {
    let events = numbers.map(|n| bson::doc! {"type": kind, "data": {"n": n}});
    let collection = service.database.collection("events");
    collection.insert_many(events).await.unwrap();
}

/// Inserts events like [`insert_events`], with the type `big`: each is more than a socket takes at once.
pub(crate) async fn insert_big(service: &Service, count: i32) {
    let filling = "x".repeat(20_000);
    let events =
        (0..count).map(|n| bson::doc! {"type": "big", "data": {"n": n, "filling": &filling}});
    service
        .database
        .collection("events")
        .insert_many(events)
        .await
        .unwrap();
}

/// Asserts that a socket got exactly these events, each once and in order, then one `ended`, then the close, and that
/// cursors never fell. Returns the messages beside the events.
pub(crate) fn assert_last_words(
    (messages, closed): (Vec<Value>, Closed),
    expected: std::ops::Range<i32>,
    (code, reason): (u16, &str),
) -> Vec<Value> {
    let (ended, before) = messages.split_last().expect("last words");
    assert_eq!(
        (&ended["type"], &ended["code"]),
        (&json!("ended"), &json!(code)),
        "{ended}"
    );
    assert_eq!(ended["reason"], reason);
    assert_eq!((closed.code, closed.text.as_str()), (code, reason));
    assert_cursors_rise(&messages);
    let (events, beside): (Vec<_>, Vec<_>) = before
        .iter()
        .cloned()
        .partition(|message| message["type"] == "event");
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event["event"]["data"]["n"].clone())
        .collect();
    let expected: Vec<_> = expected.map(Value::from).collect();
    assert_eq!(numbers, expected);
    beside
}

/// Asserts that cursors never fall from one message to the next, and rise with each event.
pub(crate) fn assert_cursors_rise(messages: &[Value]) {
    let mut last = String::new();
    for message in messages {
        let Some(cursor) = message["cursor"].as_str() else {
            continue;
        };
        let rises = if message["type"] == "event" {
            *cursor > *last
        } else {
            *cursor >= *last
        };
        assert!(rises, "{cursor} after {last}: {message}");
        cursor.clone_into(&mut last);
    }
}
