//! Events that no careful program writes and MongoDB stores all the same: text that is not UTF-8, old binary data with
//! a wrong length, one name twice. They are delivered, and look the same on every way.

use bson::{Document, RawBson, RawDocument, RawDocumentBuf, doc, raw::cstr};
use serde_json::{Value, json};

use crate::support::{Service, Socket};

/// A stand-in for a byte that is not UTF-8.
const BROKEN: char = '~';

/// Inserts a document with its bytes as they are. The driver's own types would refuse them.
async fn insert(service: &Service, collection: &str, document: &RawDocument) {
    let bytes = document.as_bytes().to_vec();
    let length = bytes.len();
    let mut documents = bson::RawArrayBuf::new();
    documents.push(document.to_owned());
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("insert"), collection);
    command.append(cstr!("documents"), documents);
    let mut command = command.into_bytes();
    let at = command
        .windows(length)
        .position(|part| part == bytes)
        .unwrap();
    for byte in &mut command[at..at + length] {
        if *byte == u8::try_from(BROKEN).unwrap() {
            *byte = 0xFF;
        }
    }
    let command = RawDocumentBuf::from_bytes(command).unwrap();
    let answer = service.database.run_raw_command(command).await.unwrap();
    assert_eq!(answer.get_i32("n").unwrap(), 1, "{answer:?}");
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// Returns what every way shows of the one event of a subscription: two sockets, server-sent events, a page, the event.
async fn shown(service: &Service, id: &str, document: &RawDocument) -> Vec<Value> {
    let mut ours = service.connect(id).await;
    let path = format!("/api/v1/subscriptions/{id}/events");
    let bare = Socket::open(service.address, &path, Some("cloudevents.json")).await;
    let mut bare = bare.unwrap();
    insert(service, "events", document).await;
    let live = ours.message().await["event"].clone();
    let bare = bare.message().await;
    let page = service.get(&format!("/subscriptions/{id}/events")).await;
    let listed = service.get("/events").await;
    let mut shown = vec![live, bare];
    for page in [page, listed] {
        shown.push(page["items"].as_array().unwrap().last().unwrap().clone());
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_no_text_is_delivered_and_counted() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "odd"})).await;
    let key = format!("k{BROKEN}");
    let document = raw(
        &doc! {"_id": 1, "type": "odd", "subject": format!("s{BROKEN}"),
        "data": {key: [format!("v{BROKEN}"), "plain"]}},
    );
    for event in shown(&service, &id, &document).await {
        assert_eq!(event["subject"], "s\u{FFFD}", "{event}");
        assert_eq!(event["data"], json!({"k\u{FFFD}": ["v\u{FFFD}", "plain"]}));
    }
    let counted = service.metric("tidegate_events_undecodable_total").await;
    assert!(counted > 0.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_no_text_matches_its_bytes_and_is_shown() {
    let service = Service::start().await;
    let odd = format!("s{BROKEN}");
    let stored =
        doc! {"_id": "odd", "name": &odd, "filter": {"subject": &odd}, "metadata": {&odd: &odd}};
    insert(&service, "subscriptions", &raw(&stored)).await;
    let known = async || service.status("/subscriptions/odd").await == 200;
    service.until("known", known).await;
    let shown = service.get("/subscriptions/odd").await;
    assert_eq!(shown["status"], "active", "{shown}");
    assert_eq!(shown["name"], "s\u{FFFD}");
    assert_eq!(shown["filter"], json!({"subject": "s\u{FFFD}"}));
    assert_eq!(shown["metadata"], json!({"s\u{FFFD}": "s\u{FFFD}"}));
    let mut socket = service.connect("odd").await;
    for (subject, data) in [("s\u{FFFD}", 1), (&odd, 2)] {
        insert(
            &service,
            "events",
            &raw(&doc! {"subject": subject, "data": data}),
        )
        .await;
    }
    assert_eq!(socket.event().await, json!(2), "the bytes count");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_binary_data_with_a_wrong_length_is_delivered() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "odd"})).await;
    let old = bson::Binary {
        subtype: bson::spec::BinarySubtype::BinaryOld,
        bytes: vec![5],
    };
    let mut bytes = raw(&doc! {"_id": 1, "type": "odd", "data": {"old": old}}).into_bytes();
    let inner = bytes.windows(5).position(|part| part == [1, 0, 0, 0, 5]);
    bytes[inner.unwrap()] = 9;
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    for event in shown(&service, &id, &document).await {
        assert_eq!(
            event["data"]["old"]["$binary"]["base64"], "CQAAAAU=",
            "{event}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fields_with_one_name_the_first_counts_on_every_way() {
    let service = Service::start().await;
    let id = service
        .subscribe(json!({"type": "first", "data.x": 1}))
        .await;
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), 1);
    for text in ["first", "second"] {
        for name in [
            cstr!("id"),
            cstr!("source"),
            cstr!("type"),
            cstr!("subject"),
        ] {
            document.append(name, text);
        }
    }
    let mut data = RawDocumentBuf::new();
    data.append(cstr!("x"), 1);
    data.append(cstr!("x"), 2);
    document.append(cstr!("data"), RawBson::Document(data));
    let mut events = shown(&service, &id, &document).await;
    events.push(service.get("/events/first?source=first").await);
    for event in events {
        for name in ["id", "source", "type", "subject"] {
            assert_eq!(event[name], "first", "{event}");
        }
        assert_eq!(event["data"], json!({"x": 1}));
    }
    assert_eq!(service.status("/events/second").await, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_subprotocol_carries_cloudevents_alone() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "odd"})).await;
    let document = raw(
        &doc! {"_id": 1, "type": "odd", "__v": 3, "createdAt": bson::DateTime::MIN, "ext": "e"},
    );
    let [own, bare, ..] = &shown(&service, &id, &document).await[..] else {
        panic!("no events");
    };
    assert_eq!(own["__v"], 3);
    assert_eq!(own.get("data"), None);
    assert_eq!(bare.get("__v"), None);
    assert_eq!(
        (&bare["data"]["__v"], &bare["ext"]),
        (&json!(3), &json!("e"))
    );
    service.stop().await;
}

/// Returns all ids on the pages of a call, one event per page.
async fn paged(service: &Service, path: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut page = service.get(path).await;
    loop {
        assert!(ids.len() < 100, "no end: {ids:?}");
        let items = page["items"].as_array().unwrap();
        ids.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            return ids;
        };
        let name = if path.contains("order=desc") {
            "before"
        } else {
            "after"
        };
        page = service.get(&format!("{path}&{name}={cursor}")).await;
    }
}

/// An event is found by the id that it is shown with, and holds up neither pages nor the dates of others.
#[tokio::test(flavor = "multi_thread")]
async fn events_whose_ids_are_no_text_are_found_and_paged() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let second = u32::try_from(bson::DateTime::now().timestamp_millis() / 1_000).unwrap();
    let odd = |text: &str| format!("{text}{BROKEN}");
    let mut shown = Vec::new();
    for (increment, (event, id)) in (1..).zip([
        (doc! {"_id": odd("a")}, "a\u{FFFD}"),
        (doc! {"_id": odd("")}, "\u{FFFD}"),
        (
            doc! {"_id": format!("b{BROKEN}b{BROKEN}"), "source": "/s"},
            "b\u{FFFD}b\u{FFFD}",
        ),
        (doc! {"_id": 1, "id": odd("c"), "source": "/s"}, "c\u{FFFD}"),
        (doc! {"_id": 2, "id": odd("d")}, "d\u{FFFD}"),
        (doc! {"_id": 3, "id": "e", "source": odd("/s")}, "e"),
        (
            doc! {"_id": 4, "id": "f", "type": odd("t"), odd("key"): odd("x")},
            "f",
        ),
        (doc! {"_id": {"g": odd("x")}, "id": "g"}, "g"),
        (doc! {"_id": "h"}, "h"),
    ]) {
        let mut event = event;
        event.insert(
            "ts",
            bson::Timestamp {
                time: second,
                increment,
            },
        );
        event.insert("storedAt", bson::DateTime::now());
        insert(&service, "events", &raw(&event)).await;
        shown.push(id.to_owned());
    }
    for id in &shown {
        let found = service.get(&format!("/events/{id}")).await;
        assert_eq!(found["id"], id.as_str(), "{found}");
    }
    let none = service.send("GET", "/events/z%EF%BF%BD", None).await;
    assert_eq!(none.0, 404);
    assert_eq!(paged(&service, "/events?limit=1").await, shown);
    let past = format!("/subscriptions/{id}/events?limit=1");
    assert_eq!(paged(&service, &past).await, shown);
    let mut newest_first = paged(&service, &format!("{past}&order=desc")).await;
    newest_first.reverse();
    assert_eq!(newest_first, shown);
    service.stop().await;
}
