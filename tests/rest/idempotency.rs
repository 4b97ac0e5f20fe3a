//! `Idempotency-Key`: a request that is sent again is done once.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use super::{
    Answer, send,
    support::{Service, with_credential},
    with_json,
};

async fn post(service: &Service, path: &str, key: &str, body: &Value) -> Answer {
    let post = with_json(service, Method::POST, path, body);
    send(post.header("idempotency-key", key)).await
}

fn same(one: &Answer, other: &Answer) {
    assert_eq!((one.status, &one.text), (other.status, &other.text));
    for name in ["content-type", "location", "etag"] {
        assert_eq!(one.header(name), other.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_repeated_request_has_its_effect_once_and_the_same_answer() {
    let service = Service::start().await;
    for (path, body, status) in [
        ("/subscriptions", json!({"filter": {}, "name": "n"}), 201),
        (
            "/subscriptions/batch",
            json!([{"filter": {}, "name": "n"}, {"nope": 1}]),
            207,
        ),
        ("/events", json!([{"type": "t"}, {"type": "t"}]), 202),
        ("/subscriptions", json!({"nope": 1}), 422),
        ("/events", json!({}), 422),
    ] {
        let key = format!("key-{path}-{status}");
        let first = post(&service, path, &key, &body).await;
        assert_eq!(first.status, status, "{first:?}");
        same(&first, &post(&service, path, &key, &body).await);
    }
    let subscriptions = service.get("/subscriptions?count=true").await;
    assert_eq!(subscriptions["total"], 2);
    assert_eq!(
        service.get("/events").await["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let service = Service::start().await;
    post(
        &service,
        "/subscriptions",
        "k",
        &json!({"filter": {}, "name": "a"}),
    )
    .await;
    for (path, body) in [
        ("/subscriptions", json!({"filter": {}, "name": "b"})),
        ("/events", json!({"name": "a"})),
    ] {
        let answer = post(&service, path, "k", &body).await;
        assert_eq!(answer.status, 422);
        assert_eq!(
            answer.problem("idempotency-key-reused"),
            ["Idempotency-Key"]
        );
    }
}

#[tokio::test]
async fn of_requests_at_once_one_does_the_work() {
    let service = Service::start().await;
    let body = json!({"filter": {}, "name": "a"});
    let all = (0..8).map(|_| post(&service, "/subscriptions", "k", &body));
    let answers = join_all(all).await;
    let made: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .collect();
    assert!(!made.is_empty());
    for answer in &answers {
        if answer.status == 409 {
            answer.problem("idempotency-key-in-use");
            assert!(!answer.header("retry-after").is_empty());
        } else {
            same(answer, made[0]);
        }
    }
    assert_eq!(service.get("/subscriptions?count=true").await["total"], 1);
}

/// In the header's draft, the key is a string of structured fields: in quotes.
#[tokio::test]
async fn a_key_is_the_same_in_quotes() {
    let service = Service::start().await;
    let body = json!({"filter": {"a": 1}});
    let first = post(&service, "/subscriptions", "k", &body).await;
    assert_eq!(first.status, 201);
    same(
        &first,
        &post(&service, "/subscriptions", "\"k\"", &body).await,
    );
    let second = post(&service, "/subscriptions", "\"other\"", &body).await;
    same(
        &second,
        &post(&service, "/subscriptions", "other", &body).await,
    );
    assert_ne!(first.json()["id"], second.json()["id"]);
}

#[tokio::test]
async fn a_key_is_visible_ascii_of_bounded_length() {
    let service = Service::start().await;
    for (key, status) in [
        ("a b", 400),
        ("", 400),
        (&*"k".repeat(256), 400),
        (&*"k".repeat(255), 201),
    ] {
        let answer = post(&service, "/subscriptions", key, &json!({"filter": {}})).await;
        assert_eq!(answer.status, status, "{key}");
        if status == 400 {
            assert_eq!(answer.problem("bad-header"), ["Idempotency-Key"]);
        }
    }
}

/// A raw request from a client that leaves before the answer.
async fn send_and_leave(service: &Service, request: &str) {
    let mut tcp = TcpStream::connect(service.address).await.unwrap();
    let request = with_credential(service.address, request.as_bytes());
    tcp.write_all(&request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_keeps_no_key_locked() {
    const CLIENTS: usize = 60;
    /// A time shorter than an abandoned reservation lasts.
    const PATIENCE: Duration = Duration::from_secs(40);
    let service = Service::start().await;
    for (path, body, created) in [
        ("/subscriptions", json!({"filter": {}}), 201),
        ("/subscriptions/batch", json!([{"filter": {}}]), 200),
        ("/events", json!({"type": "t"}), 202),
    ] {
        let text = body.to_string();
        let key = |n: usize| format!("left-{path}-{n}");
        let request = |n: usize| {
            format!(
                "POST /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nidempotency-key: {}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
                key(n),
                text.len()
            )
        };
        let leaving = (0..CLIENTS).map(|n| {
            let request = request(n);
            let service = &service;
            async move { send_and_leave(service, &request).await }
        });
        join_all(leaving).await;
        // A body that is cut reserves nothing.
        let cut = request(CLIENTS);
        send_and_leave(&service, &cut[..cut.len() - 1]).await;
        let (service, body) = (&service, &body);
        let coming_back = (0..=CLIENTS).map(|n| {
            let key = key(n);
            async move {
                loop {
                    let answer = post(service, path, &key, body).await;
                    if answer.status != 409 {
                        assert_eq!(answer.status, created, "{answer:?}");
                        return;
                    }
                    answer.problem("idempotency-key-in-use");
                }
            }
        });
        let all = timeout(PATIENCE, join_all(coming_back)).await;
        assert!(all.is_ok(), "{path}: a key is locked");
    }
    let made = service.get("/subscriptions?count=true").await["total"].clone();
    assert_eq!(made, json!(2 * (CLIENTS + 1)));
}

/// The earlier attempt died after its write. This one cannot read what that one stored.
#[tokio::test]
async fn an_answer_with_a_failure_of_the_database_inside_is_not_kept() {
    let service = Service::start_with(|config| {
        config.mongodb_uri += "&appName=unread";
    })
    .await;
    let path = "/subscriptions/batch";
    let body = json!([{"filter": {}, "name": "n"}, {"nope": 1}]);
    let first = post(&service, path, "k", &body).await;
    assert_eq!(first.status, 207, "{first:?}");
    let keys = service.database.collection::<Document>("idempotency");
    let died = doc! {
        "$set": {"state": "running", "leaseUntil": DateTime::from_millis(0)},
        "$unset": {"answer": 1},
    };
    keys.update_one(doc! {}, died).await.unwrap();
    let admin = service.database.client().database("admin");
    let fail = doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": {"failCommands": ["find"], "appName": "unread", "errorCode": 11_600},
    };
    admin.run_command(fail).await.unwrap();
    let failed = post(&service, path, "k", &body).await;
    let over = doc! {"configureFailPoint": "failCommand", "mode": "off"};
    admin.run_command(over).await.unwrap();
    assert_eq!(failed.status, 503, "{failed:?}");
    let id = |answer: &Answer| answer.json()["items"][0]["subscription"]["id"].clone();
    service
        .until("the database is there", async || {
            post(&service, path, "k", &body).await.status == 207
        })
        .await;
    let again = post(&service, path, "k", &body).await;
    assert_eq!(id(&again), id(&first));
    assert_eq!(service.get("/subscriptions?count=true").await["total"], 1);
    service.stop().await;
}
