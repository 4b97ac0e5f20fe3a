//! Slow clients are closed. A slow node closes nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::bson::{self, doc};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tidegate::config::Config;

use crate::{
    apart::Apart,
    raw::{CLOSE, Raw, TEXT},
    support::{DEADLINE, Service, Socket},
};

const OUTBOX_BYTES: usize = 64 * 1024;
const EVENT_BYTES: usize = 4 * 1024;
/// Bytes around an event's data in its frame.
const ENVELOPE_BYTES: usize = 1024;
/// Events in a batch: less than an outbox holds.
const BATCH: usize = 8;
/// More batches than fit between the router and a client that does not read.
const BATCHES: usize = 500;

/// Sets small buffers everywhere, so that a client that does not read is noticed soon.
fn narrow(config: &mut Config) {
    config.socket.send_buffer_bytes = 4 * 1024;
    config.socket.outbox_bytes = OUTBOX_BYTES;
}

/// Publishes a batch of events, numbered from `first`.
async fn publish_batch(service: &Service, first: usize) {
    let filling = "x".repeat(EVENT_BYTES);
    let events: Vec<Value> = (first..first + BATCH)
        .map(|n| json!({"type": "n", "data": {"n": n, "filling": filling}}))
        .collect();
    service.post("/events", json!(events)).await;
}

/// Reads a batch of events, which must be numbered from `first`, with rising cursors.
async fn read_batch(socket: &mut Socket, first: usize, cursor: &mut String) {
    for n in first..first + BATCH {
        let message = socket.message().await;
        assert_eq!(message["event"]["data"]["n"], n);
        let next = message["cursor"].as_str().unwrap().to_owned();
        assert!(*cursor < next, "{n}");
        *cursor = next;
    }
}

/// Publishes until `expected` clients were closed as slow. The healthy clients read each batch before the next is
/// published, so that only the others have waiting frames.
async fn publish_until_slow(
    service: &Service,
    healthy: &mut [Socket],
    expected: usize,
    stuck: usize,
) -> usize {
    let most = stuck * (OUTBOX_BYTES + EVENT_BYTES + ENVELOPE_BYTES);
    let mut cursors = vec![String::new(); healthy.len()];
    for first in (0..BATCHES).map(|batch| batch * BATCH) {
        publish_batch(service, first).await;
        for (socket, cursor) in healthy.iter_mut().zip(&mut cursors) {
            read_batch(socket, first, cursor).await;
        }
        let waiting = service.count("tidegate_outbox_bytes").await;
        assert!(waiting <= whole(most), "{waiting} bytes wait");
        if service.count_closed("slow_consumer").await >= whole(expected) {
            return first + BATCH;
        }
    }
    panic!("nobody is slow after {BATCHES} batches");
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

async fn assert_no_bytes_wait(service: &Service) {
    let none = async || service.count("tidegate_outbox_bytes").await == 0;
    service.until("no bytes wait", none).await;
}

/// Asserts that at most a frame waits, one that was begun and must be finished. Nothing else is kept for a client that
/// is closed as slow.
async fn assert_one_frame_waits_at_most(service: &Service) {
    let one = async || {
        service.count("tidegate_outbox_bytes").await <= whole(EVENT_BYTES + ENVELOPE_BYTES)
    };
    service.until("no more than a frame waits", one).await;
}

/// Reads on after being stuck. Returns the events in order, and the message behind them, if there is one.
async fn read_on(mut raw: Raw) -> (Vec<Value>, Option<Value>, bool) {
    let mut events = Vec::new();
    let mut ended = None;
    while let Some(frame) = raw.frame().await {
        match frame.first {
            TEXT if frame.json()["type"] == "event" => events.push(frame.json()),
            TEXT => ended = Some(frame.json()),
            CLOSE => {
                assert_eq!(frame.payload, b"\x0F\xA0slow_consumer");
                return (events, ended, true);
            }
            _ => panic!("{frame:?}"),
        }
    }
    (events, ended, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_closed_as_slow_and_told() {
    let service = Service::start_with(|config| {
        narrow(config);
        // The client takes its time to read on.
        config.socket.close_timeout = DEADLINE * 2;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let stuck = Raw::open_narrow(service.address, &id).await;
    let mut healthy = [service.connect(&id).await, service.connect(&id).await];
    publish_until_slow(&service, &mut healthy, 1, 1).await;
    assert_one_frame_waits_at_most(&service).await;
    let (events, ended, closed) = read_on(stuck).await;
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["event"]["data"]["n"], n);
    }
    assert!(closed, "the close frame is there");
    let ended = ended.expect("last words before the close");
    assert_eq!(ended["reason"], "slow_consumer", "{ended}");
    assert_eq!(ended["code"], 4000, "{ended}");
    assert!(ended["retryAfterMs"].is_u64(), "{ended}");
    // It resumes exactly after the last event that it got.
    assert_eq!(ended["cursor"], events.last().unwrap()["cursor"]);
    assert_eq!(service.count("tidegate_connections").await, 2);
    service.assert_books_balance().await;
    drop(healthy);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_that_reads_on_too_late_finds_the_end_of_the_connection() {
    let service = Service::start_with(|config| {
        narrow(config);
        config.socket.close_timeout = Duration::from_millis(50);
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let stuck = Raw::open_narrow(service.address, &id).await;
    let published = publish_until_slow(&service, &mut [], 1, 1).await;
    assert_no_bytes_wait(&service).await;
    // Whatever it still finds, it does not wait for more in vain.
    let (events, _, _) = read_on(stuck).await;
    assert!(events.len() < published);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_clients_change_nothing_for_the_others() {
    const SLOW: usize = 20;
    let service = Service::start_with(narrow).await;
    let id = service.subscribe(json!({})).await;
    let mut healthy = [service.connect(&id).await];
    let mut stuck = Vec::new();
    for _ in 0..SLOW {
        stuck.push(Raw::open_narrow(service.address, &id).await);
    }
    publish_until_slow(&service, &mut healthy, SLOW, SLOW).await;
    assert_eq!(service.count_closed("slow_consumer").await, whole(SLOW));
    assert_eq!(service.count("tidegate_connections").await, 1);
    assert_no_bytes_wait(&service).await;
    service.assert_books_balance().await;
    drop((healthy, stuck));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_an_outbox_is_delivered_among_others() {
    let service = Service::start_with(|config| {
        narrow(config);
        config.socket.outbox_bytes = 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let large = "x".repeat(300 * 1024);
    let events = json!([
        {"type": "small", "data": 1}, {"type": "large", "data": large}, {"type": "small", "data": 2}
    ]);
    // Reading goes on meanwhile: this client is not slow.
    let (_, received) = tokio::join!(service.post("/events", events), async {
        [
            socket.event().await,
            socket.event().await,
            socket.event().await,
        ]
    });
    assert_eq!(received, [json!(1), json!(large), json!(2)]);
    assert_eq!(service.count("tidegate_connections").await, 1);
    assert_no_bytes_wait(&service).await;
    drop(socket);
    service.stop().await;
}

/// Keeps one worker thread busy with spells of work that no other task interrupts.
async fn occupy(seed: u64, stop: Arc<AtomicBool>) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let spell = Duration::from_millis(random.random_range(1..40));
        let begun = Instant::now();
        while begun.elapsed() < spell {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

/// Inserts numbered events as another program would, all in one write.
async fn insert_events(service: &Service, numbers: std::ops::Range<i32>) {
    let client = mongodb::Client::with_uri_str(&service.config.mongodb_uri)
        .await
        .unwrap();
    let events = client
        .database(&service.config.database)
        .collection::<bson::Document>("events");
    let documents = numbers.map(|n| doc! {"type": "n", "data": n});
    events.insert_many(documents).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_cores_are_busy_closes_nobody() {
    check_busy(|config| config.socket.outbox_frames = 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_cores_are_busy_closes_nobody_however_little_may_wait() {
    check_busy(|config| config.limits.waiting_bytes = 2 * 1024).await;
}

/// Asserts that nobody is closed on a node that is busy with other things, even with buffers this small.
async fn check_busy(setting: fn(&mut Config)) {
    const WORKERS: usize = 2;
    const CLIENTS: usize = 10;
    const ROUNDS: i32 = 5;
    // A whole round fits into the kernel's buffers: no client can be slow.
    const EVENTS: i32 = 200;
    let service = Apart::start(WORKERS, move |config| {
        setting(config);
        config.socket.router_patience = DEADLINE * 2;
        // These clients answer only while they are read, one after the other.
        config.socket.ping_interval = DEADLINE * 2;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        sockets.push(service.connect(&id).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for seed in 0..WORKERS as u64 {
        service.handle().spawn(occupy(seed, stop.clone()));
    }
    for first in (0..ROUNDS).map(|round| round * EVENTS) {
        insert_events(&service, first..first + EVENTS).await;
        for socket in &mut sockets {
            for n in first..first + EVENTS {
                assert_eq!(socket.event().await, json!(n));
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(
        service.count("tidegate_connections").await,
        whole(CLIENTS),
        "nobody was closed"
    );
    assert!(service.count("tidegate_router_waits_total").await > 0);
    assert_no_bytes_wait(&service).await;
    drop(sockets);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_goes_on_from_its_cursor_and_has_lost_nothing() {
    let service = Service::start_with(|config| {
        narrow(config);
        // The client takes its time to read on.
        config.socket.close_timeout = DEADLINE * 2;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let path = format!("/api/v1/subscriptions/{id}/events");
    let mut socket = Socket::open_narrow(service.address, &path).await.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    let published = publish_until_slow(&service, &mut [], 1, 1).await;

    let (mut messages, closed) = socket.rest().await;
    assert_eq!(closed.code, 4000, "{closed:?}");
    let ended = messages.pop().unwrap();
    let mut next = 0;
    for message in &messages {
        assert_eq!(message["event"]["data"]["n"], next);
        next += 1;
    }
    assert!(next < published, "it was slow");
    let cursor = ended["cursor"].as_str().unwrap();
    let mut socket = service.open(&id, &format!("?after={cursor}")).await;
    assert_eq!(socket.message().await["recovered"], true);
    while next < published {
        assert_eq!(socket.event().await["n"], next);
        next += 1;
    }
    service.assert_books_balance().await;
}
