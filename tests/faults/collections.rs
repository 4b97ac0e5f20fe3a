//! Collections are dropped and renamed, and the database with them, while sockets are open.

use bson::{DateTime, Document, doc};
use serde_json::json;

use crate::{rig::faults::Fault, suite::ride_out, support::Service};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_ends_and_what_is_made_anew_lives() {
    ride_out(&[
        (&[Fault::SubscriptionsDropped], 500),
        (&[Fault::SubscriptionsRenamed], 500),
        (&[Fault::EventsDropped], 500),
        (&[Fault::KeysDropped], 500),
        (&[Fault::DatabaseDropped], 1_000),
    ])
    .await;
}

/// A person, a script or a restore may do this at night: everything that was set up for the collections is gone, and no
/// node saw it happen.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_while_no_node_ran_is_as_it_has_to_be_after_the_start() {
    let service = Service::start().await;
    let (config, database) = (service.config.clone(), service.database.clone());
    service.stop().await;
    for name in ["subscriptions", "events", "nodes"] {
        let collection = database.collection::<Document>(name);
        collection.drop().await.unwrap();
        database.create_collection(name).await.unwrap();
    }
    let indexes = doc! {"dropIndexes": "positions", "index": "*"};
    database.run_command(indexes).await.unwrap();
    let soon = DateTime::from_millis(DateTime::now().timestamp_millis() + 3_000);
    let subscriptions = database.collection::<Document>("subscriptions");
    let written = doc! {"_id": "short", "filter": {}, "expiresAt": soon};
    subscriptions.insert_one(written).await.unwrap();

    let service = Service::on(config).await;
    let mut socket = service.connect("short").await;
    let event = json!({"type": "a", "source": "s", "id": "1", "data": 1});
    service.post("/events", event.clone()).await;
    let again = service.post("/events", event).await;
    assert_eq!(again["duplicates"], 1, "{again}");
    assert_eq!(socket.event().await, json!(1));
    socket.assert_ends(4501, "expired").await;
    let refused = subscriptions.insert_one(doc! {"filter": "all"}).await;
    assert!(refused.is_err(), "the validator is there again");
    service.assert_books_balance().await;
    service.stop().await;
}
