//! Teardowns of credentials: the proof that a deleted key, or what a revocation names, has no socket left on any node.

mod pending;

use std::time::Duration;

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::config::{Auth, Config};

use super::{connect, make, send, store_policy, subscribe};
use crate::support::{Service, Socket, admin_key};

const SCOPES: [&str; 2] = ["events:read", "subscriptions:read"];

fn lively(config: &mut Config) {
    config.auth = Auth::Required;
    config.node.heartbeat_interval = Duration::from_millis(50);
    config.socket.close_timeout = Duration::from_millis(500);
}

async fn start() -> (Service, String) {
    let service = Service::start_with(lively).await;
    let admin = admin_key(&service.config);
    let tenants = doc! {"read": {"tenant": "$claims.tenant"}};
    store_policy(&service, "default", tenants).await;
    (service, admin)
}

async fn teardown(service: &Service, key: &str, of: &str) -> (u16, Value) {
    send(service, key, "GET", &format!("{of}/teardown"), None).await
}

/// Waits until a teardown is complete. Returns the sum of closed sockets, and the states of the nodes, in order.
async fn completed(service: &Service, key: &str, of: &str) -> (i64, Vec<String>) {
    let complete = async || teardown(service, key, of).await.1["complete"] == true;
    service.until("the teardown is complete", complete).await;
    let (_, shown) = teardown(service, key, of).await;
    let nodes = shown["nodes"].as_array().unwrap();
    let closed = nodes.iter().map(|node| node["closed"].as_i64().unwrap());
    let closed = closed.sum();
    let states = nodes.iter().map(|node| node["state"].as_str().unwrap());
    let mut states: Vec<_> = states.map(str::to_owned).collect();
    states.sort();
    (closed, states)
}

/// Returns the number of teardowns of this kind of right that a node has timed.
async fn timed(service: &Service, admin: &str, right: &str) -> u64 {
    let metrics = format!("http://{}/metrics", service.address);
    let request = service.http.get(metrics).bearer_auth(admin);
    let text = request.send().await.unwrap().text().await.unwrap();
    let name = format!("tidegate_teardown_seconds_count{{right=\"{right}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

async fn all_end(sockets: &mut [Socket]) {
    for socket in sockets {
        assert_eq!(socket.rest().await.1.code, 4511);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_proved_to_have_no_socket_on_any_node() {
    let (one, admin) = start().await;
    let two = one.sibling().await;
    let none = one.sibling().await;
    let id = subscribe(&one, &admin).await;
    let (key, text) = make(&one, &admin, json!({"scopes": SCOPES})).await;
    let (_, other) = make(&one, &admin, json!({"scopes": SCOPES})).await;
    let path = format!("/keys/{key}");
    let exists = teardown(&one, &admin, &path).await;
    assert_eq!(
        (exists.0, &exists.1["type"]),
        (409, &json!("/problems/not-deleted"))
    );
    let mut sockets = [
        connect(&one, &text, &id).await,
        connect(&one, &text, &id).await,
        connect(&two, &text, &id).await,
    ];
    let _others = [
        connect(&one, &other, &id).await,
        connect(&two, &other, &id).await,
    ];
    assert_eq!(send(&two, &admin, "DELETE", &path, None).await.0, 204);
    all_end(&mut sockets).await;
    drop(sockets);
    for asked in [&one, &two, &none] {
        let (closed, states) = completed(asked, &admin, &path).await;
        assert_eq!(
            (closed, &*states),
            (3, &["closed", "closed", "none"].map(str::to_owned)[..])
        );
    }
    let (_, shown) = teardown(&none, &admin, &path).await;
    assert_eq!(
        (&shown["key"], &shown["reason"]),
        (&json!(key), &json!("deleted"))
    );
    assert!(
        shown["deletedAt"].is_string() && shown["cursor"].is_string(),
        "{shown}"
    );
    // Each node that had sockets of it has timed their end once; those of the other key stay.
    for (service, count) in [(&one, 1), (&two, 1), (&none, 0)] {
        assert_eq!(timed(service, &admin, "key").await, count);
        assert_eq!(timed(service, &admin, "revocation").await, 0);
        assert_eq!(timed(service, &admin, "subscription").await, 0);
    }
    let receipts = one.database.collection::<Document>("receipts");
    let of_it = doc! {"kind": "key", "credential": &key, "tenant": null};
    assert_eq!(receipts.count_documents(of_it).await.unwrap(), 2);
    // A node that starts later learns of the delete from the oplog.
    let late = one.sibling().await;
    let (closed, _) = completed(&late, &admin, &path).await;
    assert_eq!(closed, 3);
    for service in [one, two, none, late] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_teardown_of_a_credential_is_for_its_tenant_and_operators() {
    let (service, admin) = start().await;
    let of = |tenant: &str, scopes: &[&str]| json!({"scopes": scopes, "tenant": tenant});
    let (_, keeper) = make(&service, &admin, of("acme", &["keys:write", "metrics"])).await;
    let (_, reader) = make(&service, &admin, of("acme", &["subscriptions:read"])).await;
    let (_, stranger) = make(&service, &admin, of("other", &["keys:write"])).await;
    let (id, _) = make(&service, &admin, of("acme", &["metrics"])).await;
    let path = format!("/keys/{id}");
    let unknown = "/keys/key_0000000000";
    let hides = async |path: &str, word: &str| {
        let hidden = teardown(&service, &stranger, path).await;
        let nothing = teardown(&service, &stranger, word).await;
        assert_eq!(hidden.0, 404, "{}", hidden.1);
        let same = hidden.1.to_string().replace(&path[6..], &word[6..]);
        assert_eq!(same, nothing.1.to_string());
    };
    assert_eq!(teardown(&service, &keeper, &path).await.0, 409);
    hides(&path, unknown).await;
    assert_eq!(send(&service, &keeper, "DELETE", &path, None).await.0, 204);
    for key in [&admin, &keeper] {
        let (closed, states) = completed(&service, key, &path).await;
        assert_eq!((closed, &*states), (0, &["none".to_owned()][..]));
    }
    hides(&path, unknown).await;
    assert_eq!(teardown(&service, &reader, &path).await.0, 403);

    let body = json!({"sub": "42", "issuedBefore": "2000-01-01T00:00:00Z"});
    let (status, made) = send(&service, &keeper, "POST", "/revocations", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/revocations/{}", made["id"].as_str().unwrap());
    for key in [&admin, &keeper] {
        completed(&service, key, &path).await;
    }
    assert_eq!(teardown(&service, &stranger, &path).await.0, 404);
    // It is gone, and what it did may still be asked.
    assert_eq!(send(&service, &keeper, "DELETE", &path, None).await.0, 204);
    for key in [&admin, &keeper] {
        completed(&service, key, &path).await;
    }
    for (key, path) in [(&stranger, &*path), (&admin, "/revocations/rev_none")] {
        assert_eq!(teardown(&service, key, path).await.0, 404);
    }
    // So it is where it was made before anybody remembers.
    let late = service.sibling().await;
    let revocations = service.database.collection::<Document>("revocations");
    let old = doc! {"_id": "old", "tenant": "acme", "sub": "7"};
    revocations.insert_one(old).await.unwrap();
    completed(&late, &keeper, "/revocations/old").await;
    let older = service.sibling().await;
    revocations.delete_one(doc! {"_id": "old"}).await.unwrap();
    let known = async || teardown(&older, &keeper, "/revocations/old").await.0 == 200;
    older.until("the node has seen it go", known).await;
    completed(&older, &keeper, "/revocations/old").await;
    for service in [service, late, older] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_proved_to_have_left_no_socket_of_what_it_names() {
    let (one, admin) = start().await;
    let two = one.sibling().await;
    let acme = json!({"scopes": ["events:read", "subscriptions:own"], "tenant": "acme"});
    let other = json!({"scopes": ["events:read", "subscriptions:own"], "tenant": "other"});
    let (_, acme) = make(&one, &admin, acme).await;
    let (_, other) = make(&one, &admin, other).await;
    let (mine, theirs) = (subscribe(&one, &acme).await, subscribe(&one, &other).await);
    let mut sockets = [
        connect(&one, &acme, &mine).await,
        connect(&two, &acme, &mine).await,
    ];
    let mut stays = connect(&two, &other, &theirs).await;
    let body = json!({"tenant": "acme"});
    let (answer, made) = send(&one, &admin, "POST", "/revocations", Some(body)).await;
    assert_eq!(answer, 201, "{made}");
    all_end(&mut sockets).await;
    drop(sockets);
    let path = format!("/revocations/{}", made["id"].as_str().unwrap());
    for asked in [&one, &two] {
        let (closed, states) = completed(asked, &admin, &path).await;
        assert_eq!(
            (closed, &*states),
            (2, &["closed", "closed"].map(str::to_owned)[..])
        );
    }
    for service in [&one, &two] {
        assert_eq!(timed(service, &admin, "revocation").await, 1);
        assert_eq!(timed(service, &admin, "key").await, 0);
    }
    let (_, shown) = teardown(&two, &admin, &path).await;
    assert_eq!(shown["revocation"], made["id"], "{shown}");
    assert!(
        shown["revokedAt"].is_string() && shown["reason"].is_null(),
        "{shown}"
    );
    let late = one.sibling().await;
    assert_eq!(completed(&late, &admin, &path).await.0, 2);
    stays.say(r#"{"type":"ping"}"#).await;
    assert_eq!(stays.message().await["type"], "pong");
    // The delete of a subscription is timed likewise.
    let gone = format!("/subscriptions/{theirs}");
    assert_eq!(send(&one, &other, "DELETE", &gone, None).await.0, 204);
    assert_eq!(stays.rest().await.1.code, 4500);
    drop(stays);
    assert_eq!(completed(&one, &other, &gone).await.0, 1);
    assert_eq!(timed(&one, &admin, "subscription").await, 0);
    assert_eq!(timed(&two, &admin, "subscription").await, 1);
    // Taken back, it has ended the same sockets all the same.
    assert_eq!(send(&one, &admin, "DELETE", &path, None).await.0, 204);
    let later = one.sibling().await;
    for asked in [&one, &two, &late, &later] {
        assert_eq!(completed(asked, &admin, &path).await.0, 2);
    }
    let (_, again) = teardown(&two, &admin, &path).await;
    assert_eq!(again["revokedAt"], shown["revokedAt"], "{again}");
    for service in [one, two, late, later] {
        service.stop().await;
    }
}
