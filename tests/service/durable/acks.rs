//! The effects of an acknowledgement.

use bson::{DateTime, Document, doc};
use serde_json::json;
use tidegate::config::Config;

use super::support::{ack, durable, heard, position, publish, read, stored, until_stored};
use crate::support::Service;

#[tokio::test(flavor = "multi_thread")]
async fn without_after_delivery_goes_on_behind_the_acknowledged() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..5).await;
    let mut socket = service.connect(&id).await;
    let (all, _) = read(&mut socket, 3).await;
    assert_eq!(all, [0, 1, 2], "from the creation on");
    let (_, fourth) = read(&mut socket, 1).await;
    ack(&mut socket, &fourth).await;
    socket.leave().await;

    let mut socket = service.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["cursor"], fourth);
    assert_eq!(connected["recovered"], true);
    assert_eq!(read(&mut socket, 1).await.0, [4]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_comes_again() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..3).await;
    for _ in 0..2 {
        let mut socket = service.connect(&id).await;
        assert_eq!(read(&mut socket, 3).await.0, [0, 1, 2]);
        socket.leave().await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_move_the_position_forward_and_never_back() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..3).await;
    let mut socket = service.connect(&id).await;
    let (_, first) = read(&mut socket, 1).await;
    let (_, third) = read(&mut socket, 2).await;
    ack(&mut socket, &third).await;
    ack(&mut socket, &first).await;
    heard(&mut socket).await;
    socket.leave().await;
    until_stored(&service, &id, &third).await;

    let mut socket = service.open(&id, &format!("?after={first}")).await;
    assert_eq!(socket.message().await["cursor"], first);
    ack(&mut socket, &first).await;
    heard_later(&service, &id).await;
    assert_eq!(position(&service, &id).await, third);
    service.stop().await;
}

/// Waits until a later acknowledgement, on another connection for another subscription, is stored.
async fn heard_later(service: &Service, but: &str) {
    let id = durable(service).await;
    assert_ne!(id, but);
    publish(service, 7..8).await;
    let mut socket = service.connect(&id).await;
    let (_, cursor) = read(&mut socket, 1).await;
    ack(&mut socket, &cursor).await;
    until_stored(service, &id, &cursor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_ahead_of_what_was_sent_is_ignored_and_counted() {
    let service = Service::start().await;
    let (id, other) = (durable(&service).await, service.subscribe(json!({})).await);
    let begun = position(&service, &id).await;
    let mut socket = service.connect(&id).await;
    let mut ahead = service.connect(&other).await;
    service.publish("tock", json!({})).await;
    let cursor = ahead.message().await["cursor"].as_str().unwrap().to_owned();
    ack(&mut socket, &cursor).await;
    heard(&mut socket).await;
    let ignored = "tidegate_acks_ignored_total{cause=\"ahead\"}";
    assert_eq!(service.count(ignored).await, 1);
    assert_eq!(service.count("tidegate_acks_total").await, 0);
    assert_eq!(position(&service, &id).await, begun);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_ack_is_a_bad_message() {
    let service = Service::start().await;
    let id = durable(&service).await;
    let mut socket = service.connect(&id).await;
    ack(&mut socket, "nonsense").await;
    socket.assert_ends(4520, "bad_message").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_each_get_everything_and_the_furthest_ack_counts() {
    let service = Service::start().await;
    let id = durable(&service).await;
    let mut one = service.connect(&id).await;
    let mut two = service.connect(&id).await;
    publish(&service, 0..4).await;
    assert_eq!(read(&mut one, 1).await.0, [0]);
    let (_, second) = read(&mut one, 1).await;
    assert_eq!(read(&mut one, 2).await.0, [2, 3]);
    let (all, last) = read(&mut two, 4).await;
    assert_eq!(all, [0, 1, 2, 3]);
    ack(&mut two, &last).await;
    ack(&mut one, &second).await;
    heard(&mut one).await;
    heard(&mut two).await;
    until_stored(&service, &id, &last).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_of_a_subscription_that_is_not_durable_are_ignored() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..1).await;
    let (_, cursor) = read(&mut socket, 1).await;
    ack(&mut socket, &cursor).await;
    heard(&mut socket).await;
    heard_later(&service, &id).await;
    assert_eq!(stored(&service, &id).await, None);
    service.stop().await;
}

/// Programs may write `createdAt`. It counts where a node did not see the insert.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_date_does_not_cut_off_what_was_not_acknowledged() {
    let service = Service::start().await;
    let id = durable(&service).await;
    publish(&service, 0..3).await;
    let mut socket = service.connect(&id).await;
    let (_, first) = read(&mut socket, 1).await;
    ack(&mut socket, &first).await;
    socket.leave().await;
    until_stored(&service, &id, &first).await;
    let date = DateTime::from_millis(DateTime::now().timestamp_millis() + 1_500);
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let change = doc! {"$set": {"createdAt": date}};
    let rewritten = subscriptions.update_one(doc! {"_id": &id}, change).await;
    assert_eq!(rewritten.unwrap().modified_count, 1);
    let passed = async || DateTime::now() > date;
    service.until("the date is in the past", passed).await;
    publish(&service, 3..4).await;

    let restarted = Service::on(Config::clone(&service.config)).await;
    service.stop().await;
    let mut socket = restarted.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    assert_eq!(connected["cursor"], first);
    assert_eq!(read(&mut socket, 3).await.0, [1, 2, 3]);
    restarted.stop().await;
}
