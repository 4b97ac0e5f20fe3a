//! The order of what is for several handles, and the marks of messages that belong together.

use serde_json::json;

use super::kit::{event, open, subscribe, tell, until, welcomed};
use crate::{
    kit::{assert_cursors_rise, insert_events, with_books_watched},
    support::Service,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_once_with_all_handles_that_it_is_for() {
    let service = Service::start().await;
    let all = service
        .subscribe(json!({"type": {"$in": ["a", "b"]}}))
        .await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let b = service.subscribe(json!({"type": "b"})).await;
    let (mut socket, welcome) = welcomed(&service).await;
    let settings = &service.config.socket;
    let limits = json!({
        "handles": settings.handles, "items": settings.items,
        "subscribesPerSecond": settings.subscribes_per_second, "messageBytes": settings.many_message_bytes,
    });
    assert_eq!(welcome["limits"], limits);
    with_books_watched(&service, async {
        for (handle, id) in [("x", &all), ("a", &a), ("again", &a), ("b", &b)] {
            let connected = subscribe(&mut socket, handle, id).await;
            assert_eq!(connected["subscription"]["id"], id.as_str());
            assert_eq!(connected["recovered"], true);
            assert_eq!(connected["replaying"], false);
        }
        insert_events(&service, "a", 0..20).await;
        insert_events(&service, "b", 20..40).await;
        let mut messages = Vec::new();
        for n in 0..40 {
            let message = socket.message().await;
            let expected = if n < 20 {
                vec!["x", "a", "again"]
            } else {
                vec!["x", "b"]
            };
            assert_eq!(event(&message), (expected, n));
            assert!(message.get("more").is_none() && message.get("replay").is_none());
            messages.push(message);
        }
        assert_cursors_rise(&messages);
        assert!(messages[0]["cursor"].as_str() > welcome["cursor"].as_str());
    })
    .await;
    assert_eq!(service.count("tidegate_channels").await, 4);
    socket.leave().await;
    service
        .until("no channel", async || {
            service.count("tidegate_channels").await == 0
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_opened_at_one_point_and_changes_stand_at_their_own_place() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let b = service.subscribe(json!({"type": "b"})).await;
    let mut socket = open(&service).await;
    tell(&mut socket, json!({"type": "subscribe", "items": [
        {"handle": "a", "subscription": a}, {"handle": "b", "subscription": b}, {"handle": "a2", "subscription": a},
    ]})).await;
    let mut cursors = Vec::new();
    for handle in ["a", "b", "a2"] {
        let connected = socket.message().await;
        assert_eq!(connected["handle"], handle, "{connected}");
        cursors.push(connected["cursor"].clone());
    }
    assert!(cursors.iter().all(|cursor| *cursor == cursors[0]));
    service.publish("a", json!({"n": 0})).await;
    let path = format!("/subscriptions/{a}");
    let change = json!({"filter": {"type": "c"}});
    assert_eq!(service.send("PATCH", &path, Some(change)).await.0, 200);
    service.publish("a", json!({"n": 1})).await;
    service.publish("c", json!({"n": 2})).await;
    let messages = until(&mut socket, |message| message["event"]["data"]["n"] == 2).await;
    assert_cursors_rise(&messages);
    let [first, one, other, last] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    assert_eq!(event(first), (vec!["a", "a2"], 0));
    assert_eq!(event(last), (vec!["a", "a2"], 2));
    // One change made both.
    assert_eq!(
        (&one["type"], &other["type"]),
        (&json!("updated"), &json!("updated"))
    );
    assert_eq!(
        (&one["handle"], &other["handle"]),
        (&json!("a"), &json!("a2"))
    );
    assert_eq!(one["cursor"], other["cursor"]);
    assert_eq!(
        (one.get("more"), other.get("more")),
        (Some(&json!(true)), None)
    );
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    service.publish("b", json!({"n": 3})).await;
    let messages = until(&mut socket, |message| message["type"] == "event").await;
    let [one, other, last] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    for (ended, handle) in [(one, "a"), (other, "a2")] {
        assert_eq!(ended["type"], "ended");
        assert_eq!(
            (&ended["reason"], &ended["code"]),
            (&json!("deleted"), &json!(4500))
        );
        assert_eq!(ended["handle"], handle);
    }
    assert_eq!(
        (one.get("more"), other.get("more")),
        (Some(&json!(true)), None)
    );
    assert_eq!(one["cursor"], other["cursor"]);
    assert_eq!(event(last), (vec!["b"], 3));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_sockets_are_told_where_they_stand() {
    let service = Service::start_with(|config| {
        config.socket.ping_interval = std::time::Duration::from_millis(400);
        config.socket.pong_timeout = std::time::Duration::from_millis(400);
    })
    .await;
    let id = service.subscribe(json!({"type": "never"})).await;
    let mut many = open(&service).await;
    let connected = subscribe(&mut many, "a", &id).await;
    let mut one = service.open(&id, "").await;
    assert_eq!(one.message().await["type"], "connected");
    service.publish("other", json!({"n": 0})).await;
    for socket in [&mut many, &mut one] {
        loop {
            let Some(Ok(tungstenite::Message::Text(text))) = socket.frame().await else {
                continue;
            };
            let at: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(at["type"], "at", "{at}");
            if at["cursor"].as_str() > connected["cursor"].as_str() {
                break;
            }
        }
    }
    service.stop().await;
}
