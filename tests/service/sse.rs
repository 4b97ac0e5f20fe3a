//! Server-sent events: the same connection as a socket's, over an HTTP answer.

use std::{collections::BTreeSet, io::Read as _, io::Write as _, net::TcpStream, time::Duration};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::{
    kit::until_closed,
    raw::{Raw, upgrade_request},
    support::{DEADLINE, Events, Service, with_credential},
};

#[tokio::test(flavor = "multi_thread")]
async fn events_and_messages_carry_their_cursor_type_and_json_until_the_delete() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let (mut events, connected) = Events::connect(&service, &id).await;
    assert_eq!(connected.data["type"], "connected");
    assert_eq!(connected.data["subscription"]["id"], id.as_str());
    assert_eq!(connected.data["recovered"], true);
    assert_eq!(connected.id, connected.data["cursor"]);

    let mut socket = service.connect(&id).await;
    service.publish("b", json!({"n": 1})).await;
    service
        .publish("a", json!({"n": 2, "text": "line\r\nbreak"}))
        .await;
    let event = events.next().await.unwrap();
    assert_eq!(event.name, "event");
    assert_eq!(
        event.data,
        socket.message().await,
        "the JSON is the socket's"
    );
    assert_eq!(event.id, event.data["cursor"]);
    assert!(event.id > connected.id);

    let path = format!("/subscriptions/{id}");
    service
        .send("PATCH", &path, Some(json!({"name": "n"})))
        .await;
    let updated = events.next().await.unwrap();
    assert_eq!(updated.name, "updated");
    assert_eq!(updated.data, socket.message().await);

    let listed = service.get(&format!("{path}/connections")).await;
    assert_eq!(listed["items"][0]["protocol"], "sse");
    assert_eq!(
        listed["items"][0]["connectionId"],
        connected.data["connectionId"]
    );
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    let ended = events.assert_ends("deleted").await;
    assert_eq!((ended.retry, &ended.data["code"]), (None, &json!(4500)));
    until_closed(&service, "deleted", 2).await;
    service.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_behind_its_last_event() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let (mut events, connected) = Events::connect(&service, &id).await;
    for n in 0..3 {
        service.publish("a", json!({"n": n})).await;
    }
    let first = events.next().await.unwrap();
    drop(events);
    until_closed(&service, "client_left", 1).await;
    // The URL of an event source never changes, but its last event id does.
    let query = format!("?after={}", connected.id);
    let mut events = Events::open(&service, &id, &query, Some(&first.id)).await;
    let again = events.next().await.unwrap();
    assert_eq!((&*again.name, &again.id), ("connected", &first.id));
    assert_eq!(again.data["recovered"], true);
    for n in 1..3 {
        assert_eq!(events.next().await.unwrap().data["event"]["data"]["n"], n);
    }
    let mut events = Events::open(&service, &id, &query, None).await;
    events.next().await.unwrap();
    assert_eq!(events.next().await.unwrap().id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problems_before_the_stream_begins() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let ask = async |path: String, last: &'static str| {
        let request = service.http.get(service.url(&path));
        let request = request
            .header("accept", "text/event-stream")
            .header("last-event-id", last);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let (status, _) = ask("/subscriptions/nobody/events".to_owned(), "").await;
    assert_eq!(status, 404);
    let (status, problem) = ask(format!("/subscriptions/{id}/events"), "damaged").await;
    assert_eq!(
        (status, &problem["type"]),
        (400, &json!("/problems/bad-cursor"))
    );
    assert_eq!(problem["errors"][0]["header"], "Last-Event-ID");
    let opened = service.metric("tidegate_connections_opened_total").await;
    assert_eq!(opened.to_bits(), 0);
}

/// Any status but 200 ends a browser's `EventSource` for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_does_not_last_is_a_stream_that_says_when_to_come_back() {
    let service = Service::start_with(|config| config.limits.connections = 1).await;
    let id = service.subscribe(json!({})).await;
    let (mut taken, connected) = Events::connect(&service, &id).await;
    let mut pauses = BTreeSet::new();
    for _ in 0..10 {
        let ended = Events::refused(&service, &id, &connected.id, "overloaded").await;
        assert_eq!(ended.data["code"], 1013);
        assert_eq!(ended.data["cursor"], connected.id);
        assert!(
            ended.data["detail"]
                .as_str()
                .unwrap()
                .contains("connections")
        );
        pauses.insert(ended.retry);
    }
    assert!(pauses.len() > 5, "spread: {pauses:?}");
    let mut strange = Events::open(&service, &id, "", None).await;
    let ended = strange.assert_ends("overloaded").await;
    assert_eq!((&*ended.id, &ended.data["cursor"]), ("", &Value::Null));
    // It counts as a refusal, and other clients see one.
    let refused = "tidegate_http_requests_total{method=\"GET\",\
                   route=\"/api/v1/subscriptions/{id}/events\",status=\"503\"}";
    assert_eq!(service.count(refused).await, 11);
    let mut raw = Raw::dial(service.address).await;
    let socket = upgrade_request(&id, "Accept: text/event-stream\r\n");
    raw.send(socket.as_bytes()).await;
    assert_eq!(raw.answer().await.status, 503);
    assert_eq!(service.count(refused).await, 12);
    let opened = service.count("tidegate_connections_opened_total").await;
    assert_eq!(opened, 1);
    service.publish("a", json!(1)).await;
    assert_eq!(taken.next().await.unwrap().name, "event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_set_headers_goes_on_behind_its_last_event() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let (mut events, connected) = Events::connect(&service, &id).await;
    let mut ids = vec![connected.id];
    for n in 0..2 {
        service.publish("a", json!(n)).await;
        ids.push(events.next().await.unwrap().id);
    }
    let [start, first, second] = &ids[..] else {
        panic!("{ids:?}");
    };
    for (query, header, expected) in [
        (format!("?lastEventId={first}&_=1700000000000"), None, first),
        (format!("?Last-Event-ID={first}"), None, first),
        (format!("?after={start}&lastEventId={first}"), None, first),
        (format!("?lastEventId={start}"), Some(second), second),
        (format!("?after={start}&lastEventId="), Some(first), first),
    ] {
        let header = header.map(String::as_str);
        let mut events = Events::open(&service, &id, &query, header).await;
        let connected = events.next().await.unwrap();
        assert_eq!(&connected.id, expected, "{query}");
    }
    let refused = async |query: &str, accept: &str| {
        let url = service.url(&format!("/subscriptions/{id}/events{query}"));
        let asked = service.http.get(url).header("accept", accept);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        answer.json::<Value>().await.unwrap()["errors"][0]["parameter"].clone()
    };
    let stream = "text/event-stream";
    let both = format!("?lastEventId={start}&Last-Event-ID={first}");
    assert_eq!(refused(&both, stream).await, "Last-Event-ID");
    assert_eq!(refused("?lastEventId=damaged", stream).await, "lastEventId");
    assert_eq!(refused("?lastevent=1", stream).await, "lastevent");
    assert_eq!(refused("?lastEventId=1", "*/*").await, "lastEventId");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_way_is_to_hold_a_stream_back() {
    let service = Service::start_with(|config| config.limits.connections = 1).await;
    let id = service.subscribe(json!({})).await;
    let url = service.url(&format!("/subscriptions/{id}/events"));
    let ask = || service.http.get(&url).header("accept", "text/event-stream");
    let taken = ask().send().await.unwrap();
    let refused = ask().send().await.unwrap();
    for answer in [&taken, &refused] {
        let headers = answer.headers();
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_gets_signs_of_life() {
    let service = Service::start_with(|config| {
        config.socket.ping_interval = Duration::from_millis(100);
        config.socket.pong_timeout = Duration::from_millis(200);
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let (mut events, _) = Events::connect(&service, &id).await;
    for _ in 0..10 {
        events.sign_of_life().await;
    }
    service.publish("a", json!({})).await;
    assert_eq!(events.next().await.unwrap().name, "event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_tells_its_streams_to_come_back() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let (mut events, _) = Events::connect(&service, &id).await;
    service.begin_stop();
    let ended = events.assert_ends("shutdown").await;
    assert_eq!(ended.retry, ended.data["retryAfterMs"].as_u64());
    assert!(ended.retry.is_some());
    service.stop().await;
}

/// Connects a client that asks for a stream and reads nothing, with small buffers in between.
fn stalled(service: &Service, id: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(service.address).unwrap();
    SockRef::from(&tcp).set_recv_buffer_size(4096).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!(
        "GET /api/v1/subscriptions/{id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    );
    let request = with_credential(service.address, request.as_bytes());
    tcp.write_all(&request).unwrap();
    tcp
}

async fn until_connected(service: &Service) {
    service
        .until("the client is connected", async || {
            service.metric("tidegate_connections").await > 0.5
        })
        .await;
}

/// Publishes events of 8 KiB.
async fn publish_large(service: &Service, count: usize) {
    let event = json!({"type": "a", "data": "x".repeat(8 * 1024)});
    service
        .post("/events", Value::from(vec![event; count]))
        .await;
}

/// Reads the rest of a stalled client's connection, which ends in order or not.
async fn assert_is_cut(mut tcp: TcpStream) {
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        match tcp.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "not cut"),
        }
    });
    rest.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_that_gets_more_than_may_wait_is_closed_as_slow() {
    let service = Service::start_with(|config| {
        config.socket.send_buffer_bytes = 4096;
        config.socket.outbox_frames = 16;
        config.socket.close_timeout = Duration::from_millis(200);
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let tcp = stalled(&service, &id);
    until_connected(&service).await;
    for _ in 0..4 {
        publish_large(&service, 100).await;
    }
    until_closed(&service, "slow_consumer", 1).await;
    service.assert_books_balance().await;
    assert_is_cut(tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_that_gets_little_misses_its_heartbeat() {
    let service = Service::start_with(|config| {
        config.socket.send_buffer_bytes = 4096;
        config.socket.pong_timeout = Duration::from_millis(300);
        config.socket.close_timeout = Duration::from_millis(200);
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let tcp = stalled(&service, &id);
    until_connected(&service).await;
    publish_large(&service, 100).await;
    until_closed(&service, "heartbeat_missed", 1).await;
    service.assert_books_balance().await;
    assert_is_cut(tcp).await;
}
