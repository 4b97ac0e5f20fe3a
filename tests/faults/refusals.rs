//! The answers to callers while the database is unavailable: when to come back. Their sockets stay.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    rig::{
        faults::Fault,
        node::{Node, http_client},
        world::World,
    },
    suite::empty_world,
    support::{DEADLINE, Socket},
};

/// A refused request may have happened nevertheless, so nothing is done to the subscription with the socket.
const CALLS: [(Method, &str); 6] = [
    (Method::POST, "/subscriptions"),
    (Method::PUT, "/subscriptions/other"),
    (Method::PATCH, "/subscriptions/other"),
    (Method::DELETE, "/subscriptions/other"),
    (Method::GET, "/subscriptions/other"),
    (Method::POST, "/events"),
];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_calls_are_answered_503_and_sockets_stay() {
    let (mut world, _turn) = empty_world(1).await;
    let subscription = json!({"filter": {"type": "a"}});
    for path in ["/subscriptions/there", "/subscriptions/other"] {
        let made = call(&world.nodes[0], Method::PUT, path, &subscription).await;
        assert_eq!(made.status(), 201);
    }
    let mut socket = connect(&world).await;
    // It answers pings meanwhile.
    let listening = tokio::spawn(async move { socket.message().await });

    let remedy = Fault::MajorityLost.inject(&mut world).await.unwrap();
    until_refused(&world.nodes[0]).await;
    for (method, path) in CALLS {
        let answer = call(&world.nodes[0], method.clone(), path, &body(path)).await;
        assert_eq!(answer.status(), 503, "{method} {path}");
        let after = answer.headers()["retry-after"].to_str().unwrap();
        assert!(
            after.parse::<u32>().unwrap() > 0,
            "{method} {path}: {after}"
        );
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            problem["type"], "/problems/database-unavailable",
            "{method} {path}"
        );
    }
    let live = call(&world.nodes[0], Method::GET, "/live", &Value::Null).await;
    assert_eq!(live.status(), 200);
    Fault::MajorityLost.heal(remedy, &mut world).await.unwrap();

    until_published(&world.nodes[0]).await;
    let event = listening.await.unwrap();
    assert_eq!(event["type"], "event", "on the socket of before: {event}");
    world.stop().await.unwrap();
}

fn body(path: &str) -> Value {
    match path {
        "/events" => json!({"type": "b"}),
        _ => json!({"filter": {}, "name": "another"}),
    }
}

async fn connect(world: &World) -> Socket {
    let path = "/api/v1/subscriptions/there/events";
    let key = world.keyring.operator().unwrap();
    let offer = format!("tidegate.v1, tidegate.bearer.{key}");
    let mut socket = Socket::open(world.nodes[0].address, path, Some(&offer))
        .await
        .unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    socket
}

async fn call(node: &Node, method: Method, path: &str, body: &Value) -> Response {
    let url = format!("http://{}/api/v1{path}", node.address);
    let request = http_client().unwrap().request(method, url);
    let request = node.keyring.authorize(request.json(body));
    request.send().await.unwrap()
}

/// Waits until calls are refused. The primary takes a moment to notice that it is alone.
async fn until_refused(node: &Node) {
    let begun = Instant::now();
    while call(node, Method::GET, "/subscriptions/there", &Value::Null)
        .await
        .status()
        != 503
    {
        assert!(begun.elapsed() < DEADLINE, "reads are still answered");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until_published(node: &Node) {
    let event = json!({"id": "1", "source": "/test", "type": "a"});
    let begun = Instant::now();
    while call(node, Method::POST, "/events", &event).await.status() != 202 {
        assert!(begun.elapsed() < DEADLINE, "nothing can be published");
        sleep(Duration::from_millis(50)).await;
    }
}
