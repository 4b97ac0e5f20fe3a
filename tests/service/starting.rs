//! A node that starts where there are subscriptions already.

use bson::{Document, doc};
use serde_json::json;

use crate::support::Service;

/// Enough to take the router a while.
const MANY: i64 = 20_000;

/// A node says that it is ready; that is believed at once.
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
