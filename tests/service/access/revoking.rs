//! Taking keys away.

use bson::doc;
use serde_json::json;

use super::{connect, make, open, publish, refusal, send, start, subscribe};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_loses_its_sockets_on_every_node_and_no_other_does() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let id = subscribe(&service, &admin).await;
    let scopes = json!({"scopes": ["events:read", "subscriptions:read"]});
    let (revoked, key) = make(&service, &admin, scopes.clone()).await;
    let (_, other) = make(&service, &admin, scopes).await;
    let mut ended = [
        connect(&service, &key, &id).await,
        connect(&sibling, &key, &id).await,
    ];
    let mut open_ones = [
        connect(&service, &other, &id).await,
        connect(&sibling, &other, &id).await,
    ];
    publish(&service, &admin, 1).await;
    for socket in ended.iter_mut().chain(&mut open_ones) {
        assert_eq!(socket.event().await["n"], 1);
    }
    let path = format!("/keys/{revoked}");
    assert_eq!(send(&sibling, &admin, "DELETE", &path, None).await.0, 204);
    assert_eq!(send(&sibling, &key, "GET", "/whoami", None).await.0, 401);
    publish(&service, &admin, 2).await;
    for socket in &mut ended {
        let (messages, closed) = socket.rest().await;
        assert_eq!((closed.code, &*closed.text), (4511, "forbidden"));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0]["type"], "ended");
        assert_eq!(messages[0]["reason"], "forbidden");
    }
    for socket in &mut open_ones {
        assert_eq!(socket.event().await["n"], 2);
    }
    assert_eq!(refusal(open(&service, &key, &id).await), 401);
    assert_eq!(send(&sibling, &admin, "DELETE", &path, None).await.0, 404);
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_database_counts_like_one_over_rest() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let keys = service.database.collection::<bson::Document>("keys");
    let scopes = json!({"scopes": ["events:read", "subscriptions:read"]});
    for (change, closes) in [
        (doc! {"$set": {"name": "new"}}, false),
        (
            doc! {"$set": {"scopes": ["events:read", "subscriptions:read", "metrics"]}},
            false,
        ),
        (doc! {"$set": {"scopes": ["subscriptions:read"]}}, true),
        (doc! {"$set": {"scopes": "events:read"}}, true),
        (doc! {"$set": {"tenant": "acme"}}, true),
        (doc! {"$unset": {"hash": ""}}, true),
    ] {
        let (made, key) = make(&service, &admin, scopes.clone()).await;
        let mut socket = connect(&service, &key, &id).await;
        let by_id = doc! {"_id": &made};
        keys.update_one(by_id, change.clone()).await.unwrap();
        publish(&service, &admin, 1).await;
        if closes {
            let (messages, closed) = socket.rest().await;
            assert_eq!(closed.code, 4511, "{change}");
            assert_eq!(messages.len(), 1, "{change}: {messages:?}");
        } else {
            assert_eq!(socket.event().await["n"], 1, "{change}");
        }
    }
    let (_, key) = make(&service, &admin, scopes).await;
    let mut socket = connect(&service, &key, &id).await;
    keys.drop().await.unwrap();
    assert_eq!(socket.rest().await.1.code, 4511);
    let shut = async || send(&service, &admin, "GET", "/whoami", None).await.0 == 401;
    service.until("nobody is let in", shut).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_on_every_node_as_soon_as_it_is_made() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    for _ in 0..20 {
        let (_, key) = make(&service, &admin, json!({"scopes": ["metrics"]})).await;
        assert_eq!(send(&sibling, &key, "GET", "/whoami", None).await.0, 200);
    }
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_tenant_is_shut_out_and_let_in_again() {
    let (service, admin) = start().await;
    let body = json!({"scopes": ["metrics"], "tenant": "acme"});
    let (_, key) = make(&service, &admin, body).await;
    assert_eq!(send(&service, &key, "GET", "/whoami", None).await.0, 200);
    let revocations = service.database.collection::<bson::Document>("revocations");
    let revocation = doc! {"_id": "r", "tenant": "acme"};
    revocations.insert_one(revocation).await.unwrap();
    let refused = async || send(&service, &key, "GET", "/whoami", None).await.0 == 401;
    service.until("the tenant is revoked", refused).await;
    revocations.delete_one(doc! {"_id": "r"}).await.unwrap();
    let let_in = async || send(&service, &key, "GET", "/whoami", None).await.0 == 200;
    service.until("the tenant is back", let_in).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_key_and_gets_what_was_committed_before() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let keys = service.database.collection::<bson::Document>("keys");
    let body = json!({
        "scopes": ["events:read", "subscriptions:read"], "expiresAt": "2100-01-01T00:00:00Z",
    });
    let (made, key) = make(&service, &admin, body.clone()).await;
    let (_, other) = make(&service, &admin, body).await;
    let mut socket = connect(&service, &key, &id).await;
    let mut stays = connect(&service, &other, &id).await;
    publish(&service, &admin, 1).await;
    let end = bson::DateTime::from_millis(bson::DateTime::now().timestamp_millis() + 300);
    let sooner = doc! {"$set": {"expiresAt": end}};
    keys.update_one(doc! {"_id": &made}, sooner).await.unwrap();
    let (messages, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
    let kinds: Vec<_> = messages.iter().map(|message| &message["type"]).collect();
    assert_eq!(kinds, ["event", "expiring", "ended"]);
    assert_eq!(messages[0]["event"]["data"]["n"], 1);
    assert_eq!(messages[2]["reason"], "credential_expired");
    assert!(messages[2]["cursor"].is_string(), "{messages:?}");
    assert_eq!(refusal(open(&service, &key, &id).await), 401);
    publish(&service, &admin, 2).await;
    for n in [1, 2] {
        assert_eq!(stays.event().await["n"], n);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mere_reader_does_not_move_a_position() {
    let (service, admin) = start().await;
    let body = Some(json!({"filter": {}, "durable": true}));
    let (status, made) = send(&service, &admin, "POST", "/subscriptions", body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let path = format!("/subscriptions/{id}");
    let (_, before) = send(&service, &admin, "GET", &path, None).await;
    let reader = json!({"scopes": ["events:read", "subscriptions:read"]});
    let writer = json!({"scopes": ["events:read", "subscriptions:write"]});
    for (scopes, moves) in [(reader, false), (writer, true)] {
        let (_, key) = make(&service, &admin, scopes).await;
        let mut socket = connect(&service, &key, id).await;
        publish(&service, &admin, 1).await;
        let mut frame = socket.message().await;
        while frame["type"] != "event" {
            frame = socket.message().await;
        }
        socket
            .say(&json!({"type": "ack", "cursor": frame["cursor"]}).to_string())
            .await;
        // Answered behind the ack.
        socket.say(r#"{"type":"ping"}"#).await;
        while socket.message().await["type"] != "pong" {}
        socket.stream.close(None).await.unwrap();
        if moves {
            let moved = async || {
                let (_, now) = send(&service, &admin, "GET", &path, None).await;
                now["position"].as_str() > before["position"].as_str()
            };
            service.until("the position has moved", moved).await;
        } else {
            let ignored = "tidegate_acks_ignored_total{cause=\"forbidden\"} 1";
            let metrics = reqwest::Url::parse(&format!("http://{}/metrics", service.address));
            let shown = service.http.get(metrics.unwrap()).bearer_auth(&admin);
            let shown = shown.send().await.unwrap().text().await.unwrap();
            assert!(shown.lines().any(|line| line == ignored), "{shown}");
            let (_, now) = send(&service, &admin, "GET", &path, None).await;
            assert_eq!(now["position"], before["position"]);
        }
    }
    service.stop().await;
}
