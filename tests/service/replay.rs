//! A client that was away gets what it missed.

use serde_json::{Value, json};

use crate::support::{Service, Socket};

async fn publish(service: &Service, range: std::ops::Range<i64>) {
    let events: Vec<Value> = range
        .map(|n| json!({"type": "tick", "data": {"n": n}}))
        .collect();
    service.post("/events", json!(events)).await;
}

/// Reads events until `n` is `last`. Returns each `n` with its cursor.
async fn read_until(socket: &mut Socket, last: i64) -> Vec<(i64, String)> {
    let mut read = Vec::new();
    loop {
        let message = socket.message().await;
        assert_eq!(message["type"], "event", "{message}");
        let n = message["event"]["data"]["n"].as_i64().unwrap();
        read.push((n, message["cursor"].as_str().unwrap().to_owned()));
        if n == last {
            return read;
        }
    }
}

fn numbers(read: &[(i64, String)]) -> Vec<i64> {
    read.iter().map(|(n, _)| *n).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_replayed_from_memory_and_then_live() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..10).await;
    let read = read_until(&mut socket, 9).await;
    socket.leave().await;
    publish(&service, 10..3_000).await;

    let mut socket = service.open(&id, &format!("?after={}", read[4].1)).await;
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected");
    assert_eq!(connected["recovered"], true);
    assert_eq!(connected["cursor"], read[4].1);
    publish(&service, 3_000..3_010).await;
    let again = read_until(&mut socket, 3_009).await;
    assert_eq!(numbers(&again), (5..3_010).collect::<Vec<_>>());
    assert!(again.is_sorted_by(|a, b| a.1 < b.1), "cursors rise");
    assert_eq!(service.count("tidegate_replay_streams_total").await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_history_is_read_from_the_database() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..10).await;
    let read = read_until(&mut socket, 9).await;
    publish(&service, 10..3_000).await;
    drop(socket);

    let second = service.sibling().await;
    service.stop().await;
    let mut socket = second.open(&id, &format!("?after={}", read[4].1)).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    publish(&second, 3_000..3_010).await;
    let again = read_until(&mut socket, 3_009).await;
    assert_eq!(numbers(&again), (5..3_010).collect::<Vec<_>>());
    assert_eq!(second.count("tidegate_replay_streams_total").await, 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_during_a_replay_comes_after_what_was_committed_before_it() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..1).await;
    let read = read_until(&mut socket, 0).await;
    publish(&service, 1..5_000).await;
    let mut again = service.open(&id, &format!("?after={}", read[0].1)).await;
    let (status, _) = service
        .send("DELETE", &format!("/subscriptions/{id}"), None)
        .await;
    assert_eq!(status, 204);
    assert_eq!(again.message().await["type"], "connected");
    let read = read_until(&mut again, 4_999).await;
    assert_eq!(numbers(&read), (1..5_000).collect::<Vec<_>>());
    again.assert_ends(4500, "deleted").await;
    service.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_does_not_reach_before_the_subscription_was_made() {
    let service = Service::start().await;
    let elsewhere = service.subscribe(json!({})).await;
    let mut socket = service.open(&elsewhere, "").await;
    let connected = socket.message().await;
    let cursor = connected["cursor"].as_str().unwrap();
    publish(&service, 0..5).await;
    let path = "/subscriptions/again";
    let subscription = json!({"filter": {"type": "tick"}});
    for n in [5, 7] {
        let (status, _) = service.send("PUT", path, Some(subscription.clone())).await;
        assert_eq!(status, 201);
        publish(&service, n..n + 2).await;
        let mut socket = service.open("again", &format!("?after={cursor}")).await;
        let connected = socket.message().await;
        assert_eq!(connected["recovered"], false, "{connected}");
        assert!(
            connected["cursor"].as_str().unwrap() > cursor,
            "{connected}"
        );
        assert_eq!(socket.message().await["reason"], "before_subscription");
        let read = read_until(&mut socket, n + 1).await;
        assert_eq!(numbers(&read), [n, n + 1]);
        assert_eq!(service.send("DELETE", path, None).await.0, 204);
        socket.assert_ends(4500, "deleted").await;
    }
    service.stop().await;
}

/// A node that did not see the insert uses the date of creation, to the second.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_replay_does_not_reach_before_the_subscription_was_made_either() {
    let service = Service::start().await;
    let elsewhere = service.subscribe(json!({})).await;
    let mut socket = service.open(&elsewhere, "").await;
    let cursor = socket.message().await["cursor"].clone();
    publish(&service, 0..5).await;
    let time = async || {
        let hello = service.database.run_command(bson::doc! {"hello": 1}).await;
        let time = hello.unwrap().get_datetime("localTime").copied().unwrap();
        time.timestamp_millis()
    };
    let begun = time().await;
    let passed = async || time().await > begun + 3_000;
    service.until("the clock goes on", passed).await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    publish(&service, 5..7).await;
    let config = service.config.clone();
    service.stop().await;

    let service = Service::on(config).await;
    let after = format!("?after={}", cursor.as_str().unwrap());
    let mut socket = service.open(&id, &after).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], false, "{connected}");
    assert!(connected["cursor"].as_str() > cursor.as_str());
    assert_eq!(socket.message().await["reason"], "before_subscription");
    assert_eq!(numbers(&read_until(&mut socket, 6).await), [5, 6]);
    service.stop().await;
}

/// The last event before a node's start is part of the past that it replays, from the database or from what an earlier
/// replay has brought into memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_happened_at_the_very_time_of_the_start_is_not_left_out() {
    let mut service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.open(&id, "").await;
    let cursor = socket.message().await["cursor"].clone();
    let after = format!("?after={}", cursor.as_str().unwrap());
    drop(socket);
    for last in 0..4 {
        let config = service.config.clone();
        service.stop().await;
        // By another program: nothing else is written until the node starts.
        let event = bson::doc! {"type": "tick", "data": {"n": last}};
        let client = mongodb::Client::with_uri_str(&config.mongodb_uri).await;
        let database = client.unwrap().database(&config.database);
        let events = database.collection::<bson::Document>("events");
        events.insert_one(event).await.unwrap();
        service = Service::on(config).await;
        for _ in 0..3 {
            let mut socket = service.open(&id, &after).await;
            assert_eq!(socket.message().await["recovered"], true);
            let read = read_until(&mut socket, last).await;
            assert_eq!(numbers(&read), (0..=last).collect::<Vec<_>>());
        }
        let streams = service.count("tidegate_replay_streams_total").await;
        assert!(streams <= 2, "{streams} streams");
    }
    service.stop().await;
}
