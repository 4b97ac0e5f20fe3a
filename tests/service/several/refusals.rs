//! The refusals of a client, with the exact answers; and the ends of its socket.

use serde_json::{Value, json};

use super::kit::{PROTOCOL, open, subscribe, tell};
use crate::support::{Service, Socket};

/// Returns the problem with which a message is refused.
async fn refused(socket: &mut Socket, message: Value) -> Value {
    tell(socket, message.clone()).await;
    let refused = socket.message().await;
    assert_eq!(refused["type"], "refused", "{message}: {refused}");
    assert_eq!(refused["handle"], "h", "{message}: {refused}");
    refused["problem"].clone()
}

/// The fields of a subscribe that are wrong, each with the status, the type and the pointer of its refusal.
fn faults(id: &str) -> Vec<(Value, u16, &'static str, &'static str)> {
    let far = "9999-01-01T00:00:00Z";
    vec![
        (json!({}), 422, "invalid-request", "#/subscription"),
        (
            json!({"subscription": 5}),
            422,
            "invalid-request",
            "#/subscription",
        ),
        (
            json!({"subscription": "nobody"}),
            404,
            "subscription-not-found",
            "",
        ),
        (
            json!({"subscription": id, "afetr": "x"}),
            422,
            "invalid-request",
            "#/afetr",
        ),
        (
            json!({"subscription": id, "a/b~": 1}),
            422,
            "invalid-request",
            "#/a~1b~0",
        ),
        (
            json!({"subscription": id, "after": "damaged"}),
            400,
            "bad-cursor",
            "#/after",
        ),
        (
            json!({"subscription": id, "after": 5}),
            422,
            "invalid-request",
            "#/after",
        ),
        (
            json!({"subscription": id, "since": "yesterday"}),
            400,
            "bad-parameter",
            "#/since",
        ),
        (
            json!({"subscription": id, "since": far}),
            400,
            "bad-parameter",
            "#/since",
        ),
        (
            json!({"subscription": id, "since": far, "after": "x"}),
            422,
            "invalid-request",
            "#/since",
        ),
        (
            json!({"subscription": id, "onGap": "close"}),
            422,
            "invalid-request",
            "#/onGap",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_subscribe_is_refused_and_the_socket_stays() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    for (more, status, slug, pointer) in faults(&id) {
        let mut message = json!({"type": "subscribe", "handle": "h"});
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        let problem = refused(&mut socket, message).await;
        assert_eq!(problem["status"], status, "{more}: {problem}");
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{more}");
        let found = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(found, pointer, "{more}: {problem}");
    }
    // None of them has left anything behind.
    subscribe(&mut socket, "h", &id).await;
    let again = json!({"type": "subscribe", "handle": "h", "subscription": id});
    let problem = refused(&mut socket, again).await;
    assert_eq!(
        (&problem["status"], &problem["type"]),
        (&json!(409), &json!("/problems/handle-in-use"))
    );
    tell(
        &mut socket,
        json!({"type": "subscribe", "afetr": 1, "items": [
        {"handle": "one", "subscription": id}, {"handle": "two", "subscription": id}]}),
    )
    .await;
    for handle in ["one", "two"] {
        let refused = socket.message().await;
        assert_eq!(
            (&refused["type"], &refused["handle"]),
            (&json!("refused"), &json!(handle))
        );
        assert_eq!(refused["problem"]["errors"][0]["pointer"], "#/afetr");
    }
    tell(&mut socket, json!({"type": "subscribe", "items": [
        {"handle": "one", "subscription": id}, {"handle": "one", "subscription": id}, {"handle": "two", "subscription": "nobody"}]})).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let message = socket.message().await;
        let status = message["problem"]["status"].as_u64().unwrap_or_default();
        answers.push((message["type"].clone(), message["handle"].clone(), status));
    }
    answers.sort_by_key(|(_, handle, status)| (handle.to_string(), *status));
    assert_eq!(
        answers,
        [
            (json!("connected"), json!("one"), 0),
            (json!("refused"), json!("one"), 409),
            (json!("refused"), json!("two"), 404),
        ]
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_ends_the_socket() {
    let service = Service::start().await;
    for (bad, says) in [
        ("no JSON", "expected"),
        ("[]", "expected an object"),
        (r#"{"type":"nope"}"#, "unknown type"),
        (
            r#"{"type":"subscribe","subscription":"a"}"#,
            "handle: is missing",
        ),
        (r#"{"type":"subscribe","handle":"ä"}"#, "handle: expected"),
        (
            r#"{"type":"subscribe","items":[{"handle":"a"},{"handle":""}]}"#,
            "items/1/handle",
        ),
        (
            r#"{"type":"subscribe","items":5}"#,
            "items: expected an array",
        ),
        (r#"{"type":"ack","cursor":"damaged"}"#, "cursor"),
        (r#"{"type":"unsubscribe"}"#, "handle: is missing"),
    ] {
        let mut socket = open(&service).await;
        socket.say(bad).await;
        let ended = socket.assert_ends(4520, "bad_message").await;
        assert!(
            ended["detail"].as_str().unwrap().contains(says),
            "{bad}: {ended}"
        );
        assert!(ended.get("handle").is_none(), "{ended}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_a_socket_are_kept() {
    let service = Service::start_with(|config| {
        config.socket.handles = 3;
        config.socket.items = 4;
        config.socket.subscribe_burst = 9;
        config.socket.subscribes_per_second = 1;
        config.socket.many_message_bytes = 1_000;
    })
    .await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let items = |from: usize, to: usize| -> Value {
        let items = (from..to).map(|n| json!({"handle": n.to_string(), "subscription": id}));
        json!({"type": "subscribe", "items": items.collect::<Vec<_>>()})
    };
    let mut socket = open(&service).await;
    tell(&mut socket, items(0, 4)).await;
    let mut refused = Vec::new();
    for _ in 0..4 {
        let message = socket.message().await;
        if message["type"] == "refused" {
            refused.push(message);
        }
    }
    let [full] = refused.as_slice() else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (&full["handle"], &full["problem"]["status"]),
        (&json!("3"), &json!(429))
    );
    assert!(
        full["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("socket.handles")
    );
    tell(&mut socket, items(10, 15)).await;
    for n in 10..15 {
        let refused = socket.message().await;
        assert_eq!(refused["handle"], n.to_string(), "{refused}");
        assert!(
            refused["problem"]["detail"]
                .as_str()
                .unwrap()
                .contains("socket.items")
        );
    }
    tell(&mut socket, items(20, 24)).await;
    tell(&mut socket, items(24, 28)).await;
    let mut too_fast = 0;
    for _ in 20..28 {
        let refused = socket.message().await;
        assert_eq!(
            refused["problem"]["type"], "/problems/too-many-requests",
            "{refused}"
        );
        if refused["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("subscribe_burst")
        {
            assert!(refused["retryAfterMs"].as_u64().unwrap() > 0);
            too_fast += 1;
        }
    }
    assert!((1..=4).contains(&too_fast), "{too_fast}");
    tell(&mut socket, json!({"type": "ping", "x": "x".repeat(1_000)})).await;
    socket.assert_ends(1009, "too_big").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_so_many_handles() {
    let service = Service::start_with(|config| config.limits.handles = 2).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "a", &id).await;
    subscribe(&mut socket, "b", &id).await;
    let message = json!({"type": "subscribe", "handle": "h", "subscription": id});
    let problem = refused(&mut socket, message).await;
    assert_eq!(
        (&problem["status"], &problem["type"]),
        (&json!(503), &json!("/problems/overloaded"))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_subprotocols_are_refused_before_the_upgrade() {
    let service = Service::start().await;
    for (offer, taken) in [
        (None, true),
        (Some("tidegate.many.v1"), true),
        (Some("graphql-ws, tidegate.many.v1"), true),
        (Some("tidegate.v1"), false),
        (Some("cloudevents.json"), false),
    ] {
        let opened = Socket::open(service.address, "/api/v1/socket", offer).await;
        match opened {
            Ok(socket) if taken => {
                let expected = offer.map(|_| PROTOCOL);
                assert_eq!(socket.subprotocol.as_deref(), expected, "{offer:?}");
            }
            Err(tungstenite::Error::Http(answer)) if !taken => {
                assert_eq!(answer.status(), 400, "{offer:?}");
                let problem: Value =
                    serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
                assert_eq!(problem["type"], "/problems/bad-header");
                assert_eq!(problem["errors"][0]["header"], "Sec-WebSocket-Protocol");
            }
            other => panic!("{offer:?}: {:?}", other.map(drop)),
        }
    }
    let (status, problem) = service.send("GET", "/socket", None).await;
    assert_eq!(
        (status, &problem["type"]),
        (426, &json!("/problems/upgrade-required"))
    );
    service.stop().await;
}
