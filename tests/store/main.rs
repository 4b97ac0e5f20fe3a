//! The store, on a real mongod.

// Clippy's exemption for tests covers the test functions, but not the code that they share.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod connecting;
mod events;
mod idempotency;
mod migrations;
mod ownership;
mod positions;
mod subscriptions;

use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use mongodb::{Client, Database};
use tidegate::{config::Config, store::Store};

/// Returns a configuration with a database of the test's own.
async fn config() -> Config {
    Config {
        mongodb_uri: support::shared_mongod().await.uri(),
        database: support::database_name(),
        ..Config::default()
    }
}

/// Returns a store on a migrated database of the test's own.
async fn store() -> Store {
    let store = Store::connect(&config().await).await.expect("a store");
    store.migrate().await.expect("migrations");
    store
}

/// Returns the database as another program sees it: through a plain client with the driver's defaults.
async fn other_program(store: &Store) -> Database {
    let uri = support::shared_mongod().await.uri();
    let client = Client::with_uri_str(uri).await.expect("a client");
    client.database(store.database_name())
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("BSON")
}

/// Repeats a question until the answer is yes: the database's background work has no event to wait for.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patient = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), patient).await;
    assert!(in_time.is_ok(), "not seen in time: {what}");
}
