//! The two subprotocols of a socket, and their messages.

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::{
    kit::assert_cursors_rise,
    support::{Service, Socket, with_credential},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_subprotocol_that_is_known_is_spoken() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    for (asked, chosen) in [
        (None, None),
        (Some("tidegate.v1"), Some("tidegate.v1")),
        (Some("graphql-ws, tidegate.v1"), Some("tidegate.v1")),
        (Some("tidegate.v1, cloudevents.json"), Some("tidegate.v1")),
        (
            Some("cloudevents.json, tidegate.v1"),
            Some("cloudevents.json"),
        ),
    ] {
        let socket = open(&service, &id, asked).await.unwrap();
        assert_eq!(socket.subprotocol.as_deref(), chosen, "{asked:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_unknown_subprotocol_gets_ours_unnamed() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    // A server must not name a subprotocol that was not offered (RFC 6455, section 4.2.2), so none is named. This
    // client gives up on that answer; others may go on, and get `tidegate.v1`.
    let answer = handshake(&service, &id, "graphql-ws").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(
        !answer
            .to_ascii_lowercase()
            .contains("sec-websocket-protocol"),
        "{answer}"
    );
    assert!(answer.contains(r#"{"type":"connected""#), "{answer}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_cloudevents_are_all_that_cloudevents_json_carries() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service, &id, Some("cloudevents.json")).await.unwrap();
    let mut ours = service.connect(&id).await;
    socket.say("not even JSON").await;
    socket.say(r#"{"type":"ping"}"#).await;
    service.publish("a", json!({"n": 1})).await;
    let path = format!("/subscriptions/{id}");
    let patched = service
        .send("PATCH", &path, Some(json!({"name": "new"})))
        .await;
    assert_eq!(patched.0, 200);
    service.publish("a", json!({"n": 2})).await;
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    let (bare, closed) = socket.rest().await;
    assert_eq!((closed.code, closed.text.as_str()), (4500, "deleted"));
    let (framed, _) = ours.rest().await;
    let framed: Vec<_> = framed
        .iter()
        .filter(|frame| frame["type"] == "event")
        .collect();
    assert_eq!((bare.len(), framed.len()), (2, 2));
    for (bare, framed) in bare.into_iter().zip(framed) {
        assert_eq!(bare["specversion"], "1.0");
        let mut expected = framed["event"].clone();
        expected["tidegatecursor"] = framed["cursor"].clone();
        assert_eq!(bare, expected);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_document_is_told_at_its_place() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.open(&id, "").await;
    let path = format!("/subscriptions/{id}");
    let changes = [
        (json!({"name": "named"}), "/name", json!("named")),
        (
            json!({"filter": {"type": "b"}}),
            "/filter",
            json!({"type": "b"}),
        ),
        (json!({"status": "paused"}), "/status", json!("paused")),
        (json!({"metadata": {"k": 1}}), "/metadata", json!({"k": 1})),
        (json!({"status": "active"}), "/status", json!("active")),
    ];
    for (n, (change, _, _)) in changes.iter().enumerate() {
        service.publish("a", json!({"n": n, "of": "a"})).await;
        service.publish("b", json!({"n": n, "of": "b"})).await;
        let (status, shown) = service.send("PATCH", &path, Some(change.clone())).await;
        assert_eq!(status, 200, "{shown}");
    }
    service.publish("b", json!({"n": 9, "of": "b"})).await;
    // A change of nothing is not announced.
    let same = service
        .send("PATCH", &path, Some(json!({"status": "active"})))
        .await;
    assert_eq!(same.0, 200);
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    let (messages, _) = socket.rest().await;
    assert_cursors_rise(&messages);
    assert_eq!(messages[0]["type"], "connected");
    let told: Vec<_> = messages[1..messages.len() - 1].iter().map(brief).collect();
    let update = |n: usize| (changes[n].1.to_owned(), changes[n].2.clone());
    let event = |n: i32, of: &str| ("event".to_owned(), json!({"n": n, "of": of}));
    let expected = [
        event(0, "a"),
        update(0),
        event(1, "a"),
        update(1),
        event(2, "b"),
        update(2),
        update(3),
        update(4),
        event(9, "b"),
    ];
    for (at, (told, (pointer, value))) in told.iter().zip(&expected).enumerate() {
        match told {
            Told::Event(data) => assert_eq!((pointer.as_str(), value), ("event", data), "{at}"),
            Told::Updated(shown) => assert_eq!(shown.pointer(pointer), Some(value), "{at}"),
        }
    }
    assert_eq!(told.len(), expected.len());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_rise_as_text_over_events_of_one_transaction_too() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.open(&id, "").await;
    let events = service.database.collection::<Document>("events");
    let mut session = service.database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for n in 0..50 {
        events
            .insert_one(doc! {"data": n})
            .session(&mut session)
            .await
            .unwrap();
    }
    session.commit_transaction().await.unwrap();
    events.insert_one(doc! {"data": 50}).await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..=51 {
        messages.push(socket.message().await);
    }
    assert_cursors_rise(&messages);
    let numbers: Vec<_> = messages[1..]
        .iter()
        .map(|m| m["event"]["data"].clone())
        .collect();
    assert_eq!(numbers, (0..=50).map(Value::from).collect::<Vec<_>>());
    service.stop().await;
}

/// Returns the subject of a message.
enum Told {
    Event(Value),
    Updated(Value),
}

fn brief(message: &Value) -> Told {
    match message["type"].as_str() {
        Some("event") => Told::Event(message["event"]["data"].clone()),
        Some("updated") => Told::Updated(message["subscription"].clone()),
        _ => panic!("{message}"),
    }
}

async fn open(
    service: &Service,
    id: &str,
    subprotocol: Option<&str>,
) -> Result<Socket, tungstenite::Error> {
    let path = format!("/api/v1/subscriptions/{id}/events");
    Socket::open(service.address, &path, subprotocol).await
}

/// Sends a handshake written by hand. Returns the answer and the first frame behind it, as text.
async fn handshake(service: &Service, id: &str, subprotocol: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut tcp = tokio::net::TcpStream::connect(service.address)
        .await
        .unwrap();
    let request = format!(
        "GET /api/v1/subscriptions/{id}/events HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
        service.address
    );
    let request = with_credential(service.address, request.as_bytes());
    tcp.write_all(&request).await.unwrap();
    let mut read = Vec::new();
    let arriving =
        async { while !read.ends_with(b"}") && tcp.read_buf(&mut read).await.unwrap() > 0 {} };
    tokio::time::timeout(crate::support::DEADLINE, arriving)
        .await
        .expect("an answer in time");
    String::from_utf8_lossy(&read).into_owned()
}
