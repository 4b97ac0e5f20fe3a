//! Documents as other programs write them: changes without images, odd ids, every type of value.

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
    oid::ObjectId, spec::BinarySubtype,
};
use mongodb::Collection;
use serde_json::{Value, json};

use super::{listener::expect, total};
use crate::support::{Service, Socket, read_deep};

fn stored(service: &Service) -> Collection<Document> {
    service.database.collection("subscriptions")
}

fn events(service: &Service) -> Collection<Document> {
    service.database.collection("events")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_an_image_takes_effect_all_the_same() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    let off = doc! {"collMod": "subscriptions", "changeStreamPreAndPostImages": {"enabled": false}};
    service.database.run_command(off).await.unwrap();

    let change = doc! {"$set": {"filter": {"type": "b"}}};
    let changed = stored(&service).update_one(doc! {"_id": &id}, change).await;
    assert_eq!(changed.unwrap().modified_count, 1);
    let updated = expect(&mut socket, "updated").await;
    assert_eq!(updated["subscription"]["filter"], json!({"type": "b"}));
    service.publish("a", json!(1)).await;
    service.publish("b", json!(2)).await;
    assert_eq!(socket.event().await, json!(2));

    // Changed and gone before it can be looked up: the delete tells.
    let change = doc! {"$set": {"name": "last"}};
    let changed = stored(&service).update_one(doc! {"_id": &id}, change).await;
    assert_eq!(changed.unwrap().modified_count, 1);
    let deleted = stored(&service).delete_one(doc! {"_id": &id}).await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    let (messages, closed) = socket.rest().await;
    assert_eq!(closed.code, 4500);
    assert_eq!(messages.last().unwrap()["reason"], "deleted");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_whose_id_is_of_another_type_are_counted_invalid_and_stop_nothing() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let ids = [
        Bson::Boolean(true),
        Bson::Int32(7),
        Bson::Document(doc! {"a": 1}),
        Bson::Null,
    ];
    let documents = ids.iter().map(|id| doc! {"_id": id, "filter": {}});
    stored(&service).insert_many(documents).await.unwrap();
    service.publish("a", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    let invalid = "tidegate_subscriptions{status=\"invalid\"}";
    assert_eq!(total(&service, invalid).await, 4);

    for id in &ids {
        let change = doc! {"$set": {"name": "changed"}};
        let changed = stored(&service).update_one(doc! {"_id": id}, change).await;
        assert_eq!(changed.unwrap().modified_count, 1);
    }
    service.publish("a", json!(2)).await;
    assert_eq!(socket.event().await, json!(2));
    assert_eq!(total(&service, invalid).await, 4);
    stored(&service)
        .delete_many(doc! {"_id": {"$in": &ids[..]}})
        .await
        .unwrap();
    service.publish("a", json!(3)).await;
    assert_eq!(socket.event().await, json!(3));
    assert_eq!(total(&service, invalid).await, 0);
    service.stop().await;
}

/// Makes a document with one field of every type there is.
fn every_type() -> Document {
    let binary = |subtype| Binary {
        subtype,
        bytes: vec![0, 255],
    };
    doc! {
        "double": f64::NAN, "infinite": f64::INFINITY, "string": "\u{0}\u{FFFF}\"\\", "": "no name",
        "document": {"": {"$odd": {"a.b": 1}}}, "array": [[], [[1]], null], "binary": binary(BinarySubtype::Generic),
        "uuid": binary(BinarySubtype::UserDefined(0x80)), "undefined": Bson::Undefined, "id": ObjectId::new(),
        "bool": true, "date": DateTime::MAX, "before": DateTime::MIN, "null": Bson::Null,
        "regex": Regex { pattern: bson::raw::cstr!("^a\"").into(), options: bson::raw::cstr!("i").into() },
        "code": Bson::JavaScriptCode("f()".to_owned()), "symbol": Bson::Symbol("s".to_owned()),
        "scoped": JavaScriptCodeWithScope { code: "f()".to_owned(), scope: doc! {"x": 1} },
        "int": i32::MIN, "long": i64::MAX, "time": Timestamp { time: 1, increment: 2 },
        "decimal": "1E+6144".parse::<Decimal128>().unwrap(), "min": Bson::MinKey, "max": Bson::MaxKey,
    }
}

fn nested(depth: usize) -> Bson {
    (0..depth).fold(Bson::Int32(1), |inside, _| {
        Bson::Document(doc! {"a": inside})
    })
}

/// Waits for the next message, however deep.
async fn deep(socket: &mut Socket) -> Value {
    let frame = socket.frame().await.unwrap().unwrap();
    read_deep(frame.to_text().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_any_content_are_delivered_in_order() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let odd = [
        doc! {},
        doc! {"type": 5, "source": {"a": 1}, "id": true, "time": "yesterday", "subject": [1]},
        doc! {"type": Bson::Null, "data": Bson::Null, "time": Bson::Null, "specversion": "9"},
        doc! {"data": every_type()},
        every_type(),
        doc! {"data": nested(170)},
        doc! {"": "no name", "a.b": 1, "$c": 2, "_id": {"a": 1}},
        doc! {"tidegatecursor": "mine", "data": Binary { subtype: BinarySubtype::Generic, bytes: vec![1] }},
    ];
    for (n, mut document) in odd.into_iter().enumerate() {
        document.insert("n", i32::try_from(n).unwrap());
        events(&service).insert_one(&document).await.unwrap();
        let message = deep(&mut socket).await;
        assert_eq!(message["type"], "event");
        let event = &message["event"];
        assert_eq!(event["n"], json!(n), "{event}");
        assert_eq!(event["specversion"], "1.0");
        assert!(
            ["id", "source", "type"]
                .iter()
                .all(|name| event[*name].is_string()),
            "{event}"
        );
    }
    assert_eq!(total(&service, "tidegate_events_received_total ").await, 8);
    service.stop().await;
}
