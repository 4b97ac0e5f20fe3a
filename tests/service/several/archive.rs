//! Coming back to what only the archive still has.

use serde_json::json;

use super::kit::{event, open, subscribe, tell};
use crate::{durable::support::publish, late::Database, support::Service};

const EVENTS: i64 = 2_500;

/// Reads the archive with these items, from one point; returns the pages that it took, and what came.
async fn read(
    service: &Service,
    after: &str,
    items: &[(&str, &str)],
) -> (f64, Vec<(Vec<String>, i64)>) {
    let pages = async || service.metric("tidegate_replay_pages_total").await;
    let before = pages().await;
    let mut socket = open(service).await;
    let items = items.iter();
    let items = items.map(|(handle, id)| json!({"handle": handle, "subscription": id}));
    let items: Vec<_> = items.collect();
    let count = items.len();
    let message = json!({"type": "subscribe", "after": after, "items": items});
    tell(&mut socket, message).await;
    let (mut live, mut heard) = (0, Vec::new());
    while live < count {
        let message = socket.message().await;
        assert_ne!(message["type"], "gap", "{message}");
        live += usize::from(message["type"] == "live");
        if message["type"] == "event" {
            let (to, number) = event(&message);
            heard.push((to.into_iter().map(str::to_owned).collect(), number));
        }
    }
    (pages().await - before, heard)
}

/// Comes back with more messages than have turns at once. None waits for another whose turn is later.
async fn read_with_messages_of_their_own(service: &Service, after: &str, id: &str) {
    const HANDLES: usize = 9;
    let mut socket = open(service).await;
    for n in 0..HANDLES {
        let item = json!({"type": "subscribe", "after": after, "handle": format!("h{n}"), "subscription": id});
        tell(&mut socket, item).await;
    }
    let (mut live, mut heard) = (0, 0);
    while live < HANDLES {
        let message = socket.message().await;
        live += usize::from(message["type"] == "live");
        if message["type"] == "event" {
            heard += event(&message).0.len();
        }
    }
    assert_eq!(heard, HANDLES * usize::try_from(EVENTS).unwrap());
}

/// Many events of a page have one position. They are told in one order to all who get them.
#[tokio::test(flavor = "multi_thread")]
async fn handles_that_come_back_together_read_the_archive_once_and_an_event_comes_once() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let odd = json!({"type": "tick", "data.n": {"$mod": [2, 1]}});
    let late = json!({"type": "tick", "data.n": {"$gte": EVENTS / 2}});
    let odd = service.subscribe(odd).await;
    let all = service.subscribe(json!({"type": "tick"})).await;
    let late = service.subscribe(late).await;
    let mut socket = open(&service).await;
    let connected = subscribe(&mut socket, "all", &all).await;
    let begun = connected["cursor"].as_str().unwrap().to_owned();
    publish(&service, 0..EVENTS).await;
    drop(socket);
    service.stop().await;
    database.lose_history().await;

    let service = Service::on(database.config.clone()).await;
    let (of_one, heard) = read(&service, &begun, &[("all", &all)]).await;
    assert!(of_one >= 3.0, "{of_one} pages");
    assert_eq!(heard.len(), usize::try_from(EVENTS).unwrap());
    let items = [("odd", &*odd), ("all", &*all), ("late", &*late)];
    let (of_three, mut heard) = read(&service, &begun, &items).await;
    assert!((of_three - of_one).abs() < 0.5, "{of_three} pages");
    heard.sort_by_key(|(_, number)| *number);
    assert_eq!(heard.len(), usize::try_from(EVENTS).unwrap());
    for (n, (to, number)) in (0..).zip(heard) {
        let expected = [
            ("odd", n % 2 == 1),
            ("all", true),
            ("late", n >= EVENTS / 2),
        ];
        let expected = expected.into_iter().filter(|(_, gets)| *gets);
        let expected: Vec<_> = expected.map(|(handle, _)| handle.to_owned()).collect();
        assert_eq!((to, number), (expected, n));
    }
    read_with_messages_of_their_own(&service, &begun, &all).await;
    service.stop().await;
    database.mongod.stop().await;
}
