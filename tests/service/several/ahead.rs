//! A handle that stands ahead of its node: its client was on a node that had come further.

use serde_json::{Value, json};

use super::kit::{ahead_of, event, open, subscribe, tell};
use crate::support::{Service, Socket};

/// The handle stands so far ahead.
const SECONDS: u32 = 4;

/// A socket with a live handle `y`, and a handle `x` that stands ahead at the cursor.
async fn one_ahead(service: &Service, durable: bool) -> (Socket, String, [String; 2]) {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({"filter": {"type": "a"}, "durable": durable});
        let made = service.post("/subscriptions", body).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let mut socket = open(service).await;
    let mut connected = subscribe(&mut socket, "y", &ids[1]).await;
    while connected["replaying"] == true {
        // Its acknowledged position was behind: it is live when it says so.
        let message = socket.message().await;
        assert_eq!(message["type"], "live", "{message}");
        connected["replaying"] = json!(false);
    }
    let ahead = ahead_of(&connected["cursor"], SECONDS);
    let wish = json!({"type": "subscribe", "handle": "x", "subscription": ids[0], "after": ahead});
    tell(&mut socket, wish).await;
    let connected = socket.message().await;
    let found = ["handle", "cursor", "recovered", "replaying"].map(|name| connected[name].clone());
    assert_eq!(
        found,
        [json!("x"), json!(ahead), json!(true), json!(true)],
        "{connected}"
    );
    let ids = ids.try_into().unwrap();
    (socket, ahead, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_live_when_the_node_has_come_there_and_gets_nothing_before() {
    let service = Service::start().await;
    let (mut socket, ahead, _) = one_ahead(&service, false).await;
    let (mut next, mut live) = (0, false);
    loop {
        service.publish("a", json!({"n": next})).await;
        let message = socket.message().await;
        let cursor = message["cursor"].as_str().unwrap();
        if message["type"] == "live" {
            assert_eq!(message["handle"], "x");
            assert!(*cursor >= *ahead, "{message} stands at {ahead}");
            live = true;
            continue;
        }
        let (to, number) = event(&message);
        // The event of another round may come behind `live`.
        next = next.max(number + 1);
        let expected = if *cursor > *ahead {
            vec!["y", "x"]
        } else {
            vec!["y"]
        };
        assert_eq!(to, expected, "{message}");
        if *cursor > *ahead {
            assert!(live, "{message} before `live`");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    service.stop().await;
}

/// The cursor of its end lies ahead too, and must not be taken for that of the live handles.
#[tokio::test(flavor = "multi_thread")]
async fn its_end_moves_nobody_else() {
    let service = Service::start().await;
    let (mut socket, ahead, _) = one_ahead(&service, false).await;
    let unsubscribed = |handle: &str| json!({"type": "unsubscribe", "handle": handle});
    tell(&mut socket, unsubscribed("x")).await;
    let ended = socket.message().await;
    let expected = json!({
        "type": "ended", "handle": "x", "replay": true, "reason": "unsubscribed", "code": 4502,
        "retryAfterMs": null, "cursor": ahead,
    });
    assert_eq!(ended, expected);
    service.publish("a", json!({"n": 0})).await;
    let message = socket.message().await;
    assert_eq!(event(&message), (vec!["y"], 0));
    let cursor = |message: &Value| message["cursor"].as_str().unwrap().to_owned();
    assert!(cursor(&message) < ahead, "{message}");
    tell(&mut socket, unsubscribed("y")).await;
    let ended = socket.message().await;
    assert_eq!(
        (&ended["handle"], ended.get("replay")),
        (&json!("y"), None),
        "{ended}"
    );
    assert!(cursor(&ended) < ahead, "{ended}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_all_that_is_live_leaves_it_alone() {
    let service = Service::start().await;
    let (mut socket, _, [x, y]) = one_ahead(&service, true).await;
    let position = async |id: &str| {
        let shown = service.get(&format!("/subscriptions/{id}")).await;
        shown["position"].clone()
    };
    let begun = position(&x).await;
    service.publish("a", json!({"n": 0})).await;
    let message = socket.message().await;
    assert_eq!(event(&message), (vec!["y"], 0));
    tell(
        &mut socket,
        json!({"type": "ack", "cursor": message["cursor"]}),
    )
    .await;
    service
        .until("y is moved", async || {
            position(&y).await.as_str() >= message["cursor"].as_str()
        })
        .await;
    assert_eq!(position(&x).await, begun);
    service.stop().await;
}
