//! Two nodes on one database, and the answers of a node while its feed is held up.

use bson::{Document, doc};
use mongodb::Collection;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_made_on_one_node_streams_on_the_other() {
    let (one, other) = two().await;
    let id = one.subscribe(json!({"type": "a"})).await;
    let mut here = one.connect(&id).await;
    let mut there = other.connect(&id).await;
    one.publish("a", json!({"n": 1})).await;
    other.publish("b", json!({"n": 2})).await;
    other.publish("a", json!({"n": 3})).await;
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.event().await, json!({"n": 1}));
        assert_eq!(socket.event().await, json!({"n": 3}));
    }
    other.stop().await;
    there.assert_ends(1001, "shutdown").await;
    one.publish("a", json!({"n": 4})).await;
    assert_eq!(here.event().await, json!({"n": 4}));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_anywhere_closes_the_sockets_of_both_nodes() {
    let (one, other) = two().await;
    for round in 0..3 {
        let id = one.subscribe(json!({})).await;
        let mut sockets = [one.connect(&id).await, other.connect(&id).await];
        let path = format!("/subscriptions/{id}");
        match round {
            0 => assert_eq!(one.send("DELETE", &path, None).await.0, 204),
            1 => assert_eq!(other.send("DELETE", &path, None).await.0, 204),
            _ => drop(
                subscriptions(&one)
                    .delete_one(doc! {"_id": &id})
                    .await
                    .unwrap(),
            ),
        }
        for socket in &mut sockets {
            socket.assert_ends(4500, "deleted").await;
        }
        for node in [&one, &other] {
            assert_eq!(node.send("DELETE", &path, None).await.0, 404);
            node.assert_books_balance().await;
        }
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_has_made_is_connectable_on_the_other_at_once() {
    let (one, other) = two().await;
    for round in 0..50 {
        let (maker, host) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let id = maker.subscribe(json!({"type": "a"})).await;
        // This fails on any answer but 101.
        drop(host.connect(&id).await);
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_in_a_shell_spoils_an_entity_tag() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let path = format!("/subscriptions/{id}");
    let seen = etag(&request(&service, "GET", &path, None, None).await);
    let change = doc! {"$set": {"theirs": 1}};
    subscriptions(&service)
        .update_one(doc! {"_id": &id}, change)
        .await
        .unwrap();
    let named = json!({"filter": {}, "name": "mine"});
    for (method, body) in [
        ("PATCH", Some(&named)),
        ("PUT", Some(&named)),
        ("DELETE", None),
    ] {
        let answer = request(&service, method, &path, body, Some(&seen)).await;
        assert_eq!(answer.status(), 412, "{method}");
    }
    let now = etag(&request(&service, "GET", &path, None, None).await);
    assert_ne!(now, seen);
    let answer = request(&service, "PATCH", &path, Some(&named), Some(&now)).await;
    assert_eq!(answer.status(), 200);
    let stored = subscriptions(&service)
        .find_one(doc! {"_id": &id})
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.get("name"), Some(&"mine".into()));
    assert_eq!(stored.get("theirs"), Some(&1.into()));
    service.stop().await;
}

async fn two() -> (Service, Service) {
    let one = Service::start().await;
    let other = one.sibling().await;
    (one, other)
}

fn subscriptions(service: &Service) -> Collection<Document> {
    service.database.collection("subscriptions")
}

async fn request(
    service: &Service,
    method: &str,
    path: &str,
    body: Option<&Value>,
    if_match: Option<&str>,
) -> Response {
    let method = method.parse().unwrap();
    let mut request = service.http.request(method, service.url(path));
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    request.send().await.unwrap()
}

fn etag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}
