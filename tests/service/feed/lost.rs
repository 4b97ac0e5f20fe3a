//! History that is truly lost: everyone it concerns is told, never in silence.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{
    failpoint::Failing,
    listener::{cursor, expect},
    total,
};
use crate::support::{Closed, Service, Socket};

/// Codes with which a server says that it cannot go on from a token: history lost, overtaken in the oplog, and fatal
/// for change streams.
const LOST: [i32; 3] = [286, 136, 280];

async fn open(service: &Service, id: &str, query: &str, subprotocol: Option<&str>) -> Socket {
    let path = format!("/api/v1/subscriptions/{id}/events{query}");
    Socket::open(service.address, &path, subprotocol)
        .await
        .unwrap()
}

/// Keeps the feed from reading, runs `meanwhile`, and then makes the server lose the feed's history.
async fn lose_history(failing: &Failing, code: i32, meanwhile: impl AsyncFnOnce()) {
    let before = failing.resumes().await;
    failing.fail("alwaysOn", doc! {"errorCode": 6}).await;
    failing.until_failed(before).await;
    meanwhile().await;
    let lost = doc! {"errorCode": code, "failCommands": ["aggregate"]};
    failing.fail(doc! {"times": 1}, lost).await;
}

async fn change(failing: &Failing, id: &str, change: Document) {
    let subscriptions = failing.subscriptions();
    let updated = subscriptions.update_one(doc! {"_id": id}, change).await;
    assert_eq!(updated.unwrap().modified_count, 1);
}

/// Asserts that a message is a gap between the last delivery and the next.
fn assert_gap(gap: &Value, last: &Value) {
    assert_eq!(gap["type"], "gap", "{gap}");
    assert_eq!(gap["reason"], "history_lost", "{gap}");
    let after = gap["after"].as_str().unwrap();
    assert!(after >= cursor(last), "delivered up to {last}, but {gap}");
    assert!(after < cursor(gap), "{gap}");
}

async fn check(code: i32) {
    let failing = Failing::start().await;
    let service = &failing.service;
    let unchanged = service.subscribe(json!({"type": "a"})).await;
    let changed = service.subscribe(json!({"type": "b"})).await;
    let deleted = service.subscribe(json!({"type": "a"})).await;
    let mut to_unchanged = service.connect(&unchanged).await;
    let mut to_changed = service.connect(&changed).await;
    let mut to_deleted = service.connect(&deleted).await;
    service.publish("a", json!("before")).await;
    let last = expect(&mut to_unchanged, "event").await;
    expect(&mut to_deleted, "event").await;

    lose_history(&failing, code, async || {
        service.publish("a", json!("lost")).await;
        let gone = failing
            .subscriptions()
            .delete_one(doc! {"_id": &deleted})
            .await;
        assert_eq!(gone.unwrap().deleted_count, 1);
        change(&failing, &changed, doc! {"$set": {"filter": {"type": "a"}}}).await;
        let new = doc! {"_id": "new", "filter": {"type": "a"}};
        failing.subscriptions().insert_one(new).await.unwrap();
    })
    .await;

    to_deleted.assert_ends(4500, "deleted").await;
    assert_gap(&to_unchanged.message().await, &last);
    let gap = expect(&mut to_changed, "gap").await;
    let updated = expect(&mut to_changed, "updated").await;
    assert_eq!(updated["subscription"]["filter"], json!({"type": "a"}));
    assert_eq!(cursor(&gap), cursor(&updated));
    let mut to_new = service.connect("new").await;
    service.publish("a", json!("after")).await;
    for socket in [&mut to_unchanged, &mut to_changed, &mut to_new] {
        let event = expect(socket, "event").await;
        assert_eq!(event["event"]["data"], "after");
        assert!(cursor(&event) > cursor(&gap));
    }
    assert_eq!(
        total(
            service,
            "tidegate_feed_reloads_total{cause=\"history_lost\"}"
        )
        .await,
        1
    );
    service.assert_books_balance().await;
    failing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_told_and_what_changed_meanwhile_takes_effect() {
    check(LOST[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_overtaken_by_the_oplog_has_lost_its_history() {
    check(LOST[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_resumed_from_has_lost_its_history() {
    check(LOST[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_cannot_be_told_of_a_gap_or_will_not_are_closed_to_resync() {
    let failing = Failing::start().await;
    let service = &failing.service;
    let id = service.subscribe(json!({})).await;
    let mut bare = open(service, &id, "", Some("cloudevents.json")).await;
    let mut strict = open(service, &id, "?onGap=close", None).await;
    expect(&mut strict, "connected").await;
    service.publish("a", json!("before")).await;
    let last = expect(&mut strict, "event").await;
    // Read from the bare socket, so that its place is known too.
    let Some(Ok(frame)) = bare.frame().await else {
        panic!("no event");
    };
    let event: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
    assert_eq!(event["tidegatecursor"], last["cursor"]);

    lose_history(&failing, LOST[0], async || {
        service.publish("a", json!("lost")).await;
    })
    .await;

    let ended = strict.assert_ends(4002, "resync").await;
    assert!(cursor(&ended) >= cursor(&last));
    let resync = Closed {
        code: 4002,
        text: "resync".to_owned(),
    };
    assert_eq!(bare.rest().await, (Vec::new(), resync));
    service.assert_books_balance().await;
    failing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_lost_again_and_again_ends_when_it_is_there_again() {
    let failing = Failing::start().await;
    let service = &failing.service;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let lost = doc! {"errorCode": LOST[0], "failCommands": ["aggregate", "getMore"]};
    failing.fail("alwaysOn", lost).await;
    for _ in 0..6 {
        expect(&mut socket, "gap").await;
    }
    failing.heal().await;
    // The last failure may still be on its way. What is published before its load is lost with it.
    service.publish("a", json!(1)).await;
    loop {
        let message = socket.message().await;
        if message["type"] == "event" {
            break;
        }
        assert_eq!(message["type"], "gap", "{message}");
        service.publish("a", json!(1)).await;
    }
    let reloads = "tidegate_feed_reloads_total{cause=\"history_lost\"}";
    assert!(total(service, reloads).await >= 6);
    failing.stop().await;
}
