//! Cursors that are not simply in this node's past, and times in their place.

use bson::{Timestamp, doc};
use serde_json::{Value, json};
use tidegate::position::{Cursor, Position};

use crate::support::{Events, Service, Socket};

async fn publish(service: &Service, range: std::ops::Range<i64>) {
    for n in range {
        service.publish("tick", json!({"n": n})).await;
    }
}

/// Reads the database's clock.
async fn server_time(service: &Service) -> bson::DateTime {
    let hello = service.database.run_command(doc! {"hello": 1}).await;
    *hello.unwrap().get_datetime("localTime").unwrap()
}

/// Waits until the database's clock has moved on by this much.
async fn pass(service: &Service, millis: i64) {
    let begun = server_time(service).await.timestamp_millis();
    let passed = async || server_time(service).await.timestamp_millis() > begun + millis;
    service.until("the clock goes on", passed).await;
}

async fn current_cursor(service: &Service, id: &str) -> String {
    let mut socket = service.open(id, "").await;
    let connected = socket.message().await;
    connected["cursor"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_stands_for_what_was_committed_since() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    publish(&service, 0..3).await;
    pass(&service, 1_000).await;
    let time = server_time(&service).await;
    pass(&service, 1_000).await;
    publish(&service, 3..5).await;
    let time = time.try_to_rfc3339_string().unwrap();
    let mut socket = service.open(&id, &format!("?since={time}")).await;
    assert_eq!(socket.message().await["recovered"], true);
    for n in 3..5 {
        assert_eq!(socket.event().await["n"], n);
    }
    let mut events = Events::open(&service, &id, &format!("?since={time}"), None).await;
    assert_eq!(events.next().await.unwrap().data["recovered"], true);
    assert_eq!(events.next().await.unwrap().data["event"]["data"]["n"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_deployment_is_a_gap_and_then_live() {
    let (elsewhere, service) = (Service::start().await, Service::start().await);
    let other = elsewhere.subscribe(json!({})).await;
    let foreign = current_cursor(&elsewhere, &other).await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    publish(&service, 0..1).await;

    let query = format!("?after={foreign}");
    let mut socket = service.open(&id, &query).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], false, "{connected}");
    let assert_gap = |gap: &Value| {
        assert_eq!(gap["type"], "gap", "{gap}");
        assert_eq!(gap["reason"], "other_deployment");
        assert_eq!(gap["after"], foreign.as_str());
    };
    let gap = socket.message().await;
    assert_gap(&gap);
    assert_eq!(gap["cursor"], connected["cursor"]);
    let mut events = Events::open(&service, &id, "", Some(&foreign)).await;
    assert_eq!(events.next().await.unwrap().data["recovered"], false);
    assert_gap(&events.next().await.unwrap().data);
    publish(&service, 1..2).await;
    assert_eq!(socket.event().await["n"], 1);
    assert_eq!(events.next().await.unwrap().data["event"]["data"]["n"], 1);

    let mut closing = service.open(&id, &format!("{query}&onGap=close")).await;
    assert_eq!(closing.message().await["recovered"], false);
    let (messages, closed) = closing.rest().await;
    assert_eq!(closed.code, 4002, "{messages:?}");
    let path = format!("/api/v1/subscriptions/{id}/events{query}");
    let mut deaf = Socket::open(service.address, &path, Some("cloudevents.json"))
        .await
        .unwrap();
    let (messages, closed) = deaf.rest().await;
    assert_eq!((messages, closed.code), (vec![], 4002));
}

/// A client may come from a node that is ahead of this one: it has already seen what this one still has to read.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_ahead_of_the_feed_is_taken_and_what_comes_up_to_it_skipped() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let here = Cursor::parse(&current_cursor(&service, &id).await).unwrap();
    let ahead = Position::at(Timestamp {
        time: here.position.cluster_time().time + 3,
        increment: 0,
    });
    let ahead = ahead.cursor(here.deployment);
    let mut live = service.connect(&id).await;
    let mut socket = service.open(&id, &format!("?after={ahead}")).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true);
    assert_eq!(connected["cursor"], ahead.as_str());

    let mut n = 0;
    let first = loop {
        service.publish("tick", json!({"n": n})).await;
        n += 1;
        let message = live.message().await;
        if *message["cursor"].as_str().unwrap() > *ahead {
            break message;
        }
        pass(&service, 100).await;
    };
    assert!(n > 1, "some came before");
    assert_eq!(socket.message().await, first, "the first beyond the cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_far_ahead_of_the_databases_clock_is_refused() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let here = Cursor::parse(&current_cursor(&service, &id).await).unwrap();
    let at = |ahead: u32| {
        let time = here.position.cluster_time().time + ahead;
        Position::at(Timestamp { time, increment: 0 }).cursor(here.deployment)
    };
    let (near, far) = (at(30), at(3_600));
    let mut socket = service.open(&id, &format!("?after={near}")).await;
    assert_eq!(socket.message().await["recovered"], true);
    for (query, problem) in [
        (format!("after={far}"), "bad-cursor"),
        ("since=2036-01-01T00:00:00Z".to_owned(), "bad-parameter"),
    ] {
        let path = format!("/api/v1/subscriptions/{id}/events?{query}");
        assert!(Socket::open(service.address, &path, None).await.is_err());
        let request = service
            .http
            .get(format!("http://{}{path}", service.address));
        let answer = request.header("accept", "text/event-stream").send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 400);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["type"], format!("/problems/{problem}"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_before_the_subscription_is_told_where_it_can_be() {
    let service = Service::start().await;
    publish(&service, 0..1).await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    publish(&service, 1..2).await;
    let query = "?since=2020-01-01T00:00:00Z";
    let mut socket = service.open(&id, query).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], false, "{connected}");
    let gap = socket.message().await;
    assert_eq!(
        (&gap["type"], &gap["reason"]),
        (&json!("gap"), &json!("before_subscription"))
    );
    assert_eq!(gap["cursor"], connected["cursor"]);
    assert!(gap["after"].as_str().unwrap() < gap["cursor"].as_str().unwrap());
    assert_eq!(socket.event().await["n"], 1);
    // From there on it is told no more.
    let again = format!("?after={}", connected["cursor"].as_str().unwrap());
    let mut again = service.open(&id, &again).await;
    assert_eq!(again.message().await["recovered"], true);
    assert_eq!(again.event().await["n"], 1);

    let mut events = Events::open(&service, &id, query, None).await;
    assert_eq!(events.next().await.unwrap().data["recovered"], false);
    assert_eq!(
        events.next().await.unwrap().data["reason"],
        "before_subscription"
    );
    let mut closing = service.open(&id, &format!("{query}&onGap=close")).await;
    assert_eq!(closing.message().await["recovered"], false);
    assert_eq!(closing.message().await["reason"], "before_subscription");
    assert_eq!(closing.event().await["n"], 1, "it stays");
    // Bare events cannot carry a gap, and a close would come again and again.
    for more in ["", "&onGap=close"] {
        let path = format!("/api/v1/subscriptions/{id}/events{query}{more}");
        let bare = Socket::open(service.address, &path, Some("cloudevents.json")).await;
        assert_eq!(bare.unwrap().message().await["data"]["n"], 1);
    }
}
