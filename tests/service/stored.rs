//! Documents that other programs write into the collections, and their meaning here.

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use mongodb::Collection;
use serde_json::{Value, json};

use crate::{
    durable::support::{ack, publish, read, stored},
    support::Service,
};

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
async fn an_empty_filter_matches_everything() {
    let service = Service::start().await;
    subscriptions(&service)
        .insert_one(doc! {"_id": "all", "filter": {}})
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
        doc! {"_id": "filterless", "filer": {}},
        doc! {"_id": 7, "filter": {}},
        doc! {"_id": {"a": 1}, "filter": {}},
        doc! {"_id": "operator", "filter": {"a": {"$foo": 1}}},
        doc! {"_id": "where", "filter": {"$where": "true"}},
        doc! {"_id": "asleep", "filter": {}, "status": "asleep"},
        doc! {"_id": "orders", "filter": {}, "source": "orders"},
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
    assert_eq!(
        named,
        [
            "7",
            "asleep",
            "filterless",
            "operator",
            "orders",
            "where",
            r#"{"a":1}"#
        ]
    );
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
        let mut null = doc! {"_id": field, "filter": {}, "theirs": 1};
        null.insert(field, Bson::Null);
        subscriptions.insert_one(null).await.expect(field);
    }
    let huge = doc! {"_id": "huge", "theirs": "x".repeat(5 << 20)};
    subscriptions.insert_one(huge).await.expect_err("too large");
    let listed = service.get("/subscriptions?status=active&count=true").await;
    assert_eq!(listed["total"], 10, "all but that without a filter");
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

/// An `ObjectId` as `_id`, which a shell makes, is known by its digits.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_id_is_a_subscription_everywhere() {
    let service = Service::start().await;
    let key = ObjectId::new();
    let id = key.to_hex();
    let path = format!("/subscriptions/{id}");
    let document = doc! {"_id": key, "filter": {"type": "a"}, "durable": true};
    subscriptions(&service).insert_one(document).await.unwrap();
    let mut socket = service.connect(&id).await;
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    for list in ["", "?status=active"] {
        let listed = service.get(&format!("/subscriptions{list}")).await;
        assert_eq!(listed["items"][0]["id"], id);
    }
    let page = service.get(&format!("{path}/events")).await;
    assert_eq!(page["items"][0]["data"], json!({"n": 1}));
    let dry = json!({"event": {"type": "a"}});
    assert_eq!(
        service.post(&format!("{path}/match"), dry).await["matches"],
        true
    );
    let (status, named) = service
        .send("PATCH", &path, Some(json!({"name": "n"})))
        .await;
    assert_eq!((status, &named["revision"]), (200, &json!(2)));
    assert_eq!(socket.message().await["type"], "updated");
    let whole = json!({"id": id, "filter": {"type": "b"}, "durable": true});
    let (status, replaced) = service.send("PUT", &path, Some(whole)).await;
    assert_eq!((status, &replaced["id"]), (200, &json!(id)));
    assert_eq!(
        socket.message().await["subscription"]["filter"],
        json!({"type": "b"})
    );
    service.publish("b", json!({"n": 2})).await;
    let event = socket.message().await;
    assert_eq!(event["event"]["data"], json!({"n": 2}));
    let ack = json!({"type": "ack", "cursor": event["cursor"]});
    socket.say(&ack.to_string()).await;
    service
        .until("the position is shown", async || {
            service.get(&path).await["position"] == event["cursor"]
        })
        .await;
    // A second node, and a client that was away.
    let sibling = service.sibling().await;
    service.publish("b", json!({"n": 3})).await;
    let after = format!("?after={}", event["cursor"].as_str().unwrap());
    let mut resumed = service.open(&id, "").await;
    let mut late = sibling.open(&id, &after).await;
    for client in [&mut resumed, &mut late] {
        assert_eq!(client.message().await["type"], "connected");
        assert_eq!(client.event().await, json!({"n": 3}));
    }
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    assert_eq!(socket.event().await, json!({"n": 3}));
    socket.assert_ends(4500, "deleted").await;
    resumed.assert_ends(4500, "deleted").await;
    late.assert_ends(4500, "deleted").await;
    let teardown = service.get(&format!("{path}/teardown")).await;
    assert_eq!(teardown["subscription"], id);
    assert_eq!(service.status(&path).await, 404);
    sibling.stop().await;
    service.stop().await;
}

/// The first one counts: a node that starts later could not tell them apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_string_takes_the_id_of_an_object_id_and_leaves_it() {
    let service = Service::start().await;
    let key = ObjectId::new();
    let id = key.to_hex();
    let digits = doc! {"_id": key, "filter": {"type": "digits"}};
    let text = doc! {"_id": &id, "filter": {"type": "text"}};
    subscriptions(&service).insert_one(digits).await.unwrap();
    let mut socket = service.connect(&id).await;
    subscriptions(&service).insert_one(text).await.unwrap();
    let updated = socket.message().await;
    assert_eq!(updated["subscription"]["filter"], json!({"type": "text"}));
    let sibling = service.sibling().await;
    for node in [&service, &sibling] {
        let filter = &node.get(&format!("/subscriptions/{id}")).await["filter"];
        assert_eq!(*filter, json!({"type": "text"}));
        let invalid = node.get("/subscriptions?status=invalid&count=true").await;
        assert_eq!(
            (&invalid["total"], &invalid["items"][0]["id"]),
            (&json!(1), &json!(id))
        );
        let all = node.get("/subscriptions").await;
        assert_eq!(all["items"][0]["status"], "active");
        assert_eq!(all["items"][1]["status"], "invalid");
        let metric = "tidegate_subscriptions{status=\"invalid\"}";
        assert_eq!(node.count(metric).await, 1);
    }
    service.publish("digits", json!(1)).await;
    service.publish("text", json!(2)).await;
    assert_eq!(socket.event().await, 2);
    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    socket.assert_ends(4500, "deleted").await;
    for node in [&service, &sibling] {
        let mut socket = node.connect(&id).await;
        service.publish("text", json!(3)).await;
        service.publish("digits", json!(4)).await;
        assert_eq!(socket.event().await, 4);
    }
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    assert_eq!(service.status(&path).await, 404);
    sibling.stop().await;
    service.stop().await;
}

/// To connected clients it is one subscription: they are told of the change, and the position stays.
#[tokio::test(flavor = "multi_thread")]
async fn who_stays_when_a_string_takes_the_id_goes_on_acknowledging() {
    let service = Service::start().await;
    for was_durable in [true, false] {
        let key = ObjectId::new();
        let id = key.to_hex();
        let filter = doc! {"type": "tick"};
        let digits = doc! {"_id": key, "filter": &filter, "durable": was_durable};
        subscriptions(&service).insert_one(digits).await.unwrap();
        let mut socket = service.connect(&id).await;
        let text = doc! {"_id": &id, "filter": filter, "durable": true, "name": "text"};
        subscriptions(&service).insert_one(text).await.unwrap();
        assert_eq!(socket.message().await["subscription"]["name"], "text");
        publish(&service, 0..2).await;
        let (_, first) = read(&mut socket, 1).await;
        ack(&mut socket, &first).await;
        let acknowledged = async || {
            let stored = stored(&service, &id).await;
            stored.is_some_and(|stored| stored.get_str("position").is_ok_and(|at| at == first))
        };
        service.until("it is acknowledged", acknowledged).await;
        drop(socket);
        let mut socket = service.open(&id, "").await;
        assert_eq!(socket.message().await["cursor"], first);
        assert_eq!(read(&mut socket, 1).await.0, [1]);
    }
    service.stop().await;
}

/// On a socket, over REST, in a page, and where the oplog is not read any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_program_has_its_place_and_its_time_everywhere() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "bare"})).await;
    let mut socket = service.connect(&id).await;
    let stored = events(&service);
    for n in 0..4 {
        if n % 2 == 0 {
            let bare = doc! {"_id": n.to_string(), "type": "bare", "data": n};
            stored.insert_one(bare).await.unwrap();
        } else {
            service.publish("bare", json!(n)).await;
        }
    }
    let mut times = Vec::new();
    for n in 0..4 {
        let event = socket.message().await["event"].clone();
        assert_eq!(event["data"], n);
        times.push(event["time"].clone());
    }
    service
        .until("they are dated", async || {
            let undated = doc! {"$or": [{"ts": null}, {"storedAt": null}]};
            stored.count_documents(undated).await.unwrap() == 0
        })
        .await;
    service.catch_up().await;
    for (order, expected) in [("asc", [0, 1, 2, 3]), ("desc", [3, 2, 1, 0])] {
        let page = service
            .get(&format!("/subscriptions/{id}/events?order={order}"))
            .await;
        let items = page["items"].as_array().unwrap();
        let data: Vec<_> = items.iter().map(|item| item["data"].clone()).collect();
        assert_eq!(json!(data), json!(expected), "{order}");
        for (item, n) in items.iter().zip(expected) {
            assert_eq!(item["time"], times[n]);
        }
    }
    assert_eq!(service.get("/events/2").await["time"], times[2]);
    service.stop().await;
}
