//! The caller of a socket for many subscriptions: what each handle may see, and how the right to it ends.

use bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use super::{make, publish, send, start, subscribe};
use crate::support::{Service, Socket};

const READING: [&str; 2] = ["events:read", "subscriptions:own"];

async fn open(service: &Service, key: &str) -> Socket {
    let offer = format!("tidegate.many.v1, tidegate.bearer.{key}");
    let mut socket = Socket::open(service.address, "/api/v1/socket", Some(&offer))
        .await
        .unwrap();
    assert_eq!(socket.subprotocol.as_deref(), Some("tidegate.many.v1"));
    assert_eq!(socket.message().await["type"], "welcome");
    socket
}

/// Asks for a handle. Returns the answer.
async fn ask(socket: &mut Socket, handle: &str, more: Value) -> Value {
    let mut message = json!({"type": "subscribe", "handle": handle});
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    socket.say(&message.to_string()).await;
    let answer = socket.message().await;
    assert_eq!(answer["handle"], handle, "{answer}");
    answer
}

/// Returns the refusal of a subscription that is not there, or not in sight.
fn no_subscription(handle: &str, id: &str) -> Value {
    let problem = json!({
        "type": "/problems/subscription-not-found", "title": "There is no such subscription", "status": 404,
        "detail": format!("there is no subscription {id:?}"),
    });
    json!({"type": "refused", "handle": handle, "problem": problem})
}

/// Makes a key of a tenant, which may publish too.
async fn tenant(service: &Service, admin: &str, name: &str) -> String {
    let scopes = [&READING[..], &["events:publish"]].concat();
    make(service, admin, json!({"scopes": scopes, "tenant": name}))
        .await
        .1
}

async fn publish_of(service: &Service, tenant: &str, n: i32) {
    let events = service.database.collection::<Document>("events");
    let event = doc! {"type": "a", "tenant": tenant, "data": {"n": n}};
    events.insert_one(event).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handle_is_by_sight_and_filters_are_bound_to_who_brings_them() {
    let (service, admin) = start().await;
    let (acme, other) = (
        tenant(&service, &admin, "acme").await,
        tenant(&service, &admin, "other").await,
    );
    let (mine, theirs) = (
        subscribe(&service, &acme).await,
        subscribe(&service, &other).await,
    );
    let mut socket = open(&service, &acme).await;
    let unknown = ask(&mut socket, "unknown", json!({"subscription": "nobody"})).await;
    let refused = ask(&mut socket, "theirs", json!({"subscription": theirs})).await;
    // In the words of what does not exist.
    assert_eq!(unknown, no_subscription("unknown", "nobody"));
    assert_eq!(refused, no_subscription("theirs", &theirs));
    assert_eq!(
        ask(&mut socket, "mine", json!({"subscription": mine})).await["type"],
        "connected"
    );
    assert_eq!(
        ask(&mut socket, "own", json!({"filter": {}})).await["type"],
        "connected"
    );
    let disguised = json!({"filter": {"tenant": "other"}});
    assert_eq!(
        ask(&mut socket, "disguised", disguised).await["type"],
        "connected"
    );
    publish_of(&service, "other", 0).await;
    publish_of(&service, "acme", 1).await;
    let event = socket.message().await;
    assert_eq!(
        (&event["to"], &event["event"]["data"]["n"]),
        (&json!(["mine", "own"]), &json!(1))
    );
    // The same for what was before.
    let since = json!({"filter": {}, "since": "2020-01-01T00:00:00Z"});
    let connected = ask(&mut socket, "past", since).await;
    assert_eq!(connected["replaying"], true, "{connected}");
    let mut replayed = Vec::new();
    loop {
        let message = socket.message().await;
        match message["type"].as_str().unwrap() {
            "event" => replayed.push(message["event"]["data"]["n"].clone()),
            "live" => break,
            "gap" => {}
            _ => panic!("{message}"),
        }
    }
    assert_eq!(replayed, [json!(1)]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_ends_when_its_subscription_goes_elsewhere_and_all_end_with_the_key() {
    let (service, admin) = start().await;
    let (key_id, key) = make(
        &service,
        &admin,
        json!({"scopes": READING, "tenant": "acme"}),
    )
    .await;
    let (gone, stays) = (
        subscribe(&service, &key).await,
        subscribe(&service, &key).await,
    );
    let mut socket = open(&service, &key).await;
    for (handle, id) in [("gone", &gone), ("stays", &stays)] {
        assert_eq!(
            ask(&mut socket, handle, json!({"subscription": id})).await["type"],
            "connected"
        );
    }
    assert_eq!(
        ask(&mut socket, "own", json!({"filter": {}})).await["type"],
        "connected"
    );
    publish_of(&service, "acme", 0).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let away = doc! {"$set": {"tenant": "other"}};
    subscriptions
        .update_one(doc! {"_id": &gone}, away)
        .await
        .unwrap();
    publish_of(&service, "acme", 1).await;
    // What was committed before still comes.
    assert_eq!(
        socket.message().await["to"],
        json!(["gone", "stays", "own"])
    );
    let ended = socket.message().await;
    assert_eq!(
        (&ended["handle"], &ended["reason"], &ended["code"]),
        (&json!("gone"), &json!("forbidden"), &json!(4511))
    );
    assert_eq!(socket.message().await["to"], json!(["stays", "own"]));
    let path = format!("/keys/{key_id}");
    assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    let ended = socket.assert_ends(4511, "forbidden").await;
    assert_eq!(ended.get("handle"), None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_or_goes_is_followed_by_every_handle() {
    let (service, admin) = start().await;
    let key = tenant(&service, &admin, "acme").await;
    let id = subscribe(&service, &key).await;
    let mut socket = open(&service, &key).await;
    assert_eq!(
        ask(&mut socket, "stored", json!({"subscription": id})).await["type"],
        "connected"
    );
    assert_eq!(
        ask(&mut socket, "own", json!({"filter": {}})).await["type"],
        "connected"
    );
    let narrower = doc! {"read": {"tenant": "$claims.tenant", "data.n": {"$gte": 5}}};
    super::store_policy(&service, "default", narrower).await;
    publish_of(&service, "acme", 1).await;
    publish_of(&service, "acme", 5).await;
    loop {
        let message = socket.message().await;
        if message["type"] == "event" {
            assert_eq!(
                (&message["to"], &message["event"]["data"]["n"]),
                (&json!(["stored", "own"]), &json!(5))
            );
            break;
        }
        assert_eq!(message["type"], "updated", "{message}");
    }
    let policies = service.database.collection::<Document>("policies");
    policies.delete_one(doc! {"_id": "default"}).await.unwrap();
    let mut ended = Vec::new();
    for _ in 0..2 {
        let message = socket.message().await;
        assert_eq!(
            (&message["type"], &message["reason"]),
            (&json!("ended"), &json!("forbidden")),
            "{message}"
        );
        ended.push((
            message["handle"].as_str().unwrap().to_owned(),
            message.get("more").is_some(),
        ));
    }
    let marks: Vec<_> = ended.iter().map(|(_, more)| *more).collect();
    assert_eq!(marks, [true, false]);
    ended.sort();
    let handles: Vec<_> = ended.iter().map(|(handle, _)| handle.as_str()).collect();
    assert_eq!(handles, ["own", "stored"]);
    socket.say(r#"{"type":"ping"}"#).await;
    assert_eq!(socket.message().await["type"], "pong");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_and_a_key_for_some_subscriptions_may_bring_no_filters() {
    let (service, admin) = start().await;
    let (a, b, c) = (
        subscribe(&service, &admin).await,
        subscribe(&service, &admin).await,
        subscribe(&service, &admin).await,
    );
    let (_, key) = make(
        &service,
        &admin,
        json!({"scopes": ["events:read", "subscriptions:read"]}),
    )
    .await;
    let body = Some(json!({"subscriptions": [a, b]}));
    let (status, made) = send(&service, &key, "POST", "/tickets", body).await;
    assert_eq!(status, 201, "{made}");
    let url = made["url"].as_str().unwrap();
    let mut with_ticket = Socket::open(service.address, url, None).await.unwrap();
    assert_eq!(with_ticket.message().await["type"], "welcome");
    let limited = json!({"scopes": ["events:read"], "subscriptions": [a, b]});
    let (_, limited) = make(&service, &admin, limited).await;
    let mut with_key = open(&service, &limited).await;
    let forbidden = json!({
        "type": "/problems/forbidden", "title": "This is not allowed", "status": 403,
        "detail": "the credential is for the events of its subscriptions only",
    });
    for socket in [&mut with_ticket, &mut with_key] {
        let refused = ask(socket, "c", json!({"subscription": c})).await;
        assert_eq!(refused, no_subscription("c", &c));
        let refused = ask(socket, "own", json!({"filter": {}})).await;
        let expected = json!({"type": "refused", "handle": "own", "problem": forbidden});
        assert_eq!(refused, expected);
        for (handle, id) in [("a", &a), ("b", &b)] {
            let answer = ask(socket, handle, json!({"subscription": id})).await;
            assert_eq!(answer["type"], "connected", "{answer}");
        }
    }
    publish(&service, &admin, 1).await;
    assert_eq!(with_ticket.message().await["to"], json!(["a", "b"]));
    let again = Socket::open(service.address, url, None).await;
    assert_eq!(super::refusal(again), 401);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_credential_is_the_socket_s_and_a_refresh_puts_it_off() {
    let (service, admin) = start().await;
    let id = subscribe(&service, &admin).await;
    let end = DateTime::from_millis(DateTime::now().timestamp_millis() + 20_000);
    let end = end.try_to_rfc3339_string().unwrap();
    let body = json!({"scopes": ["events:read", "subscriptions:read"], "expiresAt": end});
    let (key_id, key) = make(&service, &admin, body).await;
    let mut socket = open(&service, &key).await;
    let mut kinds = Vec::new();
    socket
        .say(&json!({"type": "subscribe", "handle": "a", "subscription": id}).to_string())
        .await;
    for _ in 0..2 {
        kinds.push(socket.message().await["type"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["connected", "expiring"]);
    socket
        .say(&json!({"type": "refresh", "token": key}).to_string())
        .await;
    assert_eq!(socket.message().await["type"], "refreshed");
    socket
        .say(&json!({"type": "refresh", "token": "nonsense"}).to_string())
        .await;
    let refused = socket.message().await;
    assert_eq!(
        (&refused["type"], refused.get("handle")),
        (&json!("refused"), None)
    );
    publish(&service, &admin, 1).await;
    let keys = service.database.collection::<Document>("keys");
    let change = doc! {"$set": {"expiresAt": DateTime::from_millis(1)}};
    keys.update_one(doc! {"_id": key_id}, change).await.unwrap();
    publish(&service, &admin, 2).await;
    let (messages, closed) = socket.rest().await;
    assert_eq!(
        (closed.code, closed.text.as_str()),
        (4510, "credential_expired")
    );
    let numbers: Vec<_> = messages
        .iter()
        .filter(|message| message["type"] == "event")
        .map(|message| message["event"]["data"]["n"].clone())
        .collect();
    assert_eq!(numbers, [json!(1)]);
    service.stop().await;
}
