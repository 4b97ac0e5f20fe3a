//! Replays from the collection of events: they do not come through the feed, whose order decides all else.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use tidegate::config::Auth;

use super::{admin_key, connect, open, publish, subscribe};
use crate::{
    feed::failpoint::Failing,
    support::{Service, Socket, leave_open},
};

/// The server says that the history is lost.
const LOST: i32 = 286;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_what_was_revoked_last_replays_nothing_from_the_archive() {
    // A node on its database asks by its own settings, and one who calls it without a key presents none.
    let failing = Failing::start_with(|config| leave_open(config)).await;
    let mut config = failing.service.config.clone();
    // Nothing is replayed from the memory of the node.
    config.feed.window_bytes = 0;
    config.feed.ready_lag = Duration::from_millis(200);
    let unguarded = Service::on(config.clone()).await;
    config.auth = Auth::Required;
    let guarded = Service::on(config).await;
    let admin = admin_key(&guarded.config);
    let id = unguarded.subscribe(json!({})).await;
    let mut socket = unguarded.open(&id, "").await;
    let cursor = socket.message().await["cursor"].clone();
    let query = format!("{id}/events?after={}", cursor.as_str().unwrap());
    unguarded.publish("a", json!({"n": 1})).await;
    let path = format!("/subscriptions/{id}");
    let seen = async || super::send(&guarded, &admin, "GET", &path, None).await.0 == 200;
    guarded.until("the subscription is known", seen).await;

    // The streams fail, and the oplog has lost everything. The archive can be read.
    failing.fail("alwaysOn", doc! {"errorCode": LOST}).await;
    for node in [&unguarded, &guarded] {
        let behind = async || node.status("/ready").await == 503;
        node.until("the feed is behind", behind).await;
    }
    // Everybody may ask whether a node is ready; why it is not is for those who may see its health.
    for (path, detail) in [
        (
            "/ready",
            "requests should not be sent to this node now; /health says why",
        ),
        (
            "/events",
            "this node is behind, and does not know what was revoked last",
        ),
    ] {
        let key = if path == "/ready" { "" } else { &admin };
        let (status, problem) = super::send(&guarded, key, "GET", path, None).await;
        assert_eq!(
            (status, &problem["detail"]),
            (503, &json!(detail)),
            "{path}"
        );
    }
    let (_, bare) = super::send(&guarded, "", "GET", "/health", None).await;
    assert_eq!(bare, json!({"status": "down"}));
    let (_, whole) = super::send(&guarded, &admin, "GET", "/health", None).await;
    assert!(
        whole["detail"].as_str().unwrap().starts_with("the feed "),
        "{whole}"
    );
    let offer = format!("tidegate.v1, tidegate.bearer.{admin}");
    let path = format!("/api/v1/subscriptions/{query}");
    let mut refused = crate::support::Socket::open(guarded.address, &path, Some(&offer))
        .await
        .unwrap();
    let ended = refused.assert_ends(1013, "overloaded").await;
    assert!(ended["retryAfterMs"].is_number(), "{ended}");
    let mut replayed = crate::support::Socket::open(unguarded.address, &path, None)
        .await
        .unwrap();
    assert_eq!(replayed.message().await["type"], "connected");
    assert_eq!(replayed.event().await["n"], 1);

    failing.heal().await;
    let ready = async || guarded.status("/ready").await == 200;
    guarded.until("the feed is back", ready).await;
    drop(open(&guarded, &admin, &id).await.unwrap());
    guarded.stop().await;
    unguarded.stop().await;
    failing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_the_archive_shows_nothing_that_this_node_has_not_come_to() {
    const MINUTE: Duration = Duration::from_mins(1);
    let failing = Failing::start().await;
    let mut config = failing.service.config.clone();
    config.auth = Auth::Required;
    config.feed.window_bytes = 0;
    // It goes on waiting for its stream, and counts as current.
    config.feed.max_await = MINUTE;
    config.feed.ready_lag = MINUTE;
    let node = Service::on(config).await;
    let admin = admin_key(&node.config);
    let id = subscribe(&node, &admin).await;
    let mut first = open(&node, &admin, &id).await.unwrap();
    let cursor = first.message().await["cursor"].clone();
    publish(&node, &admin, 1).await;
    assert_eq!(first.event().await["n"], 1);
    failing.hold_streams(true).await;
    publish(&node, &admin, 2).await;

    // Committed later, whatever its timestamp says. A right may have been taken away before.
    let events = node.database.collection::<Document>("events");
    let shown = events.find_one(doc! {"data.n": 1}).await.unwrap().unwrap();
    let ts = shown.get_timestamp("ts").unwrap();
    let late = doc! {"_id": "late", "type": "a", "ts": ts, "data": {"n": 3}};
    events.insert_one(late).await.unwrap();
    let lost = doc! {"failCommands": ["aggregate"], "errorCode": LOST};
    failing.fail("alwaysOn", lost).await;
    let cursor = cursor.as_str().unwrap();
    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let offer = format!("tidegate.v1, tidegate.bearer.{admin}");
    let mut replayed = Socket::open(node.address, &path, Some(&offer))
        .await
        .unwrap();
    assert_eq!(replayed.message().await["type"], "connected");
    assert_eq!(replayed.event().await["n"], 1);

    // The rest comes when the node comes to it.
    failing.hold_streams(false).await;
    failing.heal().await;
    for n in [2, 3] {
        assert_eq!(replayed.event().await["n"], n);
    }
    drop(connect(&node, &admin, &id).await);
    node.stop().await;
    failing.stop().await;
}
