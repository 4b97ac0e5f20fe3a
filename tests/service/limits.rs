//! How many connections there may be: refused before the upgrade, and free again after a close.

use serde_json::json;

use crate::{
    raw::{Raw, upgrade_request},
    support::Service,
};

async fn assert_full(service: &Service, id: &str) {
    let mut raw = Raw::dial(service.address).await;
    raw.send(upgrade_request(id, "").as_bytes()).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.body["type"], "/problems/overloaded");
    let seconds = answer.header("retry-after").expect("when to come back");
    assert!(seconds.parse::<u32>().unwrap() > 0);
}

async fn until_open(service: &Service, connections: i64) {
    let open = async || service.count("tidegate_connections").await == connections;
    service.until("connections are open", open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_refuses_until_a_place_is_free() {
    let service = Service::start_with(|config| config.limits.connections = 3).await;
    let one = service.subscribe(json!({})).await;
    let other = service.subscribe(json!({})).await;
    let mut sockets = Vec::new();
    for id in [&one, &other, &one] {
        sockets.push(service.connect(id).await);
    }
    assert_full(&service, &one).await;
    assert_full(&service, &other).await;
    sockets.pop().unwrap().leave().await;
    until_open(&service, 2).await;
    sockets.push(service.connect(&other).await);
    assert_full(&service, &one).await;
    // Those that were refused were never opened.
    assert_eq!(service.count("tidegate_connections_opened_total").await, 4);
    service.assert_books_balance().await;
    drop(sockets);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_subscription_refuses_alone() {
    let service = Service::start_with(|config| {
        config.limits.connections_per_subscription = 2;
    })
    .await;
    let one = service.subscribe(json!({})).await;
    let other = service.subscribe(json!({})).await;
    let first = service.connect(&one).await;
    let second = service.connect(&one).await;
    assert_full(&service, &one).await;
    let elsewhere = service.connect(&other).await;
    // A client that vanishes makes room like one that leaves.
    drop(first);
    until_open(&service, 2).await;
    let third = service.connect(&one).await;
    assert_full(&service, &one).await;
    drop([second, elsewhere, third]);
    service.stop().await;
}
