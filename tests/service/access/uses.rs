//! The last use of keys.

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::{connect, make, publish, send, start, subscribe};
use crate::support::Service;

async fn shown(service: &Service, admin: &str, id: &str) -> Value {
    let (status, key) = send(service, admin, "GET", &format!("/keys/{id}"), None).await;
    assert_eq!(status, 200, "{key}");
    key["lastUsedAt"].clone()
}

async fn counted(service: &Service, admin: &str, outcome: &str) -> u64 {
    let url = format!("http://{}/metrics", service.address);
    let shown = service.http.get(url).bearer_auth(admin).send().await;
    let shown = shown.unwrap().text().await.unwrap();
    let name = format!("tidegate_key_uses_total{{outcome=\"{outcome}\"}} ");
    let line = shown.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_shows_when_it_was_used_last() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let body = json!({"scopes": ["events:read", "subscriptions:read"]});
    let (unused, _) = make(&service, &admin, body.clone()).await;
    let (id, key) = make(&service, &admin, body).await;
    assert_eq!(shown(&service, &admin, &id).await, Value::Null);
    let before = DateTime::now().timestamp_millis() - 1_000;
    assert_eq!(send(&sibling, &key, "GET", "/whoami", None).await.0, 200);
    let is_written = async || shown(&service, &admin, &id).await.is_string();
    service.until("the use is written", is_written).await;
    let last_used_at = shown(&service, &admin, &id).await;
    let at = DateTime::parse_rfc3339_str(last_used_at.as_str().unwrap()).unwrap();
    assert!(at.timestamp_millis() >= before, "{at}");
    let (_, page) = send(&service, &admin, "GET", "/keys", None).await;
    let items = page["items"].as_array().unwrap();
    let of = |id: &str| items.iter().find(|key| key["id"] == id).unwrap()["lastUsedAt"].clone();
    assert_eq!((of(&id), of(&unused)), (last_used_at, Value::Null));
    // It is written once in a while, whatever else the key does.
    let open = subscribe(&service, &admin).await;
    for _ in 0..20 {
        assert_eq!(send(&sibling, &key, "GET", "/whoami", None).await.0, 200);
        connect(&sibling, &key, &open).await.leave().await;
    }
    // A marker: what was to be written before it, was.
    let (_, marker) = make(&service, &admin, json!({"scopes": ["metrics"]})).await;
    let uses = service.database.collection::<Document>("uses");
    assert_eq!(send(&sibling, &marker, "GET", "/whoami", None).await.0, 200);
    let all = async || uses.count_documents(doc! {}).await.unwrap() == 3;
    service.until("the marker is written", all).await;
    assert_eq!(
        uses.find_one(doc! {"_id": &id})
            .await
            .unwrap()
            .unwrap()
            .get("lastUsedAt"),
        Some(&Bson::from(at))
    );
    // This key's and the marker's.
    assert_eq!(counted(&sibling, &admin, "written").await, 2);
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_stand_is_no_use() {
    let (service, admin) = start().await;
    let body = json!({"scopes": ["events:read"], "networks": ["192.0.2.0/24"]});
    let (id, key) = make(&service, &admin, body).await;
    let wrong = format!("{}x", &key[..key.len() - 1]);
    for (key, status) in [(&key, 403), (&wrong, 401)] {
        assert_eq!(send(&service, key, "GET", "/whoami", None).await.0, status);
    }
    let (of_marker, marker) = make(&service, &admin, json!({"scopes": ["metrics"]})).await;
    assert_eq!(send(&service, &marker, "GET", "/whoami", None).await.0, 200);
    let used = async || shown(&service, &admin, &of_marker).await.is_string();
    service.until("the marker's use is written", used).await;
    assert_eq!(shown(&service, &admin, &id).await, Value::Null);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_that_cannot_be_written_harms_no_request() {
    let (service, admin) = start().await;
    // The database refuses every document.
    let refuse = doc! {"collMod": "uses", "validator": {"_id": {"$exists": false}}};
    service.database.run_command(refuse).await.unwrap();
    let (id, key) = make(&service, &admin, json!({"scopes": ["events:publish"]})).await;
    for n in 0..3 {
        publish(&service, &key, n).await;
    }
    let failed = async || counted(&service, &admin, "failed").await >= 1;
    service.until("a write has failed", failed).await;
    assert_eq!(send(&service, &key, "GET", "/whoami", None).await.0, 200);
    assert_eq!(shown(&service, &admin, &id).await, Value::Null);
    service.stop().await;
}

/// Returns the number of changes that the server has handed to the feed.
async fn read_by_feed(service: &Service) -> i64 {
    let name = format!("{}.$cmd.aggregate", service.config.database);
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true, "idleCursors": true}},
        doc! {"$match": {"ns": name, "cursor.nDocsReturned": {"$exists": true}}},
    ];
    let admin = service.database.client().database("admin");
    let found = admin.aggregate(pipeline).await.unwrap();
    let cursors: Vec<Document> = found.try_collect().await.unwrap();
    let all = admin.aggregate([doc! {"$currentOp": {"allUsers": true, "idleCursors": true}}]).await.unwrap();
    let all: Vec<Document> = all.try_collect().await.unwrap();
    for one in &all { println!("OP {one}"); }
    assert_eq!(cursors.len(), 1, "{cursors:#?}");
    let cursor = cursors[0].get_document("cursor").unwrap();
    match cursor.get("nDocsReturned") {
        Some(Bson::Int64(count)) => *count,
        Some(Bson::Int32(count)) => i64::from(*count),
        other => panic!("no number of changes: {other:?}"),
    }
}

/// Writes to `uses` must not pass through the feed of every node.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_not_on_the_feed() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let mut socket = connect(&service, &admin, &id).await;
    let before = read_by_feed(&service).await;
    let uses = service.database.collection::<Document>("uses");
    for n in 0..50 {
        let one = doc! {"_id": format!("key_{n}")};
        let set = doc! {"$currentDate": {"lastUsedAt": true}};
        let write = uses.update_one(one.clone(), set).upsert(true);
        write.await.unwrap();
        uses.delete_one(one).await.unwrap();
    }
    // A marker: what the feed would have read before it, it has.
    publish(&service, &admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    assert_eq!(read_by_feed(&service).await, before + 1);
    service.stop().await;
}
