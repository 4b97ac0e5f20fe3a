//! Bodies that take their time: the right of who sends one may end meanwhile.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use tokio::time::sleep;

use super::{make, send, start};
use crate::raw::Raw;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_behind_a_revocation_does_nothing() {
    let (service, admin) = start().await;
    let scopes = json!([
        "subscriptions:own",
        "subscriptions:write",
        "events:read",
        "events:publish",
        "keys:write",
        "admin",
    ]);
    let (other, _) = make(&service, &admin, json!({"scopes": ["events:read"]})).await;
    let change_of_key = format!("/keys/{other}");
    for (method, path, body) in [
        ("POST", "/events", json!({"type": "late"})),
        ("POST", "/subscriptions", json!({"filter": {"late": 1}})),
        (
            "POST",
            "/subscriptions/batch",
            json!([{"filter": {"late": 1}}]),
        ),
        ("PUT", "/subscriptions/late", json!({"filter": {"late": 1}})),
        ("POST", "/match", json!({"filter": {}, "event": {}})),
        ("POST", "/keys", json!({"scopes": [], "name": "late"})),
        ("PATCH", &change_of_key, json!({"name": "late"})),
        ("POST", "/revocations", json!({"tenant": "late"})),
        ("PUT", "/policies/late", json!({"read": {}})),
    ] {
        let (id, text) = make(&service, &admin, json!({"scopes": scopes})).await;
        let body = body.to_string();
        let (first, rest) = body.split_at(body.len() / 2);
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {text}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n{first}",
            body.len()
        );
        let mut raw = Raw::dial(service.address).await;
        raw.send(head.as_bytes()).await;
        // The head has been judged by then, or the test shows less than it could.
        sleep(Duration::from_millis(100)).await;
        let (status, _) = send(&service, &admin, "DELETE", &format!("/keys/{id}"), None).await;
        assert_eq!(status, 204);
        raw.send(rest.as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
    }
    for (collection, late) in [
        ("events", doc! {"type": "late"}),
        ("subscriptions", doc! {}),
        ("keys", doc! {"name": "late"}),
        ("revocations", doc! {}),
        ("policies", doc! {"_id": "late"}),
    ] {
        let stored = service.database.collection::<Document>(collection);
        let count = stored.count_documents(late).await.unwrap();
        assert_eq!(count, 0, "{collection}");
    }
    service.stop().await;
}
