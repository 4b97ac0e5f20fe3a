//! The bounds of a socket and of a node, with the exact answers.

use serde_json::{Value, json};

use super::kit::{event, exact, open, subscribe, tell, tell_anything};
use crate::support::{Service, Socket};

/// Returns the refusal of a handle by a bound of its socket.
fn too_many(handle: &str, detail: &str) -> Value {
    let kind = (429, "too-many-requests", "Requests come too fast");
    json!({"type": "refused", "handle": handle, "problem": exact(kind, detail, &[])})
}

/// Returns the refusal of a handle by a bound of its node, which may pass.
fn overloaded(handle: &str, detail: &str) -> Value {
    let kind = (503, "overloaded", "This node cannot serve more now");
    json!({"type": "refused", "handle": handle, "problem": exact(kind, detail, &[]), "retryAfterMs": 1_000})
}

/// Returns a `subscribe` of the handles with these numbers.
fn items(id: &str, numbers: std::ops::Range<usize>) -> Value {
    let items = numbers.map(|n| json!({"handle": n.to_string(), "subscription": id}));
    json!({"type": "subscribe", "items": items.collect::<Vec<_>>()})
}

/// Reads so many answers; those that are refusals come first.
async fn answers(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(socket.message().await);
    }
    answers.sort_by_key(|answer| answer["type"] != "refused");
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_so_many_handles_and_a_message_so_many_items() {
    let service = Service::start_with(|config| {
        config.socket.handles = 3;
        config.socket.items = 4;
    })
    .await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    tell(&mut socket, items(&id, 0..4)).await;
    let all = answers(&mut socket, 4).await;
    let full = "the socket has as many handles as it may (3, socket.handles)";
    assert_eq!(all[0], too_many("3", full));
    assert!(
        all[1..].iter().all(|answer| answer["type"] == "connected"),
        "{all:?}"
    );
    tell(&mut socket, items(&id, 10..15)).await;
    for n in 10..15 {
        let words = "a message may have 4 items at most (socket.items)";
        assert_eq!(socket.message().await, too_many(&n.to_string(), words));
    }
    // There is room for another one when one has gone.
    tell(&mut socket, json!({"type": "unsubscribe", "handle": "0"})).await;
    tell(&mut socket, items(&id, 3..4)).await;
    assert_eq!(socket.message().await["type"], "ended");
    assert_eq!(socket.message().await["type"], "connected");
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["1", "2", "3"], 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_subscribes_so_fast() {
    let service = Service::start_with(|config| {
        config.socket.subscribe_burst = 6;
        config.socket.subscribes_per_second = 1;
    })
    .await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    tell(&mut socket, items(&id, 0..8)).await;
    let mut all = answers(&mut socket, 8).await;
    all.retain(|answer| answer["type"] == "refused");
    // A slow machine may have given one more meanwhile.
    assert!((1..=2).contains(&all.len()), "{all:?}");
    for refused in &mut all {
        let after = refused.as_object_mut().unwrap().remove("retryAfterMs");
        assert!(
            after
                .and_then(|after| after.as_u64())
                .is_some_and(|after| (1..=2_000).contains(&after))
        );
        let handle = refused["handle"].as_str().unwrap().to_owned();
        let words =
            "the socket subscribes too fast (socket.subscribes_per_second, socket.subscribe_burst)";
        assert_eq!(*refused, too_many(&handle, words));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_so_many_bytes() {
    let service = Service::start_with(|config| config.socket.many_message_bytes = 1_000).await;
    let ping = |bytes: usize| {
        let bare = json!({"type": "ping", "x": ""}).to_string().len();
        json!({"type": "ping", "x": "x".repeat(bytes - bare)})
    };
    let mut socket = open(&service).await;
    tell_anything(&mut socket, ping(1_000)).await;
    assert_eq!(socket.message().await, json!({"type": "pong"}));
    tell_anything(&mut socket, ping(1_001)).await;
    let ended = socket.assert_ends(1009, "too_big").await;
    assert_eq!(
        (ended.get("handle"), &ended["retryAfterMs"]),
        (None, &Value::Null)
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_so_many_handles() {
    let service = Service::start_with(|config| config.limits.handles = 2).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let (mut socket, mut other) = (open(&service).await, open(&service).await);
    subscribe(&mut socket, "a", &id).await;
    subscribe(&mut socket, "b", &id).await;
    let words = "this node has as many handles as it may have (limits.handles)";
    for socket in [&mut socket, &mut other] {
        tell(
            socket,
            json!({"type": "subscribe", "handle": "h", "subscription": id}),
        )
        .await;
        assert_eq!(socket.message().await, overloaded("h", words));
    }
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["a", "b"], 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_clients_are_bounded_and_may_be_switched_off() {
    let service = Service::start_with(|config| {
        config.socket.adhoc_handles = 2;
        config.limits.adhoc = 3;
    })
    .await;
    let bring =
        |handle: &str| json!({"type": "subscribe", "handle": handle, "filter": {"type": "a"}});
    let mut socket = open(&service).await;
    for handle in ["a", "b"] {
        tell(&mut socket, bring(handle)).await;
        assert_eq!(socket.message().await["type"], "connected");
    }
    tell(&mut socket, bring("c")).await;
    let words = "the socket has as many handles with filters of its own as it may (2, socket.adhoc_handles)";
    assert_eq!(socket.message().await, too_many("c", words));
    let mut other = open(&service).await;
    tell(&mut other, bring("a")).await;
    assert_eq!(other.message().await["type"], "connected");
    tell(&mut other, bring("b")).await;
    let words =
        "this node has as many filters without a subscription as it may have (limits.adhoc)";
    assert_eq!(other.message().await, overloaded("b", words));
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["a", "b"], 0));
    assert_eq!(event(&other.message().await), (vec!["a"], 0));
    service.stop().await;

    let service = Service::start_with(|config| config.socket.adhoc = false).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    tell(&mut socket, bring("c")).await;
    let kind = (403, "forbidden", "This is not allowed");
    let problem = exact(
        kind,
        "this node takes no filters without a subscription (socket.adhoc)",
        &[],
    );
    let expected = json!({"type": "refused", "handle": "c", "problem": problem});
    assert_eq!(socket.message().await, expected);
    subscribe(&mut socket, "c", &id).await;
    service.stop().await;
}
