//! A node that starts while there are subscriptions already, or no database yet.

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::{config::Config, server};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    raw::{Raw, upgrade_request},
    support::{DEADLINE, Service, free_port},
};

/// Enough to keep the router busy for a while.
const MANY: i64 = 20_000;

/// Nothing is awaited once the node says that it is ready.
#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_every_subscription_is_in_force() {
    let first = Service::start().await;
    let subscriptions = first.database.collection::<Document>("subscriptions");
    let documents = (0..MANY).map(|n| doc! {"_id": format!("{n}"), "filter": {"data.n": n}});
    subscriptions.insert_many(documents).await.unwrap();

    let second = first.sibling().await;

    assert_eq!(
        second
            .count(r#"tidegate_subscriptions{status="active"}"#)
            .await,
        MANY
    );
    let last = (MANY - 1).to_string();
    let mut socket = second.connect(&last).await;
    second.publish("other", json!({"n": 0})).await;
    second.publish("wanted", json!({"n": MANY - 1})).await;
    let message = socket.message().await;
    assert_eq!(message["event"]["type"], "wanted", "{message}");
    second.stop().await;
    first.stop().await;
}

/// Sends a request for this path.
async fn asked(raw: &mut Raw, path: &str, more: &str) -> (u16, Option<String>, Value) {
    let request = format!("GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    raw.send(request.as_bytes()).await;
    let answer = raw.answer().await;
    let after = answer.header("retry-after").map(str::to_owned);
    (answer.status, after, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_database_says_so() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = Config {
        mongodb_uri: format!("mongodb://127.0.0.1:{}/", free_port()),
        startup_timeout: DEADLINE * 10,
        ..Config::default()
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let node = tokio::spawn(server::run(config, listener, stop.clone()));
    let mut raw = Raw::dial(address).await;
    let (status, _, body) = asked(&mut raw, "/live", "").await;
    assert_eq!((status, &body["status"]), (200, &json!("up")));
    for (path, more) in [
        ("/ready", ""),
        ("/health", ""),
        ("/subscriptions", ""),
        ("/subscriptions/a/events", ""),
        ("/nowhere", ""),
        ("/nowhere", "Accept: text/event-stream\r\n"),
    ] {
        let (status, after, body) = asked(&mut raw, path, more).await;
        assert_eq!((status, after.as_deref()), (503, Some("1")), "{path}");
        assert_eq!(body["type"], "/problems/not-ready", "{path}");
        let tells_why = body["detail"].as_str().unwrap().contains("database");
        assert_eq!(tells_why, path != "/ready", "{body}");
    }
    let stream = raw.refused_stream("/subscriptions/a/events").await;
    assert!(stream.contains("\"reason\":\"overloaded\""), "{stream}");
    assert!(stream.contains("waits for its database"), "{stream}");
    assert!(
        !raw.goes_on().await,
        "the next try may come to another node"
    );
    let mut raw = Raw::dial(address).await;
    raw.send(upgrade_request("a", "").as_bytes()).await;
    assert_eq!(raw.answer().await.status, 503);
    stop.cancel();
    let stopped = timeout(DEADLINE, node).await.expect("stops in time");
    stopped.unwrap().unwrap();
    assert!(!raw.goes_on().await);
}
