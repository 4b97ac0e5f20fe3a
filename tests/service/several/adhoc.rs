//! Filters that clients bring, without a subscription.

use bson::doc;
use serde_json::{Value, json};

use super::kit::{event, open, subscribe, tell, until};
use crate::{dear, kit::insert_events, support::Service};

async fn bring(socket: &mut crate::support::Socket, handle: &str, filter: Value) -> Value {
    tell(
        socket,
        json!({"type": "subscribe", "handle": handle, "filter": filter}),
    )
    .await;
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected", "{connected}");
    assert_eq!(connected["subscription"], Value::Null, "{connected}");
    connected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_lives_as_long_as_its_handle_and_equal_ones_are_one() {
    let service = Service::start().await;
    let stored = service.subscribe(json!({"type": "a"})).await;
    let mut first = open(&service).await;
    let mut second = open(&service).await;
    subscribe(&mut first, "stored", &stored).await;
    bring(&mut first, "x", json!({"type": "a", "data.n": {"$gte": 1}})).await;
    bring(&mut first, "y", json!({"type": "a", "data.n": {"$gte": 1}})).await;
    bring(
        &mut second,
        "x",
        json!({"type": "a", "data.n": {"$gte": 1}}),
    )
    .await;
    insert_events(&service, "a", 0..3).await;
    assert_eq!(event(&first.message().await), (vec!["stored"], 0));
    for n in 1..3 {
        assert_eq!(event(&first.message().await), (vec!["stored", "x", "y"], n));
        assert_eq!(event(&second.message().await), (vec!["x"], n));
    }
    // No document, and nothing over REST.
    let subscriptions = service
        .database
        .collection::<bson::Document>("subscriptions");
    let count = subscriptions.count_documents(doc! {});
    assert_eq!(count.await.unwrap(), 1);
    let shown = service.get("/subscriptions").await;
    assert_eq!(shown["items"].as_array().unwrap().len(), 1);
    let before = service
        .metric("tidegate_subscriptions{status=\"active\"}")
        .await;
    assert!((before - 1.0).abs() < 0.5, "{before}");
    tell(&mut first, json!({"type": "unsubscribe", "handle": "x"})).await;
    let ended = socket_ended(&mut first).await;
    assert_eq!(
        (&ended["handle"], &ended["reason"]),
        (&json!("x"), &json!("unsubscribed"))
    );
    insert_events(&service, "a", 3..4).await;
    assert_eq!(event(&first.message().await), (vec!["stored", "y"], 3));
    assert_eq!(event(&second.message().await), (vec!["x"], 3));
    // To change one: away, and again from its last cursor.
    let wish = json!({"type": "subscribe", "handle": "x", "filter": {"type": "a"}, "after": ended["cursor"]});
    tell(&mut first, wish).await;
    let messages = until(&mut first, |message| message["type"] == "live").await;
    let replayed: Vec<_> = messages
        .iter()
        .filter(|message| message["type"] == "event")
        .map(event)
        .collect();
    assert_eq!(replayed, [(vec!["x"], 3)]);
    service.stop().await;
}

async fn socket_ended(socket: &mut crate::support::Socket) -> Value {
    let messages = until(socket, |message| message["type"] == "ended").await;
    messages.last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_replays_from_before_its_own_beginning_and_warns() {
    let service = Service::start().await;
    let mut socket = open(&service).await;
    let begun = bring(&mut socket, "first", json!({})).await["cursor"].clone();
    insert_events(&service, "a", 0..300).await;
    until(&mut socket, |message| message["event"]["data"]["n"] == 299).await;
    let filter = json!({"type": "a", "data.n": {"$lt": 200}});
    tell(&mut socket, json!({"type": "subscribe", "handle": "late", "filter": filter, "source": "events", "after": begun})).await;
    let messages = until(&mut socket, |message| message["type"] == "live").await;
    let replayed: Vec<i64> = messages
        .iter()
        .filter(|message| message["type"] == "event")
        .map(|message| event(message).1)
        .collect();
    assert_eq!(replayed, (0..200).collect::<Vec<_>>());
    let connected = bring(&mut socket, "never", json!({"a": {"$in": []}})).await;
    assert_eq!(
        connected["warnings"].as_array().unwrap().len(),
        1,
        "{connected}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_outlive_the_collection_of_subscriptions() {
    let service = Service::start().await;
    let stored = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "stored", &stored).await;
    bring(&mut socket, "own", json!({"type": "a"})).await;
    let subscriptions = service
        .database
        .collection::<bson::Document>("subscriptions");
    subscriptions.drop().await.unwrap();
    let ended = socket_ended(&mut socket).await;
    assert_eq!(
        (&ended["handle"], &ended["reason"]),
        (&json!("stored"), &json!("deleted"))
    );
    insert_events(&service, "a", 0..1).await;
    assert_eq!(event(&socket.message().await), (vec!["own"], 0));
    service.stop().await;
}

/// A client does not know who else brings the same filter.
#[tokio::test(flavor = "multi_thread")]
async fn equal_filters_are_not_bounded_as_one_subscription_is() {
    let service =
        Service::start_with(|config| config.limits.connections_per_subscription = 1).await;
    let mut socket = open(&service).await;
    for handle in ["a", "b", "c"] {
        bring(&mut socket, handle, json!({"type": "a"})).await;
    }
    insert_events(&service, "a", 0..1).await;
    let message = socket.message().await;
    assert_eq!(event(&message), (vec!["a", "b", "c"], 0));
    service.stop().await;
}

/// It has no id that anybody could be told of.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_becomes_invalid_is_told_without_an_id() {
    let service = Service::start().await;
    let mut socket = open(&service).await;
    bring(&mut socket, "dear", dear::filter()).await;
    service.publish("tick", dear::event(dear::ELEMENTS)).await;
    let updated = socket.message().await;
    assert_eq!(
        (&updated["type"], &updated["handle"]),
        (&json!("updated"), &json!("dear"))
    );
    let subscription = &updated["subscription"];
    assert_eq!(subscription["id"], Value::Null, "{updated}");
    assert_eq!(subscription["status"], "invalid", "{updated}");
    service.stop().await;
}
