//! Changes of a subscription with connections are exact, whoever makes them.

use std::time::{Duration, SystemTime};

use bson::{DateTime, Document, doc};
use mongodb::Collection;
use serde_json::json;

use super::{
    commits::{CommitLog, expected},
    listener::{Listener, expect},
    order::{assert_told, service},
    publishers::{Publishers, event},
};
use crate::support::Service;

fn stored(service: &Service) -> Collection<Document> {
    service.database.collection("subscriptions")
}

async fn patch(service: &Service, id: &str, patch: serde_json::Value) {
    let (status, body) = service
        .send("PATCH", &format!("/subscriptions/{id}"), Some(patch))
        .await;
    assert_eq!(status, 200, "{body}");
}

async fn set(service: &Service, id: &str, fields: Document) {
    let update = doc! {"$set": fields};
    let done = stored(service).update_one(doc! {"_id": id}, update).await;
    assert_eq!(done.unwrap().modified_count, 1);
}

/// Makes `changes` to a new subscription under the publishers' load. Asserts that its connection was told of each, with
/// exactly the events before and after it that the filter then in force matched.
async fn check(updates: usize, changes: impl AsyncFn(&Service, &str)) {
    let service = service().await;
    let mut log = CommitLog::open(&service.database).await;
    let id = service.subscribe(json!({"data.even": true})).await;
    let listener = Listener::connect(&service, &id).await;
    let publishers = Publishers::start(&service);
    for _ in 0..5 {
        changes(&service, &id).await;
    }
    publishers.stop().await;
    let deleted = stored(&service).delete_one(doc! {"_id": &id}).await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    log.read_until_deleted(&id).await;

    let wanted = expected(&log.commits, &id, listener.from());
    let told = listener.told().await;
    assert_told(&told, &wanted);
    let count = told.iter().filter(|(kind, _)| kind == "updated").count();
    assert_eq!(count, 5 * updates);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_filter_holds_from_exactly_its_commit() {
    check(4, async |service, id| {
        patch(service, id, json!({"filter": {"data.even": false}})).await;
        patch(service, id, json!({"filter": {"data.even": true}})).await;
        set(service, id, doc! {"filter": {"data.even": false}}).await;
        let whole = doc! {"filter": {"data.even": true}};
        let replaced = stored(service).replace_one(doc! {"_id": id}, whole).await;
        assert_eq!(replaced.unwrap().modified_count, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_resuming_hold_from_exactly_their_commit() {
    check(4, async |service, id| {
        patch(service, id, json!({"status": "paused"})).await;
        patch(service, id, json!({"status": "active"})).await;
        set(service, id, doc! {"status": "paused"}).await;
        set(service, id, doc! {"status": "active"}).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_filter_matches_nothing_from_exactly_its_commit() {
    check(2, async |service, id| {
        set(service, id, doc! {"filter": {"data.even": {"$nope": 1}}}).await;
        set(service, id, doc! {"filter": {"data.even": true}}).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_judged_change_by_change() {
    check(2, async |service, id| {
        for even in [false, true] {
            change_inside_transaction(service, id, even).await;
        }
    })
    .await;
}

/// Writes events, a new filter, and the same events again, all at one cluster time.
async fn change_inside_transaction(service: &Service, id: &str, even: bool) {
    let events: Collection<Document> = service.database.collection("events");
    let both = || [event("inside", 0), event("inside", 1)];
    let mut session = service.database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let before = events.insert_many(both()).session(&mut session).await;
    let change = doc! {"$set": {"filter": {"data.even": even}}};
    let changed = stored(service)
        .update_one(doc! {"_id": id}, change)
        .session(&mut session)
        .await;
    let after = events.insert_many(both()).session(&mut session).await;
    session.commit_transaction().await.unwrap();
    assert!(before.is_ok() && changed.is_ok() && after.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_document_is_readable_blocks_nobody_and_heals() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let neighbour = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    let mut next_to_it = service.connect(&neighbour).await;

    set(&service, &id, doc! {"filter": {"type": {"$nope": 1}}}).await;
    let updated = expect(&mut socket, "updated").await;
    assert_eq!(updated["subscription"]["status"], "invalid");
    let error = updated["subscription"]["error"].as_str().unwrap();
    assert!(error.contains("$nope"), "{error}");
    let read = service.get(&format!("/subscriptions/{id}")).await;
    assert_eq!(
        (&read["status"], &read["error"]),
        (&json!("invalid"), &json!(error))
    );
    assert_eq!(invalid(&service).await, [id.as_str()]);
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(next_to_it.event().await, json!({"n": 1}));

    set(&service, &id, doc! {"filter": {"type": "a"}}).await;
    let updated = expect(&mut socket, "updated").await;
    assert_eq!(updated["subscription"]["status"], "active");
    assert!(updated["subscription"].get("error").is_none());
    service.publish("a", json!({"n": 2})).await;
    assert_eq!(socket.event().await, json!({"n": 2}));
    assert_eq!(next_to_it.event().await, json!({"n": 2}));
    assert_eq!(invalid(&service).await, Vec::<String>::new());
    service.stop().await;
}

/// Returns the ids of `GET /subscriptions?status=invalid`.
async fn invalid(service: &Service) -> Vec<String> {
    let page = service.get("/subscriptions?status=invalid").await;
    let items = page["items"].as_array().unwrap();
    let id = |item: &serde_json::Value| item["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_can_be_opened_while_the_document_is_invalid() {
    let service = Service::start().await;
    let broken = doc! {"_id": "broken", "filter": {"a": {"$nope": 1}}, "status": "active"};
    stored(&service).insert_one(broken).await.unwrap();
    let mut socket = service.open("broken", "").await;
    let connected = expect(&mut socket, "connected").await;
    assert_eq!(connected["subscription"]["status"], "invalid");
    set(&service, "broken", doc! {"filter": {}}).await;
    expect(&mut socket, "updated").await;
    service.publish("a", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_field_in_the_database_shows_the_whole_subscription() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    set(&service, &id, doc! {"metadata.team.name": "one"}).await;
    let updated = expect(&mut socket, "updated").await;
    let subscription = &updated["subscription"];
    assert_eq!(subscription["metadata"], json!({"team": {"name": "one"}}));
    assert_eq!(subscription["filter"], json!({"type": "a"}));
    assert_eq!(
        *subscription,
        service.get(&format!("/subscriptions/{id}")).await
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_expires_ends_as_expired_and_one_deleted_before_as_deleted() {
    let service = Service::start().await;
    let (now, hour) = (SystemTime::now(), Duration::from_hours(1));
    let later = DateTime::from_system_time(now + hour);
    let documents = ["soon", "later"].map(|id| doc! {"_id": id, "filter": {}, "expiresAt": later});
    stored(&service).insert_many(documents).await.unwrap();
    let mut to_soon = service.connect("soon").await;
    let mut to_later = service.connect("later").await;

    let past = DateTime::from_system_time(now - hour);
    set(&service, "soon", doc! {"expiresAt": past}).await;
    expect(&mut to_soon, "updated").await;
    to_soon.assert_ends(4501, "expired").await;
    let deleted = stored(&service).delete_one(doc! {"_id": "later"}).await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    to_later.assert_ends(4500, "deleted").await;
    service.assert_books_balance().await;
    service.stop().await;
}
