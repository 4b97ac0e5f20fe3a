//! Row policies over REST: who they are for, and what a write of one does at its place in the feed.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{connect, make, send, start, start_without_policies, subscribe};
use crate::support::Service;

const SCOPES: [&str; 3] = ["subscriptions:own", "events:read", "events:publish"];
const PATH: &str = "/policies/default";

async fn insert(service: &Service, n: i32, level: &str) {
    let event = doc! {
        "id": n.to_string(), "source": "/s", "type": "a", "tenant": "acme", "level": level, "data": {"n": n},
    };
    let events = service.database.collection::<Document>("events");
    events.insert_one(event).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_put_narrows_open_sockets_at_its_place_in_the_feed() {
    let (service, admin) = start_without_policies().await;
    let put = async |policy: Value| send(&service, &admin, "PUT", PATH, Some(policy)).await;
    let (status, made) = put(json!({"read": {"tenant": "$claims.tenant"}})).await;
    assert_eq!(status, 201, "{made}");
    let body = json!({"scopes": SCOPES, "tenant": "acme"});
    let (_, acme) = make(&service, &admin, body).await;
    let id = subscribe(&service, &acme).await;
    let sibling = service.sibling().await;
    let mut sockets = [
        connect(&service, &acme, &id).await,
        connect(&sibling, &acme, &id).await,
    ];
    insert(&service, 1, "secret").await;
    let narrower = json!({"read": {"tenant": "$claims.tenant", "level": "open"}});
    let (status, replaced) = put(narrower).await;
    assert_eq!(
        (status, &replaced["warnings"]),
        (200, &json!([])),
        "{replaced}"
    );
    // This node has applied it, and it counts for the past at once.
    let (_, page) = send(&service, &acme, "GET", "/events", None).await;
    assert_eq!(page["items"], json!([]));
    insert(&service, 2, "secret").await;
    insert(&service, 3, "open").await;
    for socket in &mut sockets {
        assert_eq!(socket.event().await["n"], 1);
        assert_eq!(socket.message().await["type"], "updated");
        assert_eq!(socket.event().await["n"], 3);
    }

    // What cannot be used changes nothing.
    let (status, problem) = put(json!({"read": {"tenant": {"$all": []}}})).await;
    assert_eq!(status, 422);
    assert_eq!(problem["type"], "/problems/policy-invalid");
    assert_eq!(problem["errors"][0]["pointer"], "#/read/tenant/$all");
    insert(&service, 4, "open").await;
    for socket in &mut sockets {
        assert_eq!(socket.event().await["n"], 4);
    }

    assert_eq!(send(&service, &admin, "DELETE", PATH, None).await.0, 204);
    let (status, problem) = send(&service, &acme, "GET", "/events", None).await;
    assert_eq!(status, 403);
    assert_eq!(problem["type"], "/problems/policy-unsatisfied");
    for mut socket in sockets {
        assert_eq!(socket.rest().await.1.code, 4511);
    }
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_learns_nothing_of_policies_whatever_its_scopes() {
    let (service, admin) = start().await;
    let scopes = [
        "subscriptions:own",
        "subscriptions:read",
        "subscriptions:write",
        "events:read",
        "events:publish",
        "keys:write",
        "metrics",
    ];
    let body = json!({"scopes": scopes, "tenant": "acme"});
    let (id, acme) = make(&service, &admin, body).await;
    let read = json!({"read": {}});
    let tried = json!({"claims": {}, "event": {}});
    let calls = [
        ("GET", "/policies".to_owned(), None),
        ("GET", PATH.to_owned(), None),
        ("GET", "/policies/none".to_owned(), None),
        ("PUT", PATH.to_owned(), Some(read.clone())),
        ("PUT", "/policies/acme:own".to_owned(), Some(read)),
        ("DELETE", PATH.to_owned(), None),
        ("POST", format!("{PATH}/match"), Some(tried)),
    ];
    let refused = async || {
        for (method, path, body) in &calls {
            let answer = send(&service, &acme, method, path, body.clone()).await;
            assert_eq!(answer.0, 403, "{method} {path}: {}", answer.1);
            assert_eq!(answer.1["type"], "/problems/forbidden", "{method} {path}");
            assert_eq!(answer.1["scope"], "admin", "{method} {path}");
        }
    };
    refused().await;
    // Nor if a program writes the scope of operators into the key.
    let keys = service.database.collection::<Document>("keys");
    let more = doc! {"$push": {"scopes": "admin"}};
    keys.update_one(doc! {"_id": id}, more).await.unwrap();
    let (_, made) = make(&service, &admin, json!({"scopes": []})).await;
    assert!(!made.is_empty(), "what was written before it is applied");
    refused().await;
    let (status, shown) = send(&service, &admin, "GET", PATH, None).await;
    assert_eq!(
        (status, &shown["read"]),
        (200, &json!({"tenant": "$claims.tenant"}))
    );
    service.stop().await;
}
