//! Filters that take too much of an event: each is blamed on its subscription alone.

use serde_json::{Value, json};
use tidegate::config::Config;

use crate::support::{Service, Socket};

/// Elements of the event; none but the last meets any condition of the filter.
const ELEMENTS: usize = 45_000;

/// A filter that takes far more steps on [`event`] than it may, and few on anything else.
fn filter() -> Value {
    let elements: Vec<_> = (0..100)
        .map(|n| json!({"$elemMatch": {"x": {"$gt": n}}}))
        .collect();
    let all = json!({"data.a": {"$all": elements}});
    json!({"type": "tick", "$and": [all, all, all, all]})
}

fn event(elements: usize) -> Value {
    let mut data = vec![json!({"x": 0}); elements];
    data.push(json!({"x": 1_000}));
    json!({"a": data})
}

struct Told {
    before: Value,
    updated: Value,
}

/// Makes a subscription and has it meet an ordinary event, and then one that is too much for it.
async fn meet(service: &Service, id: &str) -> (Socket, Told) {
    let path = format!("/subscriptions/{id}");
    let made = service
        .send("PUT", &path, Some(json!({"filter": filter()})))
        .await;
    assert_eq!(made.0, 201, "{}", made.1);
    let mut socket = service.connect(id).await;
    service.publish("tick", event(1)).await;
    let before = socket.message().await;
    assert_eq!(before["type"], "event");
    service.publish("tick", event(ELEMENTS)).await;
    let updated = socket.message().await;
    assert_expensive(&updated);
    assert!(updated["cursor"].as_str() > before["cursor"].as_str());
    (socket, Told { before, updated })
}

fn assert_expensive(updated: &Value) {
    assert_eq!(updated["type"], "updated", "{updated}");
    let subscription = &updated["subscription"];
    assert_eq!(subscription["status"], "invalid");
    let error = subscription["error"].as_str().unwrap();
    assert!(error.starts_with("too expensive: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_too_expensive_for_an_event_makes_its_subscription_invalid_and_no_other() {
    let service = Service::start().await;
    let other = service.subscribe(json!({"type": "tick"})).await;
    let mut spared = service.connect(&other).await;
    let (mut socket, told) = meet(&service, "dear").await;
    for elements in [1, ELEMENTS] {
        let got = spared.event().await;
        assert_eq!(got["a"].as_array().unwrap().len(), elements + 1);
    }
    let shown = service.get("/subscriptions/dear").await;
    assert_eq!(shown["error"], told.updated["subscription"]["error"]);
    let listed = service.get("/subscriptions?status=invalid").await;
    assert_eq!(listed["items"][0]["id"], "dear", "{listed}");
    let filters = async || service.get("/health").await["parts"]["filters"]["status"].clone();
    let expensive = async || filters().await == "expensive";
    service.until("it is told", expensive).await;
    assert_eq!(service.get("/ready").await["status"], "ready");
    assert_eq!(service.count("tidegate_filters_blamed_total").await, 1);

    // A changed document heals.
    let change = json!({"filter": {"type": "tick"}});
    assert_eq!(
        service
            .send("PATCH", "/subscriptions/dear", Some(change))
            .await
            .0,
        200
    );
    assert_eq!(socket.message().await["subscription"]["status"], "active");
    service.publish("tick", json!({})).await;
    assert_eq!(socket.message().await["type"], "event");
    let up = async || filters().await == "up";
    service.until("all is well", up).await;
    service.stop().await;
}

/// What a replay tells that begins before both events, and what `connected` says.
async fn replay(service: &Service, told: &Told, after: &str) -> (Value, Socket) {
    let mut socket = service.open("dear", &format!("?after={after}")).await;
    let connected = socket.message().await;
    let event = socket.message().await;
    assert_eq!(event["cursor"], told.before["cursor"], "{event}");
    let updated = socket.message().await;
    assert_expensive(&updated);
    assert_eq!(updated, told.updated, "as it was told when it happened");
    (connected["subscription"]["status"].clone(), socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_decides_as_the_node_did_and_tells_it_in_the_same_place() {
    let service = Service::start().await;
    let (mut socket, told) = meet(&service, "dear").await;
    socket.say(r#"{"type":"ping"}"#).await;
    assert_eq!(socket.message().await["type"], "pong", "nothing else");
    let mut fresh = service.open("dear", "?since=2020-01-01T00:00:00Z").await;
    let beginning = fresh.message().await["cursor"].as_str().unwrap().to_owned();
    let (status, _socket) = replay(&service, &told, &beginning).await;
    assert_eq!(status, "invalid");

    // A node that has not met the event learns of it from a replay, and then says so to all.
    let restarted = Service::on(Config::clone(&service.config)).await;
    service.stop().await;
    assert_eq!(
        restarted.get("/subscriptions/dear").await["status"],
        "active"
    );
    let mut live = restarted.connect("dear").await;
    let (status, _socket) = replay(&restarted, &told, &beginning).await;
    assert_eq!(status, "active");
    let heard = live.message().await;
    assert_expensive(&heard);
    assert_eq!(
        restarted.get("/subscriptions/dear").await["status"],
        "invalid"
    );
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_or_wants_no_gap_ends_where_the_event_is_once() {
    let service = Service::start().await;
    let made = json!({"filter": filter()});
    assert_eq!(
        service
            .send("PUT", "/subscriptions/dear", Some(made))
            .await
            .0,
        201
    );
    let mut deaf = service.open("dear", "?onGap=close").await;
    assert_eq!(deaf.message().await["type"], "connected");
    service.publish("tick", event(1)).await;
    let cursor = deaf.message().await["cursor"].clone();
    service.publish("tick", event(ELEMENTS)).await;
    let ended = deaf.assert_ends(4002, "resync").await;
    // Bare events cannot say so: whoever comes to the event ends there, each time.
    let before = cursor.as_str().unwrap();
    let path = format!("/api/v1/subscriptions/dear/events?after={before}");
    for _ in 0..2 {
        let bare = Socket::open(service.address, &path, Some("cloudevents.json")).await;
        let (events, closed) = bare.unwrap().rest().await;
        assert_eq!((events, closed.code), (vec![], 4002));
    }
    // It comes back to a subscription that says what is wrong, and stays.
    let again = ended["cursor"].as_str().unwrap();
    assert!(Some(again) >= cursor.as_str());
    let mut deaf = service
        .open("dear", &format!("?onGap=close&after={again}"))
        .await;
    assert_eq!(deaf.message().await["subscription"]["status"], "invalid");
    assert_expensive(&deaf.message().await);
    let change = json!({"filter": {"type": "tick"}});
    assert_eq!(
        service
            .send("PATCH", "/subscriptions/dear", Some(change))
            .await
            .0,
        200
    );
    assert_eq!(deaf.message().await["subscription"]["status"], "active");
    service.assert_books_balance().await;
    service.stop().await;
}
