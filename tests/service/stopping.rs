//! The orderly stop: every client is told, requests in flight are finished, and no client can hold it up.

use std::{io, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    process::Process,
    raw::Raw,
    support::{DEADLINE, Service, Socket},
};

const SOCKETS: usize = 500;

async fn open_sockets(service: &Service, id: &str, count: usize) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(service.connect(id).await);
    }
    sockets
}

/// Asserts that every client is told that the node stops, and when to reconnect: not all at once.
async fn assert_all_told(sockets: &mut [Socket]) {
    let told = sockets
        .iter_mut()
        .map(|socket| socket.assert_ends(1001, "shutdown"));
    let told: Vec<Value> = join_all(told).await;
    let pauses = told.iter().map(|ended| ended["retryAfterMs"].as_u64());
    let pauses: Vec<u64> = pauses.map(|pause| pause.expect("a pause")).collect();
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
}

/// Waits until nobody can connect any more.
async fn until_closed(service: &Service) {
    let refused = async || {
        let connecting = TcpStream::connect(service.address).await;
        connecting.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    service.until("connections are refused", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_told_and_nobody_holds_up_the_stop() {
    const MUTE: usize = 50;
    let service = Service::start_with(|config| {
        config.shutdown_timeout = Duration::from_secs(2);
        // By this timeout alone the node would wait for the clients that never answer.
        config.socket.close_timeout = DEADLINE * 10;
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut mute = Vec::new();
    for _ in 0..MUTE {
        mute.push(Raw::open_narrow(service.address, &id).await);
    }
    // Their sockets hold less than what they have not read, so their last words cannot be written.
    service
        .publish("large", json!("x".repeat(300 * 1024)))
        .await;
    let mut sockets = open_sockets(&service, &id, SOCKETS - MUTE).await;
    service.begin_stop();
    assert_all_told(&mut sockets).await;
    until_closed(&service).await;
    service.stop().await;
    // Nothing of them is left: they find the end when they look.
    for mut raw in mute {
        while raw.frame().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_hand_is_finished() {
    let service = Service::start().await;
    let body = json!({"type": "late", "data": 1}).to_string();
    let mut raw = begin_to_publish(&service, &body).await;
    service.begin_stop();
    until_closed(&service).await;
    raw.send(&body.as_bytes()[1..]).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["accepted"], 1, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(
        raw.frame().await,
        None,
        "the connection is closed behind it"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut_at_the_deadline() {
    let service = Service::start_with(|config| {
        config.shutdown_timeout = Duration::from_millis(500);
        config.limits.body_timeout = DEADLINE * 10;
        config.limits.header_timeout = DEADLINE * 10;
    })
    .await;
    let mut half_a_body = begin_to_publish(&service, "{\"type\": \"never\"}").await;
    let mut half_a_head = Raw::dial(service.address).await;
    half_a_head.send(b"GET /api/v1/live HTTP/1.1\r\nHo").await;
    service.stop().await;
    for raw in [&mut half_a_body, &mut half_a_head] {
        assert_eq!(raw.frame().await, None, "no answer, but the end");
    }
}

/// Sends a request whose handler has begun: the server asks for the body, and has its first byte.
async fn begin_to_publish(service: &Service, body: &str) -> Raw {
    let mut raw = Raw::dial(service.address).await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    raw.send(head.as_bytes()).await;
    assert_eq!(raw.answer().await.status, 100);
    raw.send(&body.as_bytes()[..1]).await;
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_http_do_not_hold_up_the_stop() {
    let service = Service::start_with(|config| {
        config.shutdown_timeout = DEADLINE * 10;
        config.limits.header_timeout = DEADLINE * 10;
    })
    .await;
    let mut fresh = Raw::dial(service.address).await;
    let mut kept = Raw::dial(service.address).await;
    kept.send(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(kept.answer().await.status, 200);
    service.stop().await;
    for raw in [&mut fresh, &mut kept] {
        assert_eq!(raw.frame().await, None, "no answer, but the end");
    }
}

/// Asserts that the process ends in order after this signal: every client is told, and the exit code is 0.
async fn check_signal(name: &str) {
    let process = Process::serve("").await;
    let id = process.service.subscribe(json!({})).await;
    let mut sockets = open_sockets(&process.service, &id, SOCKETS).await;
    process.signal(name).await;
    assert_all_told(&mut sockets).await;
    assert_eq!(process.end().await, Some(0), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_the_process_in_order() {
    check_signal("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_the_process_in_order() {
    check_signal("TERM").await;
}

/// The terminal is gone.
#[tokio::test(flavor = "multi_thread")]
async fn sighup_stops_the_process_in_order() {
    check_signal("HUP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_process_outlives_its_terminal() {
    let process = Process::serve("trap '' HUP").await;
    let id = process.service.subscribe(json!({})).await;
    let mut socket = process.service.connect(&id).await;
    process.signal("HUP").await;
    process.service.publish("still here", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    drop(socket);
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(0));
}

/// A client that reads its end and never answers the close holds up the stop. A second signal does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_whatever_it_waits_for() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let process =
            Process::serve("export TIDEGATE_SHUTDOWN_TIMEOUT=1h TIDEGATE_SOCKET__CLOSE_TIMEOUT=1h")
                .await;
        let id = process.service.subscribe(json!({})).await;
        let mut raw = Raw::open(process.service.address, &id).await;
        process.signal("TERM").await;
        assert_eq!(raw.message().await["reason"], "shutdown");
        process.signal(name).await;
        assert_eq!(process.end().await, Some(code), "{name}");
        while raw.frame().await.is_some() {}
    }
}

/// The bound on TCP connections stays below the limit of descriptors, however low that is, so that no connection waits
/// for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_few_descriptors_does_not_run_out_of_them() {
    const MORE_THAN_ENOUGH: usize = 200;
    let process = Process::serve("ulimit -n 100").await;
    let service = &process.service;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    let mut idle = Vec::new();
    for _ in 0..MORE_THAN_ENOUGH {
        idle.push(Raw::dial(service.address).await);
        let mut asking = Raw::dial(service.address).await;
        asking
            .send(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(asking.answer().await.status, 200);
    }
    drop(idle);
    let free = async || service.status("/nodes").await == 200;
    service.until("there are places again", free).await;
    service.publish("still here", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    drop(socket);
    let shortage = process.logged(&["cannot accept connections now"]);
    assert!(shortage.is_empty(), "{shortage:?}");
    assert!(!process.logged(&["turning TCP connections away"]).is_empty());
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(0));
}
