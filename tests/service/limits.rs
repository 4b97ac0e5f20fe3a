//! The bounds on connections: refused before the upgrade, and free again after a close.

use serde_json::json;

use crate::{
    raw::{Raw, upgrade_request},
    support::{Service, Socket},
};

async fn assert_full(service: &Service, id: &str) {
    let mut raw = Raw::dial(service.address).await;
    raw.send(upgrade_request(id, "").as_bytes()).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.body["type"], "/problems/overloaded");
    let seconds = answer.header("retry-after").expect("when to come back");
    assert!(seconds.parse::<u32>().unwrap() > 0);
}

async fn until_open(service: &Service, connections: i64) {
    let open = async || service.count("tidegate_connections").await == connections;
    service.until("connections are open", open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_refuses_until_a_place_is_free() {
    let service = Service::start_with(|config| config.limits.connections = 3).await;
    let one = service.subscribe(json!({})).await;
    let other = service.subscribe(json!({})).await;
    let mut sockets = Vec::new();
    for id in [&one, &other, &one] {
        sockets.push(service.connect(id).await);
    }
    assert_full(&service, &one).await;
    assert_full(&service, &other).await;
    sockets.pop().unwrap().leave().await;
    until_open(&service, 2).await;
    sockets.push(service.connect(&other).await);
    assert_full(&service, &one).await;
    // Those that were refused were never opened.
    assert_eq!(service.count("tidegate_connections_opened_total").await, 4);
    service.assert_books_balance().await;
    drop(sockets);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_subscription_refuses_alone() {
    let service = Service::start_with(|config| {
        config.limits.connections_per_subscription = 2;
    })
    .await;
    let one = service.subscribe(json!({})).await;
    let other = service.subscribe(json!({})).await;
    let first = service.connect(&one).await;
    let second = service.connect(&one).await;
    assert_full(&service, &one).await;
    let elsewhere = service.connect(&other).await;
    // A client that vanishes makes room like one that leaves.
    drop(first);
    until_open(&service, 2).await;
    let third = service.connect(&one).await;
    assert_full(&service, &one).await;
    drop([second, elsewhere, third]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_full_of_subscriptions_says_so_and_takes_no_more() {
    let service = Service::start_with(|config| config.limits.subscriptions = 3).await;
    let detail = async || service.get("/health").await["parts"]["router"]["detail"].clone();
    let first = service.subscribe(json!({"type": "a"})).await;
    assert!(detail().await.is_null());
    let stored = service
        .database
        .collection::<bson::Document>("subscriptions");
    let documents = ["b", "c", "d"].map(|id| bson::doc! {"_id": id, "filter": {"type": "a"}});
    stored.insert_many(documents).await.unwrap();
    service
        .until("told", async || detail().await.is_string())
        .await;
    assert_eq!(service.status("/ready").await, 200);
    let shown = service.get("/subscriptions/d").await;
    assert_eq!(shown["status"], "invalid");
    assert!(
        shown["error"]
            .as_str()
            .unwrap()
            .contains("limits.subscriptions")
    );
    let invalid = service.get("/subscriptions?status=invalid").await;
    assert_eq!(invalid["items"][0]["id"], "d");
    let body = json!({"filter": {}});
    for (method, path, body) in [
        ("POST", "/subscriptions", body.clone()),
        ("PUT", "/subscriptions/e", body.clone()),
        ("POST", "/subscriptions/batch", json!([body])),
    ] {
        let (status, problem) = service.send(method, path, Some(body)).await;
        assert_eq!(
            (status, &problem["type"]),
            (503, &json!("/problems/overloaded"))
        );
    }
    // The node cannot replay what it does not know, and bare events cannot say why they do not come.
    let past = "?since=2020-01-01T00:00:00Z";
    for (id, query, subprotocol, taken) in [
        ("b", past, None, true),
        ("b", "", Some("cloudevents.json"), true),
        ("d", past, None, false),
        ("d", past, Some("cloudevents.json"), false),
        ("d", "", Some("cloudevents.json"), false),
    ] {
        let path = format!("/api/v1/subscriptions/{id}/events{query}");
        let opened = Socket::open(service.address, &path, subprotocol).await;
        let status = match opened {
            Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
            opened => opened.map(|_| 101).unwrap(),
        };
        assert_eq!(
            status,
            if taken { 101 } else { 503 },
            "{path} {subprotocol:?}"
        );
    }
    // Existing ones can be changed and deleted, and deleting makes room.
    let mut waiting = service.open("d", "").await;
    assert_eq!(waiting.message().await["subscription"]["status"], "invalid");
    let path = format!("/subscriptions/{first}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    let renamed = Some(json!({"name": "again"}));
    let (status, _) = service.send("PATCH", "/subscriptions/d", renamed).await;
    assert_eq!(status, 200);
    assert_eq!(waiting.message().await["subscription"]["status"], "active");
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(waiting.event().await, json!({"n": 1}));
    service.stop().await;
}

/// A client that cannot be told that no more comes, or wants no gap, ends where the node has no room for a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_node_has_no_room_for_ends_who_would_miss_events_in_silence() {
    let service = Service::start_with(|config| config.limits.subscriptions_bytes = 4 * 1024).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut told = service.connect(&id).await;
    let path = format!("/api/v1/subscriptions/{id}/events");
    let bare = Socket::open(service.address, &path, Some("cloudevents.json")).await;
    let mut wants_no_gap = service.open(&id, "?onGap=close").await;
    assert_eq!(wants_no_gap.message().await["type"], "connected");
    let others: Vec<i32> = (0..1_000).collect();
    let change = bson::doc! {"$set": {"filter": {"data.n": {"$nin": others}}}};
    let stored = service
        .database
        .collection::<bson::Document>("subscriptions");
    stored
        .update_one(bson::doc! {"_id": &id}, change)
        .await
        .unwrap();
    assert_eq!(told.message().await["subscription"]["status"], "invalid");
    wants_no_gap.assert_ends(4002, "resync").await;
    assert_eq!(bare.unwrap().rest().await.1.code, 4002);
    service.stop().await;
}
