//! The begin and the end of positions, and what they survive.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use tidegate::{
    config::Config,
    mongod::{Mongod, Options},
};

use super::support::{ack, durable, next, position, publish, read, stored, until_stored};
use crate::support::{Service, database_name};

#[tokio::test(flavor = "multi_thread")]
async fn switched_on_later_it_begins_at_that_change() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    publish(&service, 0..2).await;
    let path = format!("/subscriptions/{id}");
    let on = Some(json!({"durable": true}));
    assert_eq!(service.send("PATCH", &path, on).await.0, 200);
    publish(&service, 2..4).await;
    let mut socket = service.connect(&id).await;
    assert_eq!(read(&mut socket, 2).await.0, [2, 3]);

    let off = Some(json!({"durable": false}));
    assert_eq!(service.send("PATCH", &path, off).await.0, 200);
    assert_eq!(stored(&service, &id).await, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inserted_by_another_program_it_begins_at_its_insert() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let document = doc! {"_id": "theirs", "durable": true, "filter": {"type": "tick"}};
    subscriptions.insert_one(document).await.unwrap();
    publish(&service, 0..2).await;
    let mut socket = service.connect("theirs").await;
    assert_eq!(read(&mut socket, 2).await.0, [0, 1]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_document_loses_no_position() {
    let service = Service::start().await;
    let id = durable(&service).await;
    let begun = position(&service, &id).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for filter in [doc! {"type": {"$foo": 1}}, doc! {"type": "tick"}] {
        let set = doc! {"$set": {"filter": filter}};
        subscriptions
            .update_one(doc! {"_id": &id}, set)
            .await
            .unwrap();
    }
    publish(&service, 0..1).await;
    let mut socket = service.connect(&id).await;
    assert_eq!(read(&mut socket, 1).await.0, [0]);
    assert_eq!(position(&service, &id).await, begun);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_takes_the_position_with_it_and_a_late_flush_does_not_bring_it_back() {
    let slow = |config: &mut Config| config.feed.ack_delay = Duration::from_hours(1);
    let service = Service::start_with(slow).await;
    let id = durable(&service).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..1).await;
    let (_, cursor) = next(&mut socket).await;
    let sibling = service.sibling().await;
    let mut there = sibling.connect(&id).await;
    let (_, same) = next(&mut there).await;
    assert_eq!(same, cursor);
    ack(&mut there, &cursor).await;

    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    assert_eq!(stored(&service, &id).await, None, "gone with the answer");
    socket.assert_ends(4500, "deleted").await;
    there.assert_ends(4500, "deleted").await;
    // A stop writes everything that a node still keeps.
    sibling.stop().await;
    assert_eq!(stored(&service, &id).await, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_used_again_begins_again() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let document = doc! {"_id": "again", "filter": {}, "durable": true};
    for n in 0..2 {
        subscriptions.insert_one(&document).await.unwrap();
        publish(&service, n..n + 1).await;
        let mut socket = service.connect("again").await;
        assert_eq!(read(&mut socket, 1).await.0, [n]);
        subscriptions
            .delete_one(doc! {"_id": "again"})
            .await
            .unwrap();
        socket.assert_ends(4500, "deleted").await;
    }
    service
        .until("the position is gone", async || {
            stored(&service, "again").await.is_none()
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_no_node_ran_keeps_no_position() {
    let service = Service::start().await;
    let (gone, kept) = (durable(&service).await, durable(&service).await);
    let (database, config) = (service.database.clone(), service.config.clone());
    service.stop().await;
    let subscriptions = database.collection::<Document>("subscriptions");
    subscriptions.delete_one(doc! {"_id": &gone}).await.unwrap();

    let service = Service::on(config).await;
    service
        .until("swept", async || stored(&service, &gone).await.is_none())
        .await;
    assert!(stored(&service, &kept).await.is_some());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_survive_the_end_of_a_node() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..4).await;
    let mut socket = service.connect(&id).await;
    let (_, second) = read(&mut socket, 2).await;
    ack(&mut socket, &second).await;
    until_stored(&service, &id, &second).await;
    let config = service.config.clone();
    // It is not stopped in order, so nothing is flushed.
    drop(service);

    let service = Service::on(config).await;
    let mut socket = service.connect(&id).await;
    assert_eq!(read(&mut socket, 2).await.0, [2, 3]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_writes_what_waits() {
    let slow = |config: &mut Config| config.feed.ack_delay = Duration::from_hours(1);
    let service = Service::start_with(slow).await;
    let id = durable(&service).await;
    publish(&service, 0..2).await;
    let mut socket = service.connect(&id).await;
    let (_, first) = next(&mut socket).await;
    ack(&mut socket, &first).await;
    next(&mut socket).await;
    super::support::heard(&mut socket).await;
    let config = service.config.clone();
    service.stop().await;

    let service = Service::on(config).await;
    assert_eq!(position(&service, &id).await, first);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_survive_a_kill_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        data_dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let mongod = Mongod::start(options.clone()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        database: database_name(),
        ..Config::default()
    };
    let service = Service::on(config).await;
    let id = durable(&service).await;
    publish(&service, 0..4).await;
    let mut socket = service.connect(&id).await;
    let (_, second) = read(&mut socket, 2).await;
    ack(&mut socket, &second).await;
    until_stored(&service, &id, &second).await;
    let (_, third) = next(&mut socket).await;
    drop(mongod);
    // Acknowledged while the database is unavailable, and written once it is back.
    ack(&mut socket, &third).await;

    let mongod = Mongod::start(options).await.unwrap();
    assert_eq!(mongod.uri(), service.config.mongodb_uri);
    until_stored(&service, &id, &third).await;
    drop(socket);
    let mut socket = service.connect(&id).await;
    assert_eq!(read(&mut socket, 1).await.0, [3]);
    service.stop().await;
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_subscription_shows_how_far_its_client_is() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..2).await;
    let mut socket = service.connect(&id).await;
    let (_, first) = next(&mut socket).await;
    ack(&mut socket, &first).await;
    until_stored(&service, &id, &first).await;
    let shown = service.get(&format!("/subscriptions/{id}")).await;
    assert_eq!(shown["position"], first);
    assert!(shown["lagSeconds"].is_u64(), "{shown}");
    assert!(shown["lossInSeconds"].is_u64(), "{shown}");

    let plain = service.subscribe(json!({})).await;
    let shown = service.get(&format!("/subscriptions/{plain}")).await;
    assert_eq!(shown.get("position"), None, "{shown}");
    let window = "tidegate_oplog_window_seconds";
    service
        .until("the window is measured", async || {
            service.metric(window).await >= 0.0
        })
        .await;
    service.stop().await;
}
