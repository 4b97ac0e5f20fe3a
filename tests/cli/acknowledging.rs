//! `listen --ack`: the service keeps the position of a durable subscription.

use serde_json::{Value, json};

use super::{
    listen::{listen, server},
    process::{Running, tidegate},
    support::{Service, free_port},
};

async fn durable(service: &Service) -> String {
    let wish = json!({"filter": {"type": "t"}, "durable": true});
    let made = service.post("/subscriptions", wish).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn publish(service: &Service, range: std::ops::Range<i64>) {
    let events: Vec<Value> = range
        .map(|n| json!({"type": "t", "data": {"n": n}}))
        .collect();
    service.post("/events", json!(events)).await;
}

/// Waits for the next event. Returns its `n`.
fn next(listening: &Running) -> i64 {
    let event: Value = serde_json::from_str(&listening.says("")).unwrap();
    event["data"]["n"].as_i64().unwrap()
}

/// Returns the stored position.
async fn position(service: &Service, id: &str) -> String {
    let subscription = service.get(&format!("/subscriptions/{id}")).await;
    subscription["position"].as_str().unwrap().to_owned()
}

/// Listens with --ack and no starting point until these events are printed.
fn check(service: &Service, id: &str, expected: std::ops::Range<i64>) {
    let count = (expected.end - expected.start).to_string();
    let listening = listen(&server(service), &[id, "--ack", "--count", &count]);
    for n in expected {
        assert_eq!(next(&listening), n);
    }
    assert_eq!(listening.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_printed_does_not_come_again_and_what_was_not_comes() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..5).await;
    check(&service, &id, 0..2);
    check(&service, &id, 2..3);
    publish(&service, 5..7).await;
    check(&service, &id, 3..7);

    // Without --ack nothing is acknowledged.
    publish(&service, 7..8).await;
    for _ in 0..2 {
        let listening = listen(&server(&service), &[&id, "--count", "1"]);
        assert_eq!(next(&listening), 7);
        assert_eq!(listening.end(), Some(0));
    }
    check(&service, &id, 7..8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_nothing_unacknowledged() {
    let service = Service::start().await;
    let id = durable(&service).await;
    for (n, name) in [(0, "INT"), (1, "TERM")] {
        let listening = listen(&server(&service), &[&id, "--ack"]);
        publish(&service, n..n + 1).await;
        assert_eq!(next(&listening), n, "and nothing of before");
        listening.signal(name);
        assert_eq!(listening.end(), Some(0));
    }
    publish(&service, 2..3).await;
    check(&service, &id, 2..3);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_acknowledged_while_it_listens() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..3).await;
    let listening = listen(&server(&service), &[&id, "--ack", "--json"]);
    let mut cursor = String::new();
    for n in 0..3 {
        let frame: Value = serde_json::from_str(&listening.says("\"event\"")).unwrap();
        assert_eq!(frame["event"]["data"]["n"], n);
        cursor = frame["cursor"].as_str().unwrap().to_owned();
    }
    service
        .until("acknowledged", async || {
            position(&service, &id).await >= cursor
        })
        .await;
    listening.kill();
    publish(&service, 3..4).await;
    check(&service, &id, 3..4);
}

/// Starts a node on the same database, in a process. It forgets acknowledgements when it is killed.
async fn forgetful(service: &Service, address: &str) -> Running {
    let config = &service.config;
    let running = Running::start(
        tidegate(&["serve", "--listen", address])
            .env("TIDEGATE_MONGODB_URI", &config.mongodb_uri)
            .env("TIDEGATE_DATABASE", &config.database)
            .env("TIDEGATE_FEED__ACK_DELAY", "1h"),
    );
    let url = format!("http://{address}/api/v1/ready");
    let ready = async || {
        let answer = service.http.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    service.until("the process is ready", ready).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_forgets_is_acknowledged_again_on_the_next_connection() {
    let service = Service::start().await;
    let id = durable(&service).await;
    let address = format!("127.0.0.1:{}", free_port());
    let killed = forgetful(&service, &address).await;
    let arguments = [&*id, "--ack", "--json"];
    let listening = listen(&format!("http://{address}"), &arguments);
    publish(&service, 0..1).await;
    let frame: Value = serde_json::from_str(&listening.says("\"event\"")).unwrap();
    let cursor = frame["cursor"].as_str().unwrap();
    listening.notes("connected");
    killed.kill();
    assert!(*position(&service, &id).await < *cursor);

    let _other = forgetful(&service, &address).await;
    listening.notes("connected");
    listening.signal("INT");
    assert_eq!(listening.end(), Some(0));
    let stored = async || *position(&service, &id).await >= *cursor;
    service.until("acknowledged again", stored).await;
    publish(&service, 1..2).await;
    check(&service, &id, 1..2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_takes_few_acknowledgements() {
    const EVENTS: i64 = 1_000;
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..EVENTS).await;
    check(&service, &id, 0..EVENTS);
    let acks = service.count("tidegate_acks_total").await;
    assert!((EVENTS / 100..EVENTS).contains(&acks), "{acks}");
    publish(&service, EVENTS..EVENTS + 1).await;
    check(&service, &id, EVENTS..EVENTS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_given_has_precedence_and_what_is_printed_moves_the_kept_one() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..1).await;
    let listening = listen(&server(&service), &[&id, "--count", "1", "--json"]);
    let frame: Value = serde_json::from_str(&listening.says("\"event\"")).unwrap();
    assert_eq!(listening.end(), Some(0));
    publish(&service, 1..3).await;
    let after = frame["cursor"].as_str().unwrap();
    let arguments = [&*id, "--ack", "--count", "1", "--after", after];
    let listening = listen(&server(&service), &arguments);
    assert_eq!(next(&listening), 1);
    assert_eq!(listening.end(), Some(0));
    check(&service, &id, 2..3);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_plain_subscription_it_warns_and_listens() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "t"})).await;
    let listening = listen(&server(&service), &[&id, "--ack", "--count", "2"]);
    listening.notes("warning: the subscription is not durable");
    publish(&service, 0..2).await;
    assert_eq!((next(&listening), next(&listening)), (0, 1));
    assert_eq!(listening.end(), Some(0));
    assert_eq!(service.count_closed("bad_message").await, 0);
}
