//! Pages of subscriptions.

use bson::{Document, doc, oid::ObjectId};
use reqwest::Method;
use serde_json::{Value, json};

use super::{request, send, support::Service};

async fn insert(service: &Service, documents: Vec<Document>) {
    let subscriptions = service.database.collection::<Document>("subscriptions");
    subscriptions.insert_many(documents).await.unwrap();
    // A write through the service is answered once its feed has passed these.
    let id = service.subscribe(json!({})).await;
    let (status, _) = service
        .send("DELETE", &format!("/subscriptions/{id}"), None)
        .await;
    assert_eq!(status, 204);
}

/// Returns all ids, page by page, and the number of pages.
async fn walk(service: &Service, query: &str) -> (Vec<Value>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    let mut cursor = String::new();
    loop {
        let page = service
            .get(&format!("/subscriptions?{query}{cursor}"))
            .await;
        pages += 1;
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].clone()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn pages_hold_every_subscription_once_in_order() {
    let service = Service::start().await;
    let documents = (0..7)
        .map(|n| doc! {"_id": format!("s{n}"), "filter": {}})
        .collect();
    insert(&service, documents).await;
    let (ids, pages) = walk(&service, "limit=3").await;
    assert_eq!(
        json!(ids),
        json!(["s0", "s1", "s2", "s3", "s4", "s5", "s6"])
    );
    assert_eq!(pages, 3);
    assert_eq!(walk(&service, "limit=7").await.1, 1);
    let page = service.get("/subscriptions?limit=2&count=true").await;
    assert_eq!(page["total"], 7);
    assert_eq!(service.get("/subscriptions").await.get("total"), None);
}

#[tokio::test]
async fn pages_are_stable_while_others_write() {
    let service = Service::start().await;
    insert(
        &service,
        (0..4)
            .map(|n| doc! {"_id": format!("s{n}"), "filter": {}})
            .collect(),
    )
    .await;
    let page = service.get("/subscriptions?limit=2").await;
    let cursor = page["nextCursor"].as_str().unwrap();
    for gone in ["s0", "s1", "s2"] {
        service
            .send("DELETE", &format!("/subscriptions/{gone}"), None)
            .await;
    }
    service
        .send("PUT", "/subscriptions/s00", Some(json!({"filter": {}})))
        .await;
    let rest = service
        .get(&format!("/subscriptions?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(rest["items"][0]["id"], "s3");
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn status_and_name_select() {
    let service = Service::start().await;
    let object_id = ObjectId::new();
    let hex = object_id.to_hex();
    insert(
        &service,
        vec![
            doc! {"_id": "a1", "filter": {}, "name": "n"},
            doc! {"_id": "a2", "filter": {}, "status": "active"},
            doc! {"_id": "b1", "filter": {"a": {"$nope": 1}}, "name": "n"},
            doc! {"_id": "b2", "filter": {"a": {"$nope": 1}}, "status": "paused"},
            doc! {"_id": "p1", "filter": {}, "status": "paused", "name": "n"},
            doc! {"_id": object_id, "filter": {}},
            doc! {"_id": 7, "filter": {}},
        ],
    )
    .await;
    for (query, expected) in [
        ("status=active", json!(["a1", "a2", hex])),
        ("status=active&limit=1", json!(["a1", "a2", hex])),
        ("status=paused", json!(["p1"])),
        ("status=invalid", json!(["b1", "b2", "7"])),
        ("status=invalid&limit=1", json!(["b1", "b2", "7"])),
        ("status=invalid&name=n", json!(["b1"])),
        ("name=n", json!(["a1", "b1", "p1"])),
        ("name=n&status=paused", json!(["p1"])),
        ("name=none", json!([])),
        ("limit=2", json!(["7", "a1", "a2", "b1", "b2", "p1", hex])),
    ] {
        assert_eq!(json!(walk(&service, query).await.0), expected, "{query}");
    }
    for (query, total) in [("status=paused", 1), ("status=invalid", 3), ("name=n", 3)] {
        let page = service
            .get(&format!("/subscriptions?{query}&count=true&limit=1"))
            .await;
        assert_eq!(page["total"], total, "{query}");
    }
    let all = service.get("/subscriptions?limit=10").await;
    assert_eq!(all["items"][0]["status"], "invalid");
    assert_eq!(all["items"][6]["status"], "active");
}

#[tokio::test]
async fn what_cannot_be_listed_is_named() {
    let service = Service::start().await;
    for (query, slug, place) in [
        ("limit=0", "bad-parameter", "limit"),
        ("limit=1001", "bad-parameter", "limit"),
        ("limit=x", "bad-parameter", "limit"),
        ("cursor=abc", "bad-cursor", "cursor"),
        ("status=asleep", "bad-parameter", "status"),
        ("count=1", "bad-parameter", "count"),
        ("nope=1", "bad-parameter", "nope"),
        ("name=%FF", "bad-parameter", "name"),
    ] {
        let path = format!("/subscriptions?{query}");
        let answer = send(request(&service, Method::GET, &path)).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.problem(slug), [place], "{query}");
    }
}
