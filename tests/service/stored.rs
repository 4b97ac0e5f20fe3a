//! What other programs write into the collections, and what that means here.

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use mongodb::Collection;
use serde_json::{Value, json};

use crate::support::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_document_is_a_subscription_that_streams() {
    let service = Service::start().await;
    let bare = doc! {"_id": "bare", "filter": {"data.amount": {"$gt": 10}}};
    subscriptions(&service).insert_one(bare).await.unwrap();
    let mut socket = service.connect("bare").await;
    let shown = service.get("/subscriptions/bare").await;
    let expected = json!({"id": "bare", "name": null, "source": "events",
        "filter": {"data.amount": {"$gt": 10}}, "status": "active", "durable": false,
        "owner": null, "metadata": {}, "expiresAt": null, "revision": 1, "createdAt": null,
        "updatedAt": null});
    assert_eq!(shown, expected);
    service.publish("a", json!({"amount": 10})).await;
    service.publish("a", json!({"amount": 11})).await;
    assert_eq!(socket.event().await, json!({"amount": 11}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_without_a_filter_matches_everything() {
    let service = Service::start().await;
    subscriptions(&service)
        .insert_one(doc! {"_id": "all"})
        .await
        .unwrap();
    let mut socket = service.connect("all").await;
    service.publish("a", json!({"n": 1})).await;
    events(&service)
        .insert_one(doc! {"data": "bare"})
        .await
        .unwrap();
    assert_eq!(socket.event().await, json!({"n": 1}));
    assert_eq!(socket.event().await, "bare");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_document_is_an_event_that_says_of_itself_what_can_be_said() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let before = DateTime::now();
    let key = ObjectId::new();
    events(&service)
        .insert_one(doc! {"_id": key, "data": {"n": 1}})
        .await
        .unwrap();
    let after = DateTime::now();
    let event = socket.message().await["event"].clone();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], key.to_hex());
    assert_eq!(
        event["source"],
        format!("/{}/events", service.database.name())
    );
    assert_eq!(event["type"], "tidegate.event");
    let time = DateTime::parse_rfc3339_str(event["time"].as_str().unwrap()).unwrap();
    assert!((before..=after).contains(&time), "{before} {time} {after}");
    assert_eq!(event["data"], json!({"n": 1}));
    let found = service.get(&format!("/events/{}", key.to_hex())).await;
    assert_eq!(
        (&found["type"], &found["source"]),
        (&event["type"], &event["source"])
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_inserts_are_events() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let events = events(&service);
    events.insert_one(doc! {"_id": 1, "data": 1}).await.unwrap();
    let key = doc! {"_id": 1};
    events
        .update_one(key.clone(), doc! {"$set": {"data": 2}})
        .await
        .unwrap();
    events
        .replace_one(key.clone(), doc! {"data": 3})
        .await
        .unwrap();
    events.delete_one(key).await.unwrap();
    events.insert_one(doc! {"data": "marker"}).await.unwrap();
    assert_eq!(socket.event().await, 1);
    assert_eq!(socket.event().await, "marker");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_a_subscription_is_invalid_and_stops_nothing() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let strange = [
        doc! {"_id": ObjectId::new(), "filter": {}},
        doc! {"_id": 7},
        doc! {"_id": {"a": 1}},
        doc! {"_id": "operator", "filter": {"a": {"$foo": 1}}},
        doc! {"_id": "where", "filter": {"$where": "true"}},
        doc! {"_id": "asleep", "status": "asleep"},
        doc! {"_id": "orders", "source": "orders"},
    ];
    subscriptions(&service).insert_many(&strange).await.unwrap();
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    let invalid = "tidegate_subscriptions{status=\"invalid\"}";
    assert_eq!(service.metric(invalid).await.to_bits(), 7.0f64.to_bits());
    let listed = service.get("/subscriptions?status=invalid").await;
    let mut named: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(id_of)
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["asleep", "operator", "orders", "where"]);
    let shown = service.get("/subscriptions/operator").await;
    assert_eq!(shown["status"], "invalid");
    assert!(
        shown["error"]
            .as_str()
            .unwrap()
            .starts_with("#/filter/a/$foo"),
        "{shown}"
    );
    for document in &strange {
        let key = doc! {"_id": document.get("_id")};
        subscriptions(&service).delete_one(key).await.unwrap();
    }
    service.publish("a", json!({"n": 2})).await;
    assert_eq!(socket.event().await, json!({"n": 2}));
    assert_eq!(service.metric(invalid).await.to_bits(), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_subscription_keeps_its_sockets_and_heals_when_corrected() {
    let service = Service::start().await;
    let subscriptions = subscriptions(&service);
    let broken = doc! {"_id": "s", "filter": {"type": {"$foo": 1}}};
    subscriptions.insert_one(broken).await.unwrap();
    let mut socket = service.open("s", "").await;
    let connected = socket.message().await;
    assert_eq!(connected["subscription"]["status"], "invalid");
    service.publish("a", json!({"n": 1})).await;
    let key = doc! {"_id": "s"};
    for (filter, status) in [
        (doc! {"type": "a"}, "active"),
        (doc! {"$bar": 1}, "invalid"),
        (doc! {}, "active"),
    ] {
        let change = doc! {"$set": {"filter": filter}};
        subscriptions.update_one(key.clone(), change).await.unwrap();
        let updated = socket.message().await;
        assert_eq!(updated["type"], "updated", "{updated}");
        assert_eq!(updated["subscription"]["status"], status);
        assert_eq!(
            updated["subscription"]["error"].is_string(),
            status == "invalid"
        );
    }
    service.publish("b", json!({"n": 2})).await;
    assert_eq!(socket.event().await, json!({"n": 2}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_refuses_wrong_types_and_nothing_else() {
    let service = Service::start().await;
    let subscriptions = subscriptions(&service);
    for (field, wrong) in [
        ("filter", Bson::from("x")),
        ("name", 5.into()),
        ("status", true.into()),
        ("durable", "yes".into()),
        ("source", 1.into()),
        ("owner", doc! {}.into()),
        ("metadata", vec![1].into()),
        ("expiresAt", "soon".into()),
        ("createdAt", 0.into()),
        ("updatedAt", "x".into()),
        ("revision", "one".into()),
    ] {
        let refused = subscriptions
            .insert_one(doc! {"_id": field, field: wrong})
            .await;
        let error = refused.expect_err(field).to_string();
        assert!(
            error.contains("121") || error.contains("validation"),
            "{field}: {error}"
        );
        let null = doc! {"_id": field, field: Bson::Null, "theirs": 1};
        subscriptions.insert_one(null).await.expect(field);
    }
    let huge = doc! {"_id": "huge", "theirs": "x".repeat(5 << 20)};
    subscriptions.insert_one(huge).await.expect_err("too large");
    let listed = service.get("/subscriptions?status=active&count=true").await;
    assert_eq!(listed["total"], 11);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_keeps_the_fields_of_others() {
    let service = Service::start().await;
    let theirs = doc! {"_id": "s", "zone": {"a": [1, 2]}, "filter": {"type": "a"}, "tag": 7i64};
    subscriptions(&service)
        .insert_one(theirs.clone())
        .await
        .unwrap();
    let patch = json!({"name": "ours", "filter": {"type": "b"}});
    let (status, shown) = service.send("PATCH", "/subscriptions/s", Some(patch)).await;
    assert_eq!((status, &shown["filter"]), (200, &json!({"type": "b"})));
    assert_eq!(shown["revision"], 2);
    let stored = subscriptions(&service)
        .find_one(doc! {"_id": "s"})
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.get("zone"), theirs.get("zone"));
    assert_eq!(stored.get("tag"), theirs.get("tag"));
    assert_eq!(stored.get("filter"), Some(&doc! {"type": "b"}.into()));
    let mut socket = service.connect("s").await;
    service.publish("a", json!({"n": 1})).await;
    service.publish("b", json!({"n": 2})).await;
    assert_eq!(socket.event().await, json!({"n": 2}));
    service.stop().await;
}

fn id_of(item: &Value) -> &str {
    item["id"].as_str().unwrap()
}

fn subscriptions(service: &Service) -> Collection<Document> {
    service.database.collection("subscriptions")
}

fn events(service: &Service) -> Collection<Document> {
    service.database.collection("events")
}
