//! The bound on a node's waiting frames: the largest of the clients that do not read are closed first, and nobody else.

use serde_json::{Value, json};
use tidegate::config::Config;

use crate::{
    raw::{Raw, upgrade_request},
    support::{Service, Socket},
};

const MOST_BYTES: usize = 512 * 1024;
const EVENT_BYTES: usize = 8 * 1024;
/// Bytes around an event's data in its frame.
const ENVELOPE_BYTES: usize = 1024;
/// Events in a batch.
const BATCH: usize = 4;
/// More batches than fit into sockets and outboxes.
const BATCHES: usize = 400;

/// Gives each outbox more room than the whole node has.
fn shallow(config: &mut Config) {
    config.socket.send_buffer_bytes = 4 * 1024;
    config.socket.outbox_bytes = MOST_BYTES * 64;
    config.socket.outbox_frames = 1 << 20;
    config.limits.waiting_bytes = MOST_BYTES;
    // No heartbeat closes anyone here.
    config.socket.pong_timeout = crate::support::DEADLINE * 10;
}

async fn publish(service: &Service, kind: &str) {
    let event = json!({"type": kind, "data": "x".repeat(EVENT_BYTES)});
    service.post("/events", json!(vec![event; BATCH])).await;
}

async fn read(socket: &mut Socket, events: usize) {
    for _ in 0..events {
        socket.event().await;
    }
}

async fn waiting(service: &Service) -> usize {
    let bytes = service.count("tidegate_outbox_bytes").await;
    usize::try_from(bytes).expect("it never falls below nothing")
}

/// Publishes, while a healthy client reads, until a client was closed as slow.
async fn publish_until_slow(service: &Service, kind: &str, healthy: &mut Socket) {
    for _ in 0..BATCHES {
        publish(service, kind).await;
        read(healthy, BATCH).await;
        let bytes = waiting(service).await;
        assert!(
            bytes <= MOST_BYTES + EVENT_BYTES + ENVELOPE_BYTES,
            "{bytes} bytes wait"
        );
        if service.count_closed("slow_consumer").await > 0 {
            return;
        }
    }
    panic!("nobody is slow after {BATCHES} batches");
}

async fn open_ids(service: &Service, id: &str) -> usize {
    let listed = service
        .get(&format!("/subscriptions/{id}/connections"))
        .await;
    listed["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_of_those_that_do_not_read_is_closed_first() {
    let service = Service::start_with(shallow).await;
    let much = service.subscribe(json!({"type": "much"})).await;
    let little = service.subscribe(json!({"type": "little"})).await;
    let large = Raw::open_narrow(service.address, &much).await;
    let small = Raw::open_narrow(service.address, &little).await;
    let mut healthy = service.connect(&much).await;
    // Enough that this client's socket refuses bytes too, but far below half of what may wait.
    for _ in 0..3 {
        publish(&service, "little").await;
    }
    publish_until_slow(&service, "much", &mut healthy).await;
    assert_eq!(service.count_closed("slow_consumer").await, 1);
    assert_eq!(open_ids(&service, &much).await, 1, "the one that reads");
    assert_eq!(open_ids(&service, &little).await, 1, "it holds less");
    service.assert_books_balance().await;
    drop((large, small, healthy));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_wait_for_counts_once() {
    const STUCK: usize = 20;
    let service = Service::start_with(shallow).await;
    let id = service.subscribe(json!({})).await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(Raw::open_narrow(service.address, &id).await);
    }
    let mut healthy = service.connect(&id).await;
    let batches = MOST_BYTES / 2 / (EVENT_BYTES * BATCH);
    for _ in 0..batches {
        publish(&service, "shared").await;
        read(&mut healthy, BATCH).await;
    }
    let bytes = waiting(&service).await;
    let published = batches * BATCH * (EVENT_BYTES + ENVELOPE_BYTES);
    assert!(bytes > 0 && bytes <= published, "{bytes} of {published}");
    assert_eq!(service.count_closed("slow_consumer").await, 0);
    drop((stuck, healthy));
    let none = async || waiting(&service).await == 0;
    service.until("no bytes wait", none).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_holds_counts_and_is_judged_like_the_rest() {
    let service = Service::start_with(|config| {
        shallow(config);
        // The node does not keep a second copy of what a replay picks out of the past.
        config.feed.window_bytes = 1;
        config.limits.waiting_bytes = 16 * 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.open(&id, "").await;
    let connected: Value = socket.message().await;
    let cursor = connected["cursor"].as_str().unwrap();
    socket.leave().await;
    for _ in 0..BATCHES / BATCH {
        publish(&service, "past").await;
    }
    let mut replaying = Raw::dial_narrow(service.address).await;
    let request = upgrade_request(&format!("{id}/events?after={cursor}"), "");
    let request = request.replacen("/events HTTP", " HTTP", 1);
    replaying.send(request.as_bytes()).await;
    assert_eq!(replaying.answer().await.status, 101);
    let slow = async || service.count_closed("slow_consumer").await == 1;
    service.until("the replay is closed as slow", slow).await;
    drop(replaying);
    let none = async || waiting(&service).await == 0;
    service.until("no bytes wait", none).await;
    service.stop().await;
}
