//! The database goes away and returns.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use tidegate::{config::Config, mongod::Mongod};

use super::{
    listener::{Listener, cursor},
    total,
};
use crate::support::{Service, database_name, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_closes_no_socket_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut kept = options();
    kept.data_dir = Some(data.path().to_owned());
    let mongod = Mongod::start(kept.clone()).await.unwrap();
    kept.port = Some(mongod.port());
    let mut config = Config {
        mongodb_uri: mongod.uri() + "&heartbeatFrequencyMS=500&serverSelectionTimeoutMS=1000",
        database: database_name(),
        ..Config::default()
    };
    config.feed.ready_lag = Duration::from_millis(1);
    config.feed.retry_max = Duration::from_millis(200);
    let service = Service::on(config).await;
    let id = service.subscribe(json!({})).await;
    let listener = Listener::connect(&service, &id).await;
    let events = service.database.collection::<Document>("events");
    let mut next = 0;
    for _ in 0..50 {
        events.insert_one(doc! {"data": next}).await.unwrap();
        next += 1;
    }
    mongod.stop().await;
    service
        .until("not ready", async || service.status("/ready").await == 503)
        .await;
    assert_eq!(service.status("/live").await, 200);
    let health = service.send("GET", "/health", None).await;
    assert_eq!((health.0, &health.1["status"]), (503, &json!("down")));
    assert_eq!(total(&service, "tidegate_connections ").await, 1);

    let mongod = Mongod::start(kept).await.unwrap();
    // At once, so most likely before the feed is back.
    for _ in 0..50 {
        events.insert_one(doc! {"data": next}).await.unwrap();
        next += 1;
    }
    service
        .until("ready", async || service.status("/ready").await == 200)
        .await;
    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    let messages = listener.messages().await;
    let (ended, events) = messages.split_last().unwrap();
    assert_eq!(ended["reason"], "deleted");
    let data: Vec<_> = events.iter().map(|m| m["event"]["data"].as_i64()).collect();
    let all: Vec<_> = (0..next).map(|n| Some(i64::from(n))).collect();
    assert_eq!(data, all);
    assert!(events.is_sorted_by(|a, b| cursor(a) < cursor(b)));
    service.assert_books_balance().await;
    service.stop().await;
    mongod.stop().await;
}
