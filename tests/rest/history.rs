//! Past events in pages, then the rest as a stream: nothing twice, nothing missing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use bson::doc;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{Events, Service, Socket, options};
use tidegate::mongod::Mongod;

/// The most pages that are read.
const MOST_PAGES: usize = 1_000;

fn number(event: &Value) -> i64 {
    event["data"]["n"].as_i64().unwrap()
}

fn text(page: &Value, name: &str) -> Option<String> {
    page[name].as_str().map(str::to_owned)
}

/// Reads all pages, and returns the numbers of the events and the cursor on every page.
async fn history(service: &Service, path: &str, bound: &str) -> (Vec<i64>, String) {
    let first = format!("{path}&limit=7");
    let mut page = service.get(&first).await;
    let cursor = text(&page, "cursor").expect("a cursor");
    let mut numbers = Vec::new();
    for _ in 0..MOST_PAGES {
        assert_eq!(text(&page, "cursor").as_ref(), Some(&cursor), "{path}");
        numbers.extend(page["items"].as_array().unwrap().iter().map(number));
        let Some(next) = text(&page, "nextCursor") else {
            return (numbers, cursor);
        };
        page = service.get(&format!("{first}&{bound}={next}")).await;
    }
    panic!("more than {MOST_PAGES} pages");
}

/// A stream that continues after a cursor.
enum Stream {
    Socket(Socket),
    Events(Events),
}

impl Stream {
    async fn open(service: &Service, id: &str, cursor: &str, over_sse: bool) -> Self {
        let query = format!("?after={cursor}");
        if over_sse {
            return Self::Events(Events::open(service, id, &query, None).await);
        }
        Self::Socket(service.open(id, &query).await)
    }

    async fn message(&mut self) -> Value {
        match self {
            Self::Socket(socket) => socket.message().await,
            Self::Events(events) => events.next().await.unwrap().data,
        }
    }

    /// Returns the numbers of the events before the one with `data.last`.
    async fn up_to_last(&mut self) -> Vec<i64> {
        let connected = self.message().await;
        assert_eq!(connected["type"], "connected", "{connected}");
        assert_eq!(connected["recovered"], true, "{connected}");
        let mut numbers = Vec::new();
        loop {
            let message = self.message().await;
            assert_eq!(message["type"], "event", "{message}");
            if message["event"]["data"]["last"] == true {
                return numbers;
            }
            numbers.push(number(&message["event"]));
        }
    }
}

/// Writes until it is stopped: over REST, as another program, and in transactions that stay open for a while.
async fn write(service: &Service, next: &AtomicI64, stop: &CancellationToken) {
    let event = |n: i64| doc! {"type": "tick", "data": {"n": n}};
    let take = || next.fetch_add(1, Ordering::Relaxed);
    let over_rest = async {
        while !stop.is_cancelled() {
            service.publish("tick", json!({"n": take()})).await;
        }
    };
    let events = service.database.collection::<bson::Document>("events");
    let of_another_program = async {
        while !stop.is_cancelled() {
            events.insert_one(event(take())).await.unwrap();
        }
    };
    let in_transactions = async {
        while !stop.is_cancelled() {
            let mut session = events.client().start_session().await.unwrap();
            session.start_transaction().await.unwrap();
            for _ in 0..5 {
                let mut stamped = event(take());
                stamped.insert(
                    "ts",
                    bson::Timestamp {
                        time: 0,
                        increment: 0,
                    },
                );
                let insert = events.insert_one(stamped).session(&mut session);
                insert.await.unwrap();
                // Others commit meanwhile what has a later `ts`.
                service.publish("tick", json!({"n": take()})).await;
            }
            session.commit_transaction().await.unwrap();
        }
    };
    join(join(over_rest, of_another_program), in_transactions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_the_stream_behind_them_hold_every_event_once() {
    let service = Service::start().await;
    let other = service.sibling().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let of_subscription = format!("/subscriptions/{id}/events");
    let (next, stop) = (AtomicI64::new(0), CancellationToken::new());
    let reading = async {
        let mut readings = Vec::new();
        for (path, bound) in [
            (format!("{of_subscription}?order=asc"), "after"),
            (format!("{of_subscription}?order=desc"), "before"),
            ("/events?type=tick".to_owned(), "after"),
        ] {
            for (node, over_sse) in [(&service, false), (&other, false), (&other, true)] {
                let (numbers, cursor) = history(&service, &path, bound).await;
                let stream = Stream::open(node, &id, &cursor, over_sse).await;
                readings.push((format!("{path} {over_sse}"), numbers, stream));
            }
        }
        stop.cancel();
        readings
    };
    let ((), readings) = join(write(&service, &next, &stop), reading).await;
    service.publish("tick", json!({"last": true})).await;
    let all = next.into_inner();
    let judged = readings.into_iter().map(async |(name, paged, mut stream)| {
        let mut seen: BTreeMap<i64, usize> = (0..all).map(|n| (n, 0)).collect();
        for n in paged.into_iter().chain(stream.up_to_last().await) {
            *seen.entry(n).or_default() += 1;
        }
        let wrong: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?} of {all}");
    });
    join_all(judged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_first_page_is_too_long_ago_the_pages_go_on_without_a_cursor() {
    // Nothing but the newest can be read.
    let options = options().parameter("minSnapshotHistoryWindowInSeconds", "0");
    let mongod = Mongod::start(options).await.unwrap();
    // With credentials nothing newer than the first page may be shown, so such a page is refused.
    let service = Service::start_open(|config| config.mongodb_uri = mongod.uri()).await;
    for n in 0..6 {
        service.publish("tick", json!({"n": n})).await;
    }
    let id = service.subscribe(json!({"type": "tick"})).await;
    let path = format!("/subscriptions/{id}/events?limit=2");
    let numbers = |page: &Value| -> Vec<_> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(number).collect()
    };
    let behind = async |page: &Value| {
        let next = text(page, "nextCursor").unwrap();
        service.get(&format!("{path}&after={next}")).await
    };
    let first = service.get(&path).await;
    assert!(text(&first, "cursor").is_some(), "{first}");
    service
        .until("the first page is too long ago", async || {
            service.publish("other", json!({})).await;
            behind(&first).await["cursor"].is_null()
        })
        .await;
    let second = behind(&first).await;
    assert_eq!(numbers(&second), [2, 3], "{second}");
    let third = behind(&second).await;
    assert_eq!(
        (numbers(&third), &third["cursor"]),
        (vec![4, 5], &Value::Null)
    );
    // A reading that begins anew has one.
    assert!(text(&service.get(&path).await, "cursor").is_some());
    service.stop().await;
}
