//! Collections that are dropped, renamed or replaced under the service: nothing is lost but what the operation itself
//! removes, and everything is set up again.

use bson::{Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::{Collection, Database};
use serde_json::json;

use super::listener::{Listener, expect};
use crate::support::{Service, Socket};

fn collection(service: &Service, name: &str) -> Collection<Document> {
    service.database.collection(name)
}

async fn rename(service: &Service, from: &str, to: &str) {
    let name = service.database.name();
    let admin = service.database.client().database("admin");
    let command = doc! {
        "renameCollection": format!("{name}.{from}"), "to": format!("{name}.{to}"), "dropTarget": true,
    };
    admin.run_command(command).await.unwrap();
}

/// Whether a collection has its validator, its indexes and, for subscriptions, its images.
async fn is_set_up(database: &Database, name: &str, indexes: &[&str]) -> bool {
    let mut found = database
        .list_collections()
        .filter(doc! {"name": name})
        .await
        .unwrap();
    let Some(one) = found.try_next().await.unwrap() else {
        return false;
    };
    let images = one.options.change_stream_pre_and_post_images;
    let images = images.is_some_and(|images| images.enabled) || name != "subscriptions";
    let collection: Collection<Document> = database.collection(name);
    let there = collection.list_index_names().await.unwrap_or_default();
    one.options.validator.is_some()
        && images
        && indexes
            .iter()
            .all(|index| there.iter().any(|name| name == index))
}

async fn until_set_up(service: &Service) {
    let database = &service.database;
    service
        .until("set up again", async || {
            is_set_up(database, "subscriptions", &["expiresAt", "name", "paused"]).await
                && is_set_up(database, "events", &["ts", "id_source"]).await
        })
        .await;
}

/// Asserts that the service works from end to end on the present collections.
async fn assert_works(service: &Service) {
    let id = service.subscribe(json!({"type": "works"})).await;
    let mut socket = service.connect(&id).await;
    service.publish("works", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    socket.assert_ends(4500, "deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_events_ends_nobody_and_the_collection_is_set_up_again() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    service.publish("a", json!(1)).await;
    collection(&service, "events").drop().await.unwrap();
    service.publish("a", json!(2)).await;
    assert_eq!(socket.event().await, json!(1));
    assert_eq!(socket.event().await, json!(2));
    until_set_up(&service).await;
    service.publish("a", json!(3)).await;
    assert_eq!(socket.event().await, json!(3));
    service.stop().await;
}

/// Asserts that an operation that removes all subscriptions ends all their connections, after the events committed
/// before.
async fn check_all_end(service: Service, take_away: impl AsyncFnOnce(&Service)) {
    let mut sockets: Vec<Socket> = Vec::new();
    for _ in 0..3 {
        let id = service.subscribe(json!({})).await;
        sockets.push(service.connect(&id).await);
    }
    service.publish("a", json!("before")).await;
    take_away(&service).await;
    for socket in &mut sockets {
        assert_eq!(socket.event().await, json!("before"));
        socket.assert_ends(4500, "deleted").await;
    }
    until_set_up(&service).await;
    assert_works(&service).await;
    let gone = service.get("/subscriptions").await;
    assert_eq!(gone["items"], json!([]));
    service.assert_books_balance().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_subscriptions_ends_them_all_and_the_collection_is_set_up_again() {
    check_all_end(Service::start().await, async |service| {
        collection(service, "subscriptions").drop().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renaming_subscriptions_away_ends_them_all() {
    let service = Service::start().await;
    check_all_end(service, async |service| {
        rename(service, "subscriptions", "elsewhere").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_become_events_end_all_the_same() {
    let service = Service::start().await;
    check_all_end(service, async |service| {
        rename(service, "subscriptions", "events").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_database_ends_them_all_and_everything_is_set_up_again() {
    // A key would be gone too, and its sockets would end for that.
    let service = Service::start_open(|_| {}).await;
    check_all_end(service, async |service| {
        service.database.drop().await.unwrap();
    })
    .await;
}

/// Replaces all subscriptions at once: one stays as it is, one gets another filter, one is gone, one is new. Events
/// that are committed right after are judged by the new ones.
async fn check_replaced(replace: impl AsyncFnOnce(&Service)) {
    let service = Service::start().await;
    for id in ["same", "other", "gone"] {
        let document = doc! {"_id": id, "filter": {"type": "a"}};
        collection(&service, "subscriptions")
            .insert_one(document)
            .await
            .unwrap();
    }
    let mut same = service.connect("same").await;
    let mut other = service.connect("other").await;
    let mut gone = service.connect("gone").await;
    let staged = [
        doc! {"_id": "same", "filter": {"type": "a"}},
        doc! {"_id": "other", "filter": {"type": "b"}},
        doc! {"_id": "new", "filter": {"type": "a"}},
    ];
    collection(&service, "staged")
        .insert_many(staged)
        .await
        .unwrap();
    replace(&service).await;
    let events = collection(&service, "events");
    for n in 0..20 {
        for kind in ["a", "b"] {
            events
                .insert_one(doc! {"type": kind, "data": n})
                .await
                .unwrap();
        }
    }

    gone.assert_ends(4500, "deleted").await;
    let updated = expect(&mut other, "updated").await;
    assert_eq!(updated["subscription"]["filter"], json!({"type": "b"}));
    for n in 0..20 {
        assert_eq!(same.event().await, json!(n));
        let event = expect(&mut other, "event").await;
        assert_eq!(
            (&event["event"]["type"], &event["event"]["data"]),
            (&json!("b"), &json!(n))
        );
    }
    let new = Listener::connect(&service, "new").await;
    until_set_up(&service).await;
    assert_works(&service).await;
    let deleted = collection(&service, "subscriptions")
        .delete_one(doc! {"_id": "new"})
        .await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    assert_eq!(new.messages().await.len(), 1);
    service.assert_books_balance().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_renamed_onto_subscriptions_replaces_them_and_loses_no_event() {
    check_replaced(async |service| rename(service, "staged", "subscriptions").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_written_onto_subscriptions_replaces_them_and_loses_no_event() {
    check_replaced(async |service| {
        let pipeline = [doc! {"$out": "subscriptions"}];
        let staged = collection(service, "staged");
        let written = staged.aggregate(pipeline).await.unwrap();
        assert_eq!(written.try_collect::<Vec<_>>().await.unwrap(), []);
    })
    .await;
}
