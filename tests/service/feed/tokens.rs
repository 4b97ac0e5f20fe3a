//! The foundation of positions: the order of resume tokens, as a real server makes them.

use std::{collections::HashSet, time::Duration};

use bson::{Document, doc};
use futures_util::StreamExt as _;
use mongodb::{Client, Collection, Database};
use tidegate::position::Position;

use super::{
    commits::{Commit, CommitLog, position},
    publishers::{event, publish_in_transaction},
};
use crate::support::{database_name, shared_mongod};

/// The time after which the server sends a batch without events.
const IDLE: Duration = Duration::from_millis(20);

async fn database() -> Database {
    let uri = shared_mongod().await.uri();
    let client = Client::with_uri_str(uri).await.unwrap();
    let database = client.database(&database_name());
    database.create_collection("events").await.unwrap();
    database
}

fn events(database: &Database) -> Collection<Document> {
    database.collection("events")
}

/// A position is the first 24 bytes of a token. Nothing else tells apart 300 inserts at one cluster time, into one
/// collection, with falling keys.
#[tokio::test]
async fn positions_strictly_rise_within_transactions_and_between_them() {
    let database = database().await;
    let mut log = CommitLog::open(&database).await;
    for round in 0..3 {
        events(&database)
            .insert_one(event("one", round))
            .await
            .unwrap();
        publish_in_transaction(&database, 0, 300).await;
        let falling = (0..50).map(|n| doc! {"_id": 1_000 * (round + 1) - n});
        events(&database).insert_many(falling).await.unwrap();
    }
    events(&database)
        .insert_one(doc! {"_id": "last"})
        .await
        .unwrap();
    while log.commits.len() < 3 * 351 + 1 {
        log.read_until(Commit::is_event).await;
    }

    for pair in log.commits.windows(2) {
        assert!(pair[0].position < pair[1].position, "{pair:?}");
    }
    let times: HashSet<_> = log
        .commits
        .iter()
        .map(|c| c.position.cluster_time())
        .collect();
    assert!(times.len() <= 3 * 52 + 1, "transactions share their time");
}

/// The feed may resume from any batch's token. It never falls, lies after every event that was seen, and before every
/// one that was not.
#[tokio::test]
async fn tokens_of_batches_never_fall_and_keep_their_place_among_events() {
    let database = database().await;
    let other: Collection<Document> = database.collection("other");
    let pipeline = vec![doc! {"$match": {"ns.coll": "events"}}];
    let watch = database.watch().pipeline(pipeline);
    let mut stream = watch.max_await_time(IDLE).await.unwrap();
    let mut place = Position::START;
    for round in 0..20 {
        other.insert_one(doc! {"n": round}).await.unwrap();
        events(&database)
            .insert_one(event("one", round))
            .await
            .unwrap();
        let event = stream.next().await.unwrap().unwrap();
        let here = position(&event.id);
        assert!(here > place, "{here:?} after {place:?}");
        place = here;
        // Idle: batches without events.
        other.insert_one(doc! {"n": round}).await.unwrap();
        for _ in 0..3 {
            assert!(stream.next_if_any().await.unwrap().is_none());
            let token = position(&stream.resume_token().unwrap());
            assert!(token >= place, "{token:?} after {place:?}");
            place = token;
        }
    }
    events(&database)
        .insert_one(event("last", 0))
        .await
        .unwrap();
    let last = stream.next().await.unwrap().unwrap();
    assert!(position(&last.id) > place);
}
