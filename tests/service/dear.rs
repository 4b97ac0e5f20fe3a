//! Filters that take too many steps on an event: each is blamed on its subscription alone.

use serde_json::{Value, json};
use tidegate::config::Config;

use crate::support::{Service, Socket};

/// Elements of the event. Only the last meets any condition of the filter.
pub(crate) const ELEMENTS: usize = 45_000;

/// Makes a filter that takes far too many steps on [`event`], and few on anything else.
pub(crate) fn filter() -> Value {
    let elements: Vec<_> = (0..100)
        .map(|n| json!({"$elemMatch": {"x": {"$gt": n}}}))
        .collect();
    let all = json!({"data.a": {"$all": elements}});
    json!({"type": "tick", "$and": [all, all, all, all]})
}

pub(crate) fn event(elements: usize) -> Value {
    let mut data = vec![json!({"x": 0}); elements];
    data.push(json!({"x": 1_000}));
    json!({"a": data})
}

struct Told {
    before: Value,
    updated: Value,
}

/// Makes a subscription meet an ordinary event, and then one that is too expensive for it.
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
    // What does not match moves everyone's position on all the same.
    service.publish("other", json!({})).await;
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

/// Opens a socket after a cursor, and asserts that it gets the event before the expensive one, a gap in the place of
/// that, and the events after it. Returns `connected` too.
async fn replay(service: &Service, told: &Told, after: &str) -> (Value, Socket) {
    let mut socket = service.open("dear", &format!("?after={after}")).await;
    let connected = socket.message().await;
    let first = socket.message().await;
    assert_eq!(first["cursor"], told.before["cursor"], "{first}");
    let gap = socket.message().await;
    assert_gap(&gap, &told.before);
    assert_eq!(gap["cursor"], told.updated["cursor"], "{gap}");
    assert_eq!(socket.event().await, event(2));
    (connected, socket)
}

/// Asserts that a gap holds one event alone. It begins where the replay stood, which is not before the client's last
/// message.
fn assert_gap(gap: &Value, before: &Value) {
    assert_eq!(gap["type"], "gap", "{gap}");
    assert_eq!(gap["reason"], "oversized_change");
    let cursor = |of: &Value| of.as_str().unwrap().to_owned();
    let after = cursor(&gap["after"]);
    assert!(after >= cursor(&before["cursor"]), "{gap} after {before}");
    assert!(after < cursor(&gap["cursor"]), "{gap}");
}

/// Returns the cursor of the subscription's beginning.
async fn beginning(service: &Service) -> String {
    let mut fresh = service.open("dear", "?since=2020-01-01T00:00:00Z").await;
    fresh.message().await["cursor"].as_str().unwrap().to_owned()
}

/// A client that replays the event decides nothing for others. Otherwise nodes would differ.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_a_gap_goes_on_and_leaves_the_subscription_as_it_is() {
    let service = Service::start().await;
    let (mut socket, told) = meet(&service, "dear").await;
    service.publish("tick", event(2)).await;
    socket.say(r#"{"type":"ping"}"#).await;
    assert_eq!(socket.message().await["type"], "pong", "nothing else");
    let beginning = beginning(&service).await;
    let (connected, _socket) = replay(&service, &told, &beginning).await;
    assert_eq!(connected["subscription"]["status"], "invalid");

    // A node that was started later has not met the event.
    let restarted = Service::on(Config::clone(&service.config)).await;
    service.stop().await;
    let mut live = restarted.connect("dear").await;
    let (mut one, mut other) = (
        replay(&restarted, &told, &beginning).await,
        replay(&restarted, &told, &beginning).await,
    );
    restarted.publish("tick", event(3)).await;
    for (connected, socket) in [&mut one, &mut other] {
        assert_eq!(connected["subscription"]["status"], "active");
        assert_eq!(socket.event().await, event(3));
    }
    assert_eq!(live.event().await, event(3), "and nothing else");
    let shown = restarted.get("/subscriptions/dear").await;
    assert_eq!(shown["status"], "active");
    assert_eq!(restarted.count("tidegate_filters_blamed_total").await, 0);
    assert_eq!(restarted.count("tidegate_filters_undecided_total").await, 2);
    restarted.stop().await;
}

/// Events that a replay gives up one by one, before it gives up the rest of the past.
const GIVEN_UP: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_on_many_events_is_not_tried_on_the_rest_of_the_past() {
    let service = Service::start().await;
    let (_socket, told) = meet(&service, "dear").await;
    for _ in 0..GIVEN_UP {
        service.publish("tick", event(ELEMENTS)).await;
    }
    service.publish("tick", event(2)).await;
    let restarted = Service::on(Config::clone(&service.config)).await;
    service.stop().await;
    let query = format!("?after={}", told.before["cursor"].as_str().unwrap());
    let mut socket = restarted.open("dear", &query).await;
    let mut before = socket.message().await;
    assert_eq!(before["recovered"], false);
    for _ in 0..GIVEN_UP {
        let gap = socket.message().await;
        assert_gap(&gap, &before);
        before = gap;
    }
    restarted.publish("tick", event(3)).await;
    assert_eq!(
        socket.event().await,
        event(3),
        "the one before was passed over"
    );
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_or_wants_no_gap_ends_where_the_event_is() {
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
    // A client that comes to the event again ends there again, as at any gap.
    let before = ended["cursor"].as_str().unwrap();
    assert!(Some(before) >= cursor.as_str());
    let path = format!("/api/v1/subscriptions/dear/events?after={before}");
    for _ in 0..2 {
        let bare = Socket::open(service.address, &path, Some("cloudevents.json")).await;
        let (events, closed) = bare.unwrap().rest().await;
        assert_eq!((events, closed.code), (vec![], 4002));
        let query = format!("?onGap=close&after={before}");
        let mut deaf = service.open("dear", &query).await;
        let connected = deaf.message().await;
        assert_eq!(connected["subscription"]["status"], "invalid");
        assert_eq!(connected["recovered"], false);
        deaf.assert_ends(4002, "resync").await;
    }
    // A client that starts anew is told what is wrong, and stays.
    let mut deaf = service.open("dear", "?onGap=close").await;
    assert_eq!(deaf.message().await["subscription"]["status"], "invalid");
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
