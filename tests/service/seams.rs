//! Changes to a subscription or to the node while a client still replays.
//!
//! The client does not read yet, so the replay is certain to be under way. Each case runs with a replay from the
//! backlog and with one from the oplog.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::config::Config;

use crate::{
    kit::{assert_cursors_rise, assert_last_words},
    support::{DEADLINE, Service, Socket},
};

/// More than the sockets on the way hold.
const PAST: i32 = 250;

/// A replay that is under way.
struct Held {
    service: Service,
    id: String,
    socket: Socket,
    connected: Value,
}

fn narrow(config: &mut Config, in_memory: bool) {
    config.socket.send_buffer_bytes = 4 * 1024;
    if !in_memory {
        config.feed.window_bytes = 0;
    }
}

async fn held(in_memory: bool, settings: impl FnOnce(&mut Config)) -> Held {
    let service = Service::start_with(|config| {
        narrow(config, in_memory);
        settings(config);
    })
    .await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut first = service.open(&id, "").await;
    let cursor = first.message().await["cursor"].as_str().unwrap().to_owned();
    first.leave().await;
    publish(&service, 0..PAST).await;
    let (socket, connected) = narrow_socket(&service, &id, &cursor).await;
    assert_eq!(connected["cursor"], cursor);
    let connections = service
        .get(&format!("/subscriptions/{id}/connections"))
        .await;
    assert_eq!(
        connections["items"][0]["replaying"], true,
        "it is held: {connections}"
    );
    Held {
        service,
        id,
        socket,
        connected,
    }
}

async fn narrow_socket(service: &Service, id: &str, cursor: &str) -> (Socket, Value) {
    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let mut socket = Socket::open_narrow(service.address, &path).await.unwrap();
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    (socket, connected)
}

/// Publishes events, and returns once they are applied.
async fn publish(service: &Service, range: std::ops::Range<i32>) {
    let filling = "x".repeat(20_000);
    let events: Vec<Value> = range
        .map(|n| json!({"type": "tick", "data": {"n": n, "filling": filling}}))
        .collect();
    for some in events.chunks(100) {
        service.post("/events", json!(some)).await;
    }
}

impl Held {
    async fn patch(&self, change: Value) {
        let path = format!("/subscriptions/{}", self.id);
        assert_eq!(self.service.send("PATCH", &path, Some(change)).await.0, 200);
    }

    /// Reads up to the event with this number. Returns each event's number, or the message's type.
    async fn until(&mut self, last: i32) -> Vec<Value> {
        let mut messages = vec![self.connected.clone()];
        let mut seen = Vec::new();
        loop {
            let message = self.socket.message().await;
            let shown = match message["type"].as_str() {
                Some("event") => message["event"]["data"]["n"].clone(),
                _ => message["type"].clone(),
            };
            messages.push(message);
            seen.push(shown);
            if *seen.last().unwrap() == last {
                assert_cursors_rise(&messages);
                return seen;
            }
        }
    }
}

fn numbers(range: std::ops::Range<i32>) -> Vec<Value> {
    range.map(Value::from).collect()
}

async fn deleted(in_memory: bool) {
    let mut held = held(in_memory, |_| {}).await;
    let path = format!("/subscriptions/{}", held.id);
    assert_eq!(held.service.send("DELETE", &path, None).await.0, 204);
    publish(&held.service, PAST..PAST + 5).await;
    assert_last_words(held.socket.rest().await, 0..PAST, (4500, "deleted"));
    held.service.assert_books_balance().await;
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_comes_after_what_was_committed_before_it() {
    deleted(true).await;
    deleted(false).await;
}

async fn paused(in_memory: bool) {
    let mut held = held(in_memory, |_| {}).await;
    held.patch(json!({"status": "paused"})).await;
    publish(&held.service, PAST..PAST + 5).await;
    held.patch(json!({"status": "active"})).await;
    publish(&held.service, PAST + 5..PAST + 8).await;
    let seen = held.until(PAST + 7).await;
    let change = vec![json!("updated"); 2];
    let expected = [numbers(0..PAST), change, numbers(PAST + 5..PAST + 8)].concat();
    assert_eq!(seen, expected);
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_applies_at_its_own_place() {
    paused(true).await;
    paused(false).await;
}

async fn filter_changed(in_memory: bool) {
    let mut held = held(in_memory, |_| {}).await;
    let from = PAST + 3;
    held.patch(json!({"filter": {"data.n": {"$gte": from}}}))
        .await;
    publish(&held.service, PAST..PAST + 6).await;
    let seen = held.until(PAST + 5).await;
    let change = vec![json!("updated")];
    let expected = [numbers(0..PAST), change, numbers(from..PAST + 6)].concat();
    assert_eq!(seen, expected);
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_applies_at_its_own_place() {
    filter_changed(true).await;
    filter_changed(false).await;
}

/// Asserts that the rest is the events from `first` on without a hole, and `ended`.
async fn until_ended(socket: &mut Socket, first: i32, code: u16) -> (i32, Value) {
    let (mut messages, closed) = socket.rest().await;
    assert_eq!(closed.code, code, "{closed:?}");
    let ended = messages.pop().unwrap();
    assert_eq!(
        (&ended["type"], &ended["code"]),
        (&json!("ended"), &json!(code))
    );
    let seen: Vec<Value> = messages
        .iter()
        .map(|message| message["event"]["data"]["n"].clone())
        .collect();
    let next = first + i32::try_from(seen.len()).unwrap();
    assert_eq!(seen, numbers(first..next));
    (next, ended)
}

async fn node_stops(in_memory: bool) {
    let mut held = held(in_memory, |_| {}).await;
    let mut config = held.service.config.clone();
    narrow(&mut config, false);
    let other = Service::on(config).await;
    held.service.begin_stop();
    let (next, ended) = until_ended(&mut held.socket, 0, 1001).await;
    assert!(next < PAST, "it was under way");
    held.service.stop().await;
    let cursor = ended["cursor"].as_str().unwrap();
    let (socket, connected) = narrow_socket(&other, &held.id, cursor).await;
    held = Held {
        service: other,
        id: held.id,
        socket,
        connected,
    };
    publish(&held.service, PAST..PAST + 2).await;
    assert_eq!(held.until(PAST + 1).await, numbers(next..PAST + 2));
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_node_ends_it_where_the_next_node_goes_on() {
    node_stops(true).await;
    node_stops(false).await;
}

/// The registry has forgotten such a connection already. It hears of the stop nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_last_words_of_a_replay() {
    let mut held = held(true, |config| config.shutdown_timeout = DEADLINE * 10).await;
    let path = format!("/subscriptions/{}", held.id);
    assert_eq!(held.service.send("DELETE", &path, None).await.0, 204);
    held.service.begin_stop();
    let (next, _) = until_ended(&mut held.socket, 0, 4500).await;
    assert!(next < PAST, "it was under way");
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_takes_too_long_ends_as_slow_and_goes_on_from_its_cursor() {
    let slow = |config: &mut Config| config.feed.replay_timeout = Duration::from_millis(300);
    let mut held = held(true, slow).await;
    // Nothing is read meanwhile.
    let begun = Instant::now();
    let passed = async || begun.elapsed() > Duration::from_millis(400);
    held.service.until("it takes too long", passed).await;
    let (next, ended) = until_ended(&mut held.socket, 0, 4000).await;
    assert!(next < PAST, "it was under way");
    held.service.assert_books_balance().await;

    let mut config = held.service.config.clone();
    config.feed.replay_timeout = DEADLINE;
    held.service = Service::on(config).await;
    let cursor = ended["cursor"].as_str().unwrap();
    (held.socket, held.connected) = narrow_socket(&held.service, &held.id, cursor).await;
    publish(&held.service, PAST..PAST + 1).await;
    assert_eq!(held.until(PAST).await, numbers(next..PAST + 1));
}

/// Changes the filter unseen: the oplog does not show the one in force behind the replay. The client is closed, and
/// gets the filter then in force when it reconnects.
async fn changed_unseen(held: &mut Held) {
    publish(&held.service, PAST..PAST + 5).await;
    let (next, ended) = until_ended(&mut held.socket, 0, 1013).await;
    assert_eq!(next, PAST, "all that came before");
    let cursor = ended["cursor"].as_str().unwrap();
    (held.socket, held.connected) = narrow_socket(&held.service, &held.id, cursor).await;
    assert_eq!(held.until(PAST + 4).await, numbers(PAST + 3..PAST + 5));
}

/// Makes a change for which the node has no room.
async fn withheld(in_memory: bool) {
    let room = |config: &mut Config| config.limits.subscriptions_bytes = 4 * 1024;
    let mut held = held(in_memory, room).await;
    let subscriptions = held
        .service
        .database
        .collection::<Document>("subscriptions");
    let others: Vec<i32> = (PAST..PAST + 1_000).collect();
    let change = doc! {"$set": {"filter": {"data.n": {"$nin": others}}}};
    let id = doc! {"_id": &held.id};
    subscriptions.update_one(id, change).await.unwrap();
    let path = format!("/subscriptions/{}", held.id);
    let applied = async || held.service.get(&path).await["status"] == "invalid";
    held.service.until("there is no room for it", applied).await;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&json!("invalid")) {
        let message = held.socket.message().await;
        if message["type"] == "updated" {
            statuses.push(message["subscription"]["status"].clone());
        }
    }
    assert_eq!(statuses, ["active", "invalid"]);
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_node_has_no_room_for_is_told_at_the_end_of_the_past() {
    withheld(true).await;
    withheld(false).await;
}

async fn replaced(in_memory: bool) {
    let mut held = held(in_memory, |_| {}).await;
    let staged = held.service.database.collection::<Document>("staged");
    let document = doc! {"_id": &held.id, "filter": {"data.n": {"$gte": PAST + 3}}};
    staged.insert_one(document).await.unwrap();
    let name = held.service.database.name();
    let rename = doc! {
        "renameCollection": format!("{name}.staged"),
        "to": format!("{name}.subscriptions"),
        "dropTarget": true,
    };
    let admin = held.service.database.client().database("admin");
    admin.run_command(rename).await.unwrap();
    changed_unseen(&mut held).await;
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_an_image_does_not_keep_the_old_filter() {
    let mut held = held(false, |_| {}).await;
    let database = held.service.database.clone();
    let without = doc! {
        "collMod": "subscriptions", "changeStreamPreAndPostImages": {"enabled": false},
    };
    database.run_command(without).await.unwrap();
    let subscriptions = database.collection::<Document>("subscriptions");
    let filter = doc! {"$set": {"filter": {"data.n": {"$gte": PAST + 3}}}};
    let id = doc! {"_id": &held.id};
    subscriptions.update_one(id, filter).await.unwrap();
    changed_unseen(&mut held).await;
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_were_replaced_do_not_keep_the_old_filter() {
    replaced(true).await;
    replaced(false).await;
}
