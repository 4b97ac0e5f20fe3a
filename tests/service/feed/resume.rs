//! Failures of the stream lose nothing, repeat nothing, and close no socket.
//!
//! The driver's own way to resume loses events in silence if its `aggregate` fails once, because its retry forgets
//! where the stream was. So failures come at least twice here: first to the `getMore` that waits, then to the
//! `aggregate` that resumes.

use bson::{Document, doc};
use serde_json::json;

use super::{
    commits::{CommitLog, expected},
    failpoint::Failing,
    listener::Listener,
    order::assert_told,
    publishers::event,
    total,
};

/// Publishes through `rounds` failures of one kind, then compares with the commit order.
async fn check(failures: &[Document]) {
    let failing = Failing::start().await;
    let service = &failing.service;
    let mut log = CommitLog::open(&service.database).await;
    let id = service.subscribe(json!({})).await;
    let listener = Listener::connect(service, &id).await;
    let events = failing.events();
    let mut n = 0;
    let mut publish = async || {
        for _ in 0..10 {
            events.insert_one(event("one", n)).await.unwrap();
            n += 1;
        }
    };
    for failure in failures {
        publish().await;
        let before = failing.resumes().await;
        failing.fail(doc! {"times": 2}, failure.clone()).await;
        publish().await;
        // Both have happened. Meanwhile the next events are written.
        failing.until_failed(before).await;
        publish().await;
        failing.until_failed(before + 1).await;
        publish().await;
    }
    assert!(failing.resumes().await >= 2 * failures.len() as u64);
    assert_eq!(total(service, "tidegate_feed_reloads_total{").await, 1);
    let deleted = failing.subscriptions().delete_one(doc! {"_id": &id}).await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    log.read_until_deleted(&id).await;

    let wanted = expected(&log.commits, &id, listener.from());
    assert_eq!(wanted.len(), failures.len() * 40 + 1);
    assert_told(&listener.told().await, &wanted);
    service.assert_books_balance().await;
    failing.stop().await;
}

fn code(code: i32) -> Document {
    doc! {"errorCode": code}
}

/// Returns the label with which a server marks a resumable error.
fn resumable(code: i32) -> Document {
    doc! {"errorCode": code, "errorLabels": ["ResumableChangeStreamError"]}
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_repeat_nothing() {
    let cut = doc! {"closeConnection": true};
    check(&[cut.clone(), cut.clone(), cut]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_steps_down_or_shuts_down_loses_and_repeats_nothing() {
    let codes = [11_600, 91, 10_107].map(resumable);
    check(&codes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cursor_or_an_unreachable_host_loses_and_repeats_nothing() {
    let codes = [43, 237, 6, 50].map(resumable);
    check(&codes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_without_a_label_lose_and_repeat_nothing() {
    // Not permitted, until somebody restores the rights.
    check(&[code(13), code(11_600), code(43), code(1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_only_opens_after_many_attempts_loses_and_repeats_nothing() {
    let failing = Failing::start().await;
    let service = &failing.service;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let before = failing.resumes().await;
    failing.fail("alwaysOn", code(6)).await;
    for n in 0..8 {
        service.publish("a", json!(n)).await;
        failing.until_failed(before + n).await;
    }
    failing.heal().await;
    for n in 0..8 {
        assert_eq!(socket.event().await, json!(n));
    }
    service.publish("a", json!("live")).await;
    assert_eq!(socket.event().await, json!("live"));
    failing.stop().await;
}
