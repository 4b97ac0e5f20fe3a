//! A subscription that nothing matches must not fall out of the oplog.

use std::time::Duration;

use serde_json::json;
use tidegate::config::Config;
use tokio::time::timeout;

use super::support::{ack, durable, heard, next, position, publish};
use crate::support::{DEADLINE, Service, Socket};

fn lively(config: &mut Config) {
    config.socket.ping_interval = Duration::from_millis(50);
    config.feed.ack_delay = Duration::from_millis(10);
}

/// Waits until the position moves while events pass that do not match. The client reads meanwhile, and so answers
/// pings.
async fn moves(service: &Service, id: &str, socket: &mut Socket) {
    let before = position(service, id).await;
    service.publish("other", json!({})).await;
    let moving = async {
        while position(service, id).await <= before {
            heard(socket).await;
        }
    };
    timeout(DEADLINE, moving).await.expect("the position moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_of_a_quiet_subscription_goes_with_the_feed() {
    let service = Service::start_with(lively).await;
    let id = durable(&service).await;
    let mut socket = service.connect(&id).await;
    moves(&service, &id, &mut socket).await;
    publish(&service, 0..1).await;
    let (_, cursor) = next(&mut socket).await;
    ack(&mut socket, &cursor).await;
    moves(&service, &id, &mut socket).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_something_unacknowledged_it_stays() {
    let service = Service::start_with(lively).await;
    let (id, other) = (durable(&service).await, durable(&service).await);
    let mut socket = service.connect(&id).await;
    publish(&service, 0..1).await;
    let (_, cursor) = next(&mut socket).await;
    let mut marker = service.connect(&other).await;
    let (_, at) = next(&mut marker).await;
    ack(&mut marker, &at).await;
    moves(&service, &other, &mut marker).await;
    moves(&service, &other, &mut marker).await;
    assert!(position(&service, &id).await < cursor);
    drop(socket);
    let mut socket = service.connect(&id).await;
    assert_eq!(next(&mut socket).await.0, 0, "it comes again");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_only_looks_from_later_on_moves_nothing() {
    let service = Service::start_with(lively).await;
    let (id, other) = (durable(&service).await, durable(&service).await);
    publish(&service, 0..1).await;
    let mut marker = service.connect(&other).await;
    let (_, cursor) = next(&mut marker).await;
    ack(&mut marker, &cursor).await;
    let mut looking = service.open(&id, &format!("?after={cursor}")).await;
    assert_eq!(looking.message().await["type"], "connected");
    moves(&service, &other, &mut marker).await;
    moves(&service, &other, &mut marker).await;
    let mut socket = service.connect(&id).await;
    assert_eq!(next(&mut socket).await.0, 0);
    service.stop().await;
}
