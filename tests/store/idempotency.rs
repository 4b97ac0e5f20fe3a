use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use tidegate::store::{KeyState, Reservation, Store, StoredAnswer};

use crate::{other_program, store};

const BODY: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

fn answer(body: &[u8]) -> StoredAnswer {
    StoredAnswer {
        status: 201,
        headers: vec![("location".to_owned(), "/x".to_owned())],
        body: body.to_vec(),
    }
}

async fn fresh(store: &Store, key: &str) -> Reservation {
    match store.reserve(key, BODY).await.unwrap() {
        KeyState::Reserved(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_another_body_is_told() {
    let store = store().await;
    let reservation = fresh(&store, "k").await;
    assert!(matches!(
        store.reserve("k", BODY).await.unwrap(),
        KeyState::Running
    ));
    assert!(matches!(
        store.reserve("k", OTHER).await.unwrap(),
        KeyState::OtherBody
    ));
    store.finish(reservation, &answer(b"done")).await.unwrap();
    let KeyState::Answered(replayed) = store.reserve("k", BODY).await.unwrap() else {
        panic!("not replayed");
    };
    assert_eq!(replayed, answer(b"done"));
    assert!(matches!(
        store.reserve("k", OTHER).await.unwrap(),
        KeyState::OtherBody
    ));
    fresh(&store, "another key").await;
}

#[tokio::test]
async fn one_of_many_first_requests_at_once_does_the_work() {
    let store = store().await;
    for key in ["a", "b", "c"] {
        let begun = join_all((0..16).map(|_| store.reserve(key, BODY))).await;
        let fresh = begun
            .iter()
            .filter(|one| matches!(one.as_ref().unwrap(), KeyState::Reserved(_)));
        assert_eq!(fresh.count(), 1);
    }
}

#[tokio::test]
async fn a_takeover_finds_the_same_seed_and_the_late_first_attempt_has_no_say() {
    let store = store().await;
    let short = Duration::from_millis(1);
    let KeyState::Reserved(dead) = store.reserve_with_lease("k", BODY, short).await.unwrap() else {
        panic!("not fresh");
    };
    let takeover = async || match store.reserve("k", BODY).await.unwrap() {
        KeyState::Reserved(reservation) => Some(reservation),
        _ => None,
    };
    let mut second = None;
    crate::eventually("the lease runs out", async || {
        second = takeover().await;
        second.is_some()
    })
    .await;
    let second = second.unwrap();
    assert_eq!(second.seed, dead.seed);
    store.finish(dead, &answer(b"late")).await.unwrap();
    assert!(matches!(
        store.reserve("k", BODY).await.unwrap(),
        KeyState::Running
    ));
    store.finish(second, &answer(b"second")).await.unwrap();
    let KeyState::Answered(replayed) = store.reserve("k", BODY).await.unwrap() else {
        panic!("not replayed");
    };
    assert_eq!(replayed.body, b"second");
}

#[tokio::test]
async fn an_abandoned_request_may_be_tried_again_at_once_with_the_same_seed() {
    let store = store().await;
    let first = fresh(&store, "k").await;
    let seed = first.seed;
    store.abandon(first).await.unwrap();
    assert!(matches!(
        store.reserve("k", OTHER).await.unwrap(),
        KeyState::OtherBody
    ));
    assert_eq!(fresh(&store, "k").await.seed, seed);
}

#[tokio::test]
async fn an_answer_too_large_to_keep_leaves_the_request_repeatable() {
    let store = store().await;
    let first = fresh(&store, "k").await;
    let seed = first.seed;
    store
        .finish(first, &answer(&vec![0; (12 << 20) + 1]))
        .await
        .unwrap();
    let second = fresh(&store, "k").await;
    assert_eq!(second.seed, seed);
    let large = answer(&vec![0; 12 << 20]);
    store.finish(second, &large).await.unwrap();
    let KeyState::Answered(replayed) = store.reserve("k", BODY).await.unwrap() else {
        panic!("not replayed");
    };
    assert_eq!(replayed, large);
}

#[tokio::test]
async fn a_key_is_free_again_after_a_day() {
    let store = store().await;
    let first = fresh(&store, "k").await;
    let seed = first.seed;
    store.finish(first, &answer(b"old")).await.unwrap();
    // Let a day pass, by the document.
    let keys = other_program(&store)
        .await
        .collection::<Document>("idempotency");
    let yesterday = doc! {"$set": {"createdAt": {"$subtract": ["$$NOW", 86_400_001]}}};
    keys.update_one(doc! {"_id": "k"}, vec![yesterday])
        .await
        .unwrap();
    let KeyState::Reserved(next) = store.reserve("k", OTHER).await.unwrap() else {
        panic!("not fresh");
    };
    assert_ne!(next.seed, seed);
}
