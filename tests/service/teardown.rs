//! A subscription goes away, whoever removed it. Its sockets get the events committed before, then the reason, then the
//! close. Once.

use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    kit::{assert_last_words, connect_many, insert_events, until_closed, with_books_watched},
    support::{Service, Socket},
};

const SOCKETS: usize = 100;
/// Events that are committed right before the delete.
const EVENTS: i32 = 25;
const DELETED: (u16, &str) = (4500, "deleted");

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_by_rest_closes_every_socket_once_after_its_last_events() {
    check(DELETED, async |service, id| {
        let path = format!("/subscriptions/{id}");
        assert_eq!(service.send("DELETE", &path, None).await.0, 204);
        assert_eq!(service.send("DELETE", &path, None).await.0, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_in_a_shell_closes_every_socket_once_after_its_last_events() {
    check(DELETED, async |service, id| {
        let deleted = subscriptions(service).delete_one(doc! {"_id": id}).await;
        assert_eq!(deleted.unwrap().deleted_count, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_closes_every_socket_once_after_its_last_events() {
    check((4501, "expired"), async |service, id| {
        let key = doc! {"_id": id};
        let due = doc! {"$set": {"expiresAt": DateTime::now()}};
        let subscriptions = subscriptions(service);
        subscriptions.update_one(key.clone(), due).await.unwrap();
        let gone = async || subscriptions.find_one(key.clone()).await.unwrap().is_none();
        service.until("the server has deleted it", gone).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_closes_every_socket_once_after_its_last_events() {
    check(DELETED, async |service, _| {
        subscriptions(service).drop().await.unwrap();
    })
    .await;
}

/// Asserts this for one way to `remove` the subscription, right after events were committed.
async fn check(ending: (u16, &str), remove: impl AsyncFnOnce(&Service, &str)) {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "last"})).await;
    with_books_watched(&service, async {
        let mut sockets = connect_many(&service, &id, SOCKETS).await;
        insert_events(&service, "last", 0..EVENTS).await;
        remove(&service, &id).await;
        // Nobody gets later events.
        insert_events(&service, "last", EVENTS..EVENTS + 1).await;
        for rest in join_all(sockets.iter_mut().map(Socket::rest)).await {
            let beside = assert_last_words(rest, 0..EVENTS, ending);
            let updates = usize::from(ending.1 == "expired");
            assert_eq!(beside.len(), updates, "{beside:?}");
            assert!(
                beside.iter().all(|update| update["type"] == "updated"),
                "{beside:?}"
            );
        }
        until_closed(&service, ending.1, SOCKETS).await;
    })
    .await;
    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 404);
    assert_eq!(refusal(&service, &id).await, 404);
    assert_still_serves(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_deleted_at_once_close_all_their_sockets() {
    const SUBSCRIPTIONS: usize = 40;
    let service = Service::start().await;
    let documents = (0..SUBSCRIPTIONS).map(|n| doc! {"_id": format!("many-{n}"), "filter": {}});
    subscriptions(&service)
        .insert_many(documents)
        .await
        .unwrap();
    with_books_watched(&service, async {
        let mut sockets = Vec::new();
        for n in 0..SUBSCRIPTIONS {
            sockets.extend(connect_many(&service, &format!("many-{n}"), 3).await);
        }
        insert_events(&service, "any", 0..EVENTS).await;
        subscriptions(&service).delete_many(doc! {}).await.unwrap();
        for rest in join_all(sockets.iter_mut().map(Socket::rest)).await {
            assert_eq!(
                assert_last_words(rest, 0..EVENTS, DELETED),
                Vec::<Value>::new()
            );
        }
        until_closed(&service, "deleted", 3 * SUBSCRIPTIONS).await;
    })
    .await;
    assert_still_serves(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_used_again_at_once_is_another_subscription() {
    let service = Service::start().await;
    let again = doc! {"_id": "again", "filter": {"type": "new"}};
    for in_one_transaction in [false, true] {
        let old = doc! {"_id": "again", "filter": {"type": "old"}};
        subscriptions(&service).insert_one(old).await.unwrap();
        let mut sockets = connect_many(&service, "again", 5).await;
        insert_events(&service, "old", 0..EVENTS).await;
        delete_and_insert(&service, &again, in_one_transaction).await;
        insert_events(&service, "old", EVENTS..EVENTS + 1).await;
        insert_events(&service, "new", 0..1).await;
        for rest in join_all(sockets.iter_mut().map(Socket::rest)).await {
            assert_eq!(
                assert_last_words(rest, 0..EVENTS, DELETED),
                Vec::<Value>::new()
            );
        }
        let mut socket = service.open("again", "").await;
        let connected = socket.message().await;
        assert_eq!(connected["subscription"]["filter"], json!({"type": "new"}));
        insert_events(&service, "old", 7..8).await;
        insert_events(&service, "new", 8..9).await;
        let mut event = socket.event().await;
        if event == json!({"n": 0}) {
            // It was committed after the subscription, and may pass after the client has connected.
            event = socket.event().await;
        }
        assert_eq!(event, json!({"n": 8}));
        subscriptions(&service)
            .delete_one(doc! {"_id": "again"})
            .await
            .unwrap();
        socket.assert_ends(4500, "deleted").await;
    }
    until_closed(&service, "deleted", 12).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_while_sockets_replay_comes_after_all_that_was_committed_before_it() {
    const PAST: i32 = 1_500;
    let service = Service::start_with(|config| {
        // The past does not fit a socket, so the end finds replays at every stage.
        config.socket.send_buffer_bytes = 4096;
        config.socket.outbox_frames = 4096;
    })
    .await;
    for round in 0..10 {
        let kind = format!("replay-{round}");
        let id = service.subscribe(json!({"type": kind})).await;
        let mut first = service.connect(&id).await;
        insert_events(&service, &kind, 0..1).await;
        let cursor = first.message().await["cursor"].as_str().unwrap().to_owned();
        insert_events(&service, &kind, 1..PAST).await;
        first.leave().await;
        let query = format!("?after={cursor}");
        let mut sockets = join_all((0..6).map(|_| service.open(&id, &query))).await;
        insert_events(&service, &kind, PAST..PAST + EVENTS).await;
        let key = doc! {"_id": &id};
        subscriptions(&service).delete_one(key).await.unwrap();
        for rest in join_all(sockets.iter_mut().map(Socket::rest)).await {
            let beside = assert_last_words(rest, 1..PAST + EVENTS, DELETED);
            assert_eq!(beside.len(), 1, "{beside:?}");
            assert_eq!(beside[0]["recovered"], true, "{beside:?}");
        }
    }
    until_closed(&service, "deleted", 60).await;
    service.stop().await;
}

async fn delete_and_insert(service: &Service, document: &Document, in_one_transaction: bool) {
    let subscriptions = subscriptions(service);
    let key = doc! {"_id": document.get("_id")};
    if !in_one_transaction {
        subscriptions.delete_one(key).await.unwrap();
        subscriptions.insert_one(document).await.unwrap();
        return;
    }
    let mut session = service.database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    subscriptions
        .delete_one(key)
        .session(&mut session)
        .await
        .unwrap();
    subscriptions
        .insert_one(document)
        .session(&mut session)
        .await
        .unwrap();
    session.commit_transaction().await.unwrap();
}

/// Returns the status with which a socket is refused.
async fn refusal(service: &Service, id: &str) -> u16 {
    let path = format!("/api/v1/subscriptions/{id}/events");
    match Socket::open(service.address, &path, None).await {
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("not refused: {:?}", other.err()),
    }
}

/// Asserts that a new subscription streams.
async fn assert_still_serves(service: &Service) {
    let id = service.subscribe(json!({"type": "after"})).await;
    let mut socket = service.connect(&id).await;
    service.publish("after", json!({"n": 1})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    socket.leave().await;
}

fn subscriptions(service: &Service) -> mongodb::Collection<Document> {
    service.database.collection("subscriptions")
}
