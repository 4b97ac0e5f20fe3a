//! The room for stored credentials: what finds none grants nothing, and no revocation is forgotten.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{connect, make, open, publish, refusal, send, start_with, subscribe};
use crate::support::{Service, admin_key};

/// Starts a node with little room, and an administrator's key.
async fn start(bytes: usize) -> (Service, String) {
    start_with(|config| config.limits.credentials_bytes = bytes).await
}

/// Makes keys until one is refused. Returns the status and the problem, and how many were made.
async fn fill(service: &Service, by: &str, tenant: Value) -> (u16, Value, usize) {
    for made in 0.. {
        let body = json!({"scopes": ["events:read"], "tenant": tenant});
        let (status, answer) = send(service, by, "POST", "/keys", Some(body)).await;
        if status != 201 {
            return (status, answer, made);
        }
    }
    unreachable!("the range has no end")
}

/// Returns the condition of the node's credentials.
async fn condition(service: &Service, key: &str) -> Value {
    let (_, health) = send(service, key, "GET", "/health", None).await;
    health["parts"]["credentials"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_take_so_many_bytes_and_a_tenants_a_share_of_them() {
    let (service, admin) = start(64 << 10).await;
    let scopes = json!({"scopes": ["keys:write", "events:read"], "tenant": "acme"});
    let (id, acme) = make(&service, &admin, scopes.clone()).await;
    let (status, problem, made) = fill(&service, &acme, Value::Null).await;
    assert_eq!(
        (status, &problem["quota"]),
        (403, &json!("credentials_bytes")),
        "{problem}"
    );
    assert_eq!(problem["limit"], 4096, "{problem}");
    assert!((2..6).contains(&made), "{made}");
    // Nor may one that is there grow into what is left.
    let larger = json!({"networks": vec!["10.0.0.0/8"; 90]});
    let url = service.url(&format!("/keys/{id}"));
    let growing = service.http.patch(url).bearer_auth(&acme);
    let growing = growing.header("content-type", "application/merge-patch+json");
    let grown = growing.body(larger.to_string()).send().await.unwrap();
    assert_eq!(grown.status(), 403);
    let revoke = json!({"sub": "42"});
    let (status, _) = send(&service, &acme, "POST", "/revocations", Some(revoke)).await;
    assert_eq!(status, 201, "revocations have room of their own");

    // What a tenant may not take is there for others, until there is none.
    let other = json!({"scopes": ["keys:write", "events:read"], "tenant": "other"});
    let (_, other) = make(&service, &admin, other).await;
    assert!(fill(&service, &other, Value::Null).await.2 >= 2);
    let (status, problem, made) = fill(&service, &admin, json!("third")).await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/overloaded")),
        "{problem}"
    );
    assert!(made > 20, "{made}");
    assert_eq!(condition(&service, &admin).await["status"], "up");

    // What a program writes beyond that is not let in, and nobody takes it for a wrong one.
    let key = finish_key(&service, &admin).await;
    let (status, problem) = send(&service, &key, "GET", "/whoami", None).await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/overloaded")),
        "{problem}"
    );
    let condition = condition(&service, &admin).await;
    assert_eq!(condition["status"], "full", "{condition}");
    assert!(
        condition["detail"]
            .as_str()
            .unwrap()
            .starts_with("no room for 1 keys"),
        "{condition}"
    );
    assert_eq!(send(&service, &acme, "GET", "/whoami", None).await.0, 200);
    service.stop().await;
}

/// Makes a key on the database, and waits until the node has applied what was written.
async fn finish_key(service: &Service, admin: &str) -> String {
    let key = admin_key(&service.config);
    subscribe(service, admin).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_finds_no_room_is_not_forgotten() {
    let (service, admin) = start(16 << 10).await;
    let body = json!({"scopes": ["subscriptions:own", "events:read"], "tenant": "acme"});
    let (_, acme) = make(&service, &admin, body).await;
    let id = subscribe(&service, &acme).await;
    let mut socket = connect(&service, &acme, &id).await;
    let revocations = service.database.collection::<Document>("revocations");
    let many = (0..40).map(|n| doc! {"_id": n, "tenant": format!("t{n}")});
    revocations.insert_many(many).await.unwrap();
    let event = json!({"type": "a", "tenant": "acme", "data": {"n": 1}});
    assert_eq!(
        send(&service, &admin, "POST", "/events", Some(event))
            .await
            .0,
        202
    );
    assert_eq!(socket.event().await["n"], 1, "it stood by all of them");
    let condition = condition(&service, &admin).await;
    assert_eq!(condition["status"], "full", "{condition}");

    // Nobody can say any more whom those that are not held name.
    let (status, problem) = send(&service, &acme, "GET", "/whoami", None).await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/not-ready")),
        "{problem}"
    );
    assert_eq!(refusal(open(&service, &acme, &id).await), 503);
    let revoke = json!({"tenant": "acme"});
    let (status, problem) = send(&service, &admin, "POST", "/revocations", Some(revoke)).await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/overloaded")),
        "{problem}"
    );

    // The next one ends whom it names, though there is no room for it.
    let last = doc! {"_id": "last", "tenant": "acme"};
    revocations.insert_one(last).await.unwrap();
    publish(&service, &admin, 2).await;
    assert_eq!(socket.rest().await.1.code, 4511);
    // Once they are gone, everything is known again.
    revocations.drop().await.unwrap();
    subscribe(&service, &admin).await;
    assert_eq!(send(&service, &acme, "GET", "/whoami", None).await.0, 200);
    service.stop().await;
}
