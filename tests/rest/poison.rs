//! Documents that other programs wrote into our collections: every field with a value of every type. A bad one is left out
//! and reported. It harms no other document, and no call fails for it.

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
    oid::ObjectId, raw::cstr, spec::BinarySubtype,
};
use mongodb::{
    error::{Error, ErrorKind, WriteFailure},
    options::ReadConcern,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{request, send, support::Service, with_json};

/// Returns a value of each type that a driver writes, and no value.
fn values() -> Vec<Option<Bson>> {
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    let mut values: Vec<_> = [
        Bson::Double(f64::NAN),
        Bson::Double(1.5),
        Bson::String("zzz".to_owned()),
        Bson::String("\u{e4}\u{1f600}".repeat(20)),
        Bson::Document(doc! {"a": 1}),
        Bson::Array(vec![Bson::Int32(1)]),
        binary(BinarySubtype::Generic, &[1, 2]),
        binary(BinarySubtype::BinaryOld, &[1, 2]),
        binary(BinarySubtype::Uuid, &[1]),
        Bson::Undefined,
        Bson::ObjectId(ObjectId::new()),
        Bson::Boolean(true),
        Bson::DateTime(DateTime::MIN),
        Bson::DateTime(DateTime::MAX),
        Bson::Null,
        Bson::RegularExpression(Regex {
            pattern: cstr!("a").to_owned(),
            options: cstr!("").to_owned(),
        }),
        Bson::JavaScriptCode("a".to_owned()),
        Bson::Symbol("a".to_owned()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "a".to_owned(),
            scope: doc! {},
        }),
        Bson::Int32(5),
        Bson::Timestamp(Timestamp {
            time: 5,
            increment: 5,
        }),
        Bson::Int64(i64::MIN),
        Bson::Decimal128("4".parse::<Decimal128>().unwrap()),
        Bson::MinKey,
        Bson::MaxKey,
    ]
    .map(Some)
    .to_vec();
    values.push(None);
    values
}

/// Returns `document` with this value in the field.
fn with(document: &Document, field: &str, value: Option<Bson>) -> Document {
    let mut changed = document.clone();
    match value {
        Some(value) => changed.insert(field, value),
        None => changed.remove(field),
    };
    changed
}

async fn status(service: &Service, path: &str) -> u16 {
    send(request(service, Method::GET, path)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_any_type_is_none_and_the_next_acknowledgement_heals_it() {
    let service = Service::start_with(|config| {
        config.feed.ack_delay = std::time::Duration::from_millis(5);
    })
    .await;
    for id in ["bad", "good"] {
        let body = json!({"filter": {}, "durable": true});
        let put = with_json(
            &service,
            Method::PUT,
            &format!("/subscriptions/{id}"),
            &body,
        );
        assert_eq!(send(put).await.status, 201);
    }
    let positions = service.database.collection::<Document>("positions");
    let position = async |id: &str| positions.find_one(doc! {"_id": id}).await.unwrap();
    service
        .until("the beginning is stored", async || {
            position("bad").await.is_some()
        })
        .await;
    let sound = position("bad").await.unwrap();
    for (number, value) in values().into_iter().enumerate() {
        for field in ["position", "since", "updatedAt"] {
            let poison = with(&sound, field, value.clone());
            let only = doc! {"_id": "bad"};
            positions.replace_one(only, &poison).await.unwrap();
            assert_eq!(
                status(&service, "/subscriptions/bad").await,
                200,
                "{poison}"
            );
        }
        let poison = with(&sound, "position", value.clone());
        positions
            .replace_one(doc! {"_id": "bad"}, &poison)
            .await
            .unwrap();
        if let Some(id) = value.filter(|id| {
            !matches!(
                id,
                Bson::Array(_) | Bson::RegularExpression(_) | Bson::Undefined
            )
        }) {
            let odd = with(&sound, "_id", Some(id));
            positions.insert_one(odd).await.unwrap();
        }
        let mut sockets = [service.connect("bad").await, service.connect("good").await];
        service.publish("t", json!(number)).await;
        for socket in &mut sockets {
            let cursor = loop {
                let frame = socket.message().await;
                if frame["event"]["data"] == json!(number) {
                    break frame["cursor"].clone();
                }
            };
            let ack = json!({"type": "ack", "cursor": cursor});
            socket.say(&ack.to_string()).await;
        }
        let [bad, good] = sockets;
        for id in ["bad", "good"] {
            let is_new = async || {
                let stored = position(id).await.unwrap();
                let stored = stored.get_str("position").unwrap_or_default().to_owned();
                stored.as_str() > sound.get_str("position").unwrap()
                    && stored != "zzz"
                    && stored.is_ascii()
            };
            service
                .until(&format!("{id} moves on: {poison}"), is_new)
                .await;
        }
        bad.leave().await;
        good.leave().await;
    }
    let told = service.count("tidegate_unreadable_documents_total{collection=\"positions\"}");
    assert!(told.await > 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_receipts_of_any_type_are_left_out() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let socket = service.connect(&id).await;
    let path = format!("/subscriptions/{id}");
    let deleted = send(request(&service, Method::DELETE, &path)).await;
    assert_eq!(deleted.status, 204);
    drop(socket);
    let nodes = service.database.collection::<Document>("nodes");
    let receipts = service.database.collection::<Document>("receipts");
    service
        .until("a receipt", async || {
            receipts.find_one(doc! {}).await.unwrap().is_some()
        })
        .await;
    let node = nodes.find_one(doc! {}).await.unwrap().unwrap();
    let receipt = receipts.find_one(doc! {}).await.unwrap().unwrap();
    for (collection, sound) in [(&nodes, &node), (&receipts, &receipt)] {
        let mut poison = Vec::new();
        for value in values() {
            for field in sound.keys() {
                let mut document = with(sound, field, value.clone());
                if field != "_id" {
                    document.insert("_id", ObjectId::new().to_hex());
                }
                poison.push(document);
            }
        }
        let insert = collection.insert_many(&poison).ordered(false);
        // Not every type may be an `_id`.
        assert!(insert.await.is_err());
    }
    assert_eq!(status(&service, "/nodes").await, 200);
    let teardown = format!("{path}/teardown");
    assert_eq!(status(&service, &teardown).await, 200);
    assert_eq!(status(&service, "/health").await, 200);
    let listed = service.get("/nodes").await;
    let own = node.get_str("_id").unwrap();
    let items = listed["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["id"] == own), "{listed}");
    for collection in ["nodes", "receipts"] {
        let name = format!("tidegate_unreadable_documents_total{{collection=\"{collection}\"}}");
        assert!(service.count(&name).await > 0, "{collection}");
    }
    service.stop().await;
}

/// A key whose document no node has written is as good as new.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_of_any_shape_fails_no_request() {
    let service = Service::start().await;
    let body = json!({"id": "one", "source": "/s", "type": "t"});
    let publish = async || {
        let publish = with_json(&service, Method::POST, "/events", &body);
        send(publish.header("idempotency-key", "k")).await
    };
    assert_eq!(publish().await.status, 202);
    let keys = service.database.collection::<Document>("idempotency");
    let done = keys.find_one(doc! {}).await.unwrap().unwrap();
    let mut running = done.clone();
    running.insert("state", "running");
    running.insert("leaseUntil", DateTime::from_millis(0));
    running.remove("answer");
    let answer = done.get_document("answer").unwrap();
    let mut poison = Vec::new();
    for value in values() {
        for sound in [&done, &running] {
            let fields = sound.keys().filter(|field| *field != "_id");
            poison.extend(fields.map(|field| with(sound, field, value.clone())));
        }
        // Bytes are a body, whatever they say.
        let is_body = |field: &str| field == "body" && matches!(value, Some(Bson::Binary(_)));
        let fields = answer.keys().filter(|field| !is_body(field));
        let answers = fields.map(|field| with(answer, field, value.clone()));
        poison.extend(answers.map(|answer| with(&done, "answer", Some(answer.into()))));
    }
    for (field, value) in [
        ("status", Bson::Int32(99)),
        ("status", Bson::Int32(1_000)),
        (
            "headers",
            vec![vec!["a b".to_owned(), "c".to_owned()]].into(),
        ),
        (
            "headers",
            vec![vec!["a".to_owned(), "b\n".to_owned()]].into(),
        ),
    ] {
        let answer = with(answer, field, Some(value));
        poison.push(with(&done, "answer", Some(answer.into())));
    }
    for poison in poison {
        let only = doc! {"_id": done.get_str("_id").unwrap()};
        keys.replace_one(only, &poison).await.unwrap();
        let answer = publish().await;
        assert_eq!(answer.status, 202, "{poison}: {answer:?}");
    }
    let told = service.count("tidegate_unreadable_documents_total{collection=\"idempotency\"}");
    assert!(told.await > 0);
    service.stop().await;
}

const FIELDS: [&str; 11] = [
    "filter",
    "name",
    "status",
    "durable",
    "source",
    "owner",
    "metadata",
    "expiresAt",
    "createdAt",
    "updatedAt",
    "revision",
];

/// Whether the validator refused the write.
fn is_invalid(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == 121)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_validator_lets_through_is_read_and_what_is_invalid_is_healed_by_patch_and_put() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let mut stored = Vec::new();
    for field in FIELDS.into_iter().chain(["$y", "a.b", "theirs"]) {
        for (number, value) in values().into_iter().enumerate() {
            let id = format!("{field}-{number}").replace(['$', '.'], "_");
            let value = match (field, value) {
                // Expired at once, or no time that JSON has.
                ("expiresAt" | "createdAt" | "updatedAt", Some(Bson::DateTime(_))) => {
                    Some(Bson::DateTime(DateTime::from_millis(4_000_000_000_000)))
                }
                ("status", Some(Bson::String(_))) => Some("paused".into()),
                ("source", Some(Bson::String(_))) => Some("events".into()),
                ("filter", Some(Bson::Document(_))) => Some(doc! {"a": 1}.into()),
                (_, value) => value,
            };
            let document = with(&doc! {"_id": &id, "filter": {}}, field, value);
            let accepted = match subscriptions.insert_one(&document).await {
                Ok(_) => true,
                Err(error) if is_invalid(&error) => false,
                Err(error) => panic!("{document}: {error}"),
            };
            if !accepted {
                let anyway = subscriptions.insert_one(&document);
                anyway.bypass_document_validation(true).await.unwrap();
            }
            stored.push((field, id, document, accepted));
        }
    }
    service.subscribe(json!({})).await;
    for (field, id, document, accepted) in &stored {
        let path = format!("/subscriptions/{id}");
        // An invalid one is shown as it is stored, with whatever types.
        let (status, shown) = service.send("GET", &path, None).await;
        assert_eq!(status, 200, "{document}: {shown}");
        let is_missing = *field == "filter"
            && document
                .get("filter")
                .is_none_or(|filter| filter.as_document().is_none());
        let reads = shown["status"] != "invalid";
        if !is_missing {
            assert_eq!(reads, *accepted, "{document}: {shown}");
        }
        let settable = FIELDS[..8].contains(field) && *field != "filter";
        if settable {
            let value = if *field == "status" {
                json!("active")
            } else {
                Value::Null
            };
            let body = json!({*field: value});
            let (status, patched) = service.send("PATCH", &path, Some(body)).await;
            assert_eq!(status, 200, "{document}: {patched}");
        }
        let put = with_json(&service, Method::PUT, &path, &json!({"filter": {"x": 1}}));
        let healed = send(put).await;
        assert_eq!(healed.status, 200, "{document}: {healed:?}");
        assert_eq!(healed.json()["status"], "active", "{document}: {healed:?}");
    }
    for listed in ["/subscriptions?limit=1000", "/subscriptions?status=invalid"] {
        let (status, _) = service.send("GET", listed, None).await;
        assert_eq!(status, 200);
    }
    service.stop().await;
}

const EVENT_FIELDS: [&str; 12] = [
    "_id",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "ext",
    "ts",
    "storedAt",
];

/// Returns an event with this value in the field. Its stored dates keep it from expiring.
fn event(field: &str, number: usize, value: Option<Bson>) -> Document {
    let name = format!("{field}-{number}");
    let sound = doc! {"_id": &name, "id": &name, "source": "/s", "type": "t", "data": 1};
    let value = match (field, value) {
        ("storedAt", Some(Bson::DateTime(_))) => {
            Some(Bson::DateTime(DateTime::from_millis(4_000_000_000_000)))
        }
        (_, value) => value,
    };
    // The server names what has no `_id`.
    with(&sound, field, value)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_any_type_is_delivered_and_paged_and_found() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let events = service.database.collection::<Document>("events");
    let mut stored = 0;
    for field in EVENT_FIELDS {
        for (number, value) in values().into_iter().enumerate() {
            let event = event(field, number, value);
            let insert = events.insert_one(&event);
            match insert.bypass_document_validation(true).await {
                Ok(_) => stored += 1,
                // Not every type may be an `_id`.
                Err(_) if field == "_id" => {}
                Err(error) => panic!("{event}: {error}"),
            }
        }
    }
    for _ in 0..stored {
        let frame = socket.message().await;
        assert_eq!(frame["type"], "event", "{frame}");
    }
    let lacking = doc! {"$or": [{"ts": Bson::Null}, {"storedAt": Bson::Null}]};
    service
        .until("all are dated", async || {
            let undated = events.count_documents(lacking.clone());
            let undated = undated.read_concern(ReadConcern::majority()).await;
            undated.unwrap() == 0
        })
        .await;
    let mut items = Vec::new();
    let mut path = "/events?limit=50".to_owned();
    loop {
        let page = send(request(&service, Method::GET, &path)).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/events?limit=50&after={cursor}");
    }
    assert_eq!(items.len(), stored);
    // Arrays, bytes, and what no server can be asked for: these ids are not looked for.
    let sought = |id: &str| {
        let unsought = ["[", "{\"$undefined", "{\"$reg"].iter();
        !id.ends_with('=') && !unsought.into_iter().any(|kind| id.starts_with(kind))
    };
    for item in items {
        let mut url: reqwest::Url = service.url("/events").parse().unwrap();
        let id = item["id"].as_str().unwrap();
        url.path_segments_mut().unwrap().push(id);
        let found = send(service.http.get(url)).await;
        if sought(id) {
            assert_eq!(found.json(), item);
        } else {
            assert!([200, 404].contains(&found.status), "{item}: {found:?}");
        }
    }
    service.stop().await;
}
