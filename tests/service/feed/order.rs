//! Commit order, no repeats, and exactly the events between a subscription's creation and its end.

use bson::{Document, doc};
use serde_json::json;
use tidegate::position::Position;

use super::{
    commits::{Commit, CommitLog, expected},
    listener::{Listener, Told, cursor, told},
    publishers::{Publishers, event, publish_in_transaction},
};
use crate::support::Service;

/// Listeners read at once, but this machine may be busy. No connection may end as slow.
pub(crate) async fn service() -> Service {
    Service::start_with(|config| {
        config.socket.outbox_frames = 1 << 17;
        config.socket.outbox_bytes = 64 << 20;
    })
    .await
}

/// Publishes until the reader of the log has seen `count` events.
async fn publish(service: &Service, log: &mut CommitLog, count: usize) {
    let publishers = Publishers::start(service);
    let wanted = events(&log.commits) + count;
    while events(&log.commits) < wanted {
        log.read_until(Commit::is_event).await;
    }
    publishers.stop().await;
}

fn events(commits: &[Commit]) -> usize {
    commits.iter().filter(|commit| commit.is_event()).count()
}

async fn delete(service: &Service, id: &str) {
    let (status, _) = service
        .send("DELETE", &format!("/subscriptions/{id}"), None)
        .await;
    assert_eq!(status, 204);
}

/// Compares two sequences, and shows the first difference with its position and some context.
pub(crate) fn assert_told(told: &[Told], expected: &[Told]) {
    let differ = told.iter().zip(expected).position(|(a, b)| a != b);
    let at = differ.unwrap_or(told.len().min(expected.len()));
    let around = |all: &[Told]| {
        format!(
            "{:?}",
            all.iter()
                .skip(at.saturating_sub(1))
                .take(3)
                .collect::<Vec<_>>()
        )
    };
    assert!(
        told == expected,
        "{} told, {} expected; they differ at {at}: told {}, expected {}",
        told.len(),
        expected.len(),
        around(told),
        around(expected)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_in_commit_order_from_concurrent_publishers() {
    let service = service().await;
    let mut log = CommitLog::open(&service.database).await;
    let all = service.subscribe(json!({})).await;
    let even = service.subscribe(json!({"data.even": true})).await;
    let to_all = Listener::connect(&service, &all).await;
    let to_even = Listener::connect(&service, &even).await;

    publish(&service, &mut log, 1_000).await;
    publish_in_transaction(&service.database, 0, 2_500).await;
    publish(&service, &mut log, 200).await;
    delete(&service, &all).await;
    delete(&service, &even).await;
    log.read_until_deleted(&even).await;

    let wanted = expected(&log.commits, &all, to_all.from());
    assert!(wanted.len() > 3_500, "{}", wanted.len());
    assert_told(&to_all.told().await, &wanted);
    let wanted = expected(&log.commits, &even, to_even.from());
    assert_told(&to_even.told().await, &wanted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_events_have_equal_cursors_on_two_nodes() {
    let service = service().await;
    let sibling = service.sibling().await;
    let mut log = CommitLog::open(&service.database).await;
    let id = service.subscribe(json!({})).await;
    let here = Listener::connect(&service, &id).await;
    let there = Listener::connect(&sibling, &id).await;
    // Once this has come, both are behind the later of the two starting points.
    let later = here.from().max(there.from());

    publish(&service, &mut log, 500).await;
    publish_in_transaction(&service.database, 0, 300).await;
    delete(&service, &id).await;

    let after = |messages: Vec<serde_json::Value>| -> Vec<_> {
        let told = told(&messages);
        let late = |(_, position): &&Told| *position > later;
        let skipped = told.len() - told.iter().filter(late).count();
        messages.into_iter().skip(skipped).collect()
    };
    let (here, there) = (after(here.messages().await), after(there.messages().await));
    assert!(here.len() > 800);
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(cursor(here), cursor(there));
        assert_eq!(here["event"], there["event"]);
    }
    sibling.stop().await;
    service.stop().await;
}

/// Lives one life of a subscription under `id`, created and deleted over REST or straight in the database.
async fn live_once(service: &Service, id: &str, over_rest: bool) -> (Position, Vec<Told>) {
    let path = format!("/subscriptions/{id}");
    let stored = service.database.collection::<Document>("subscriptions");
    if over_rest {
        let body = json!({"filter": {"data.even": true}});
        let (status, _) = service.send("PUT", &path, Some(body)).await;
        assert_eq!(status, 201);
    } else {
        let document = doc! {"_id": id, "filter": {"data.even": true}};
        stored.insert_one(document).await.unwrap();
    }
    let listener = Listener::connect(service, id).await;
    // It lives as long as this event and the publishers take.
    let events = service.database.collection::<Document>("events");
    events.insert_one(event("seen", 0)).await.unwrap();
    if over_rest {
        delete(service, id).await;
    } else {
        stored.delete_one(doc! {"_id": id}).await.unwrap();
    }
    (listener.from(), listener.told().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_exactly_what_is_committed_between_its_creation_and_its_delete() {
    let service = service().await;
    let mut log = CommitLog::open(&service.database).await;
    let publishers = Publishers::start(&service);
    let mut lives = Vec::new();
    for round in 0..20 {
        lives.push(live_once(&service, "again", round % 2 == 0).await);
    }
    publishers.stop().await;

    for (from, told) in lives {
        log.read_until_deleted("again").await;
        let wanted = expected(&log.commits, "again", from);
        assert!(wanted.len() > 1, "the event of this life, and its end");
        assert_told(&told, &wanted);
    }
    service.stop().await;
}
