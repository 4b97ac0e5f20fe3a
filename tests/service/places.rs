//! TCP connections are bounded, in all and per address. Further ones get an answer.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    kit::insert_events,
    process::Process,
    raw::{Answer, PING, PONG, Raw, client_frame},
    support::Service,
};

const LIVE: &[u8] = b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const READY: &[u8] = b"GET /api/v1/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
const NODES: &[u8] = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn silent(service: &Service, count: usize) -> Vec<Raw> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(Raw::dial(service.address).await);
    }
    silent
}

/// Sends a request on a connection of its own. Beyond the bound it is closed behind the answer.
async fn asked(service: &Service, request: &[u8]) -> Answer {
    let mut raw = Raw::dial(service.address).await;
    raw.send(request).await;
    raw.answer().await
}

fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

/// More silent connections than this process had descriptors for at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_silent_connections_everywhere_lives_and_serves_whom_it_serves() {
    const PLACES: usize = 300;
    const SILENT: usize = 1_100;
    // Descriptors beyond these connections: those to the database, and those that are answered.
    const BESIDES: usize = 150;
    let process = Process::serve(&format!(
        "ulimit -Sn 1024; export TIDEGATE_LIMITS__TCP_CONNECTIONS={PLACES} \
         TIDEGATE_LIMITS__TCP_CONNECTIONS_PER_ADDRESS={PLACES} \
         TIDEGATE_LIMITS__HEADER_TIMEOUT=10m \
         TIDEGATE_SOCKET__PING_INTERVAL=2s TIDEGATE_SOCKET__PONG_TIMEOUT=2s"
    ))
    .await;
    let service = &process.service;
    assert_eq!(
        process
            .logged(&["raised the limit of file descriptors"])
            .len(),
        1
    );
    let id = service.subscribe(json!({})).await;
    let mut socket = Raw::open(service.address, &id).await;
    let before = descriptors(process.id());
    let silent = silent(service, SILENT).await;
    let mut raw = Raw::dial(service.address).await;
    raw.send(NODES).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.body["type"], "/problems/overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(raw.frame().await, None, "the connection is closed");
    let mut pings = 0;
    for n in 0.. {
        insert_events(service, "x", n..n + 1).await;
        while let Some(frame) = socket.frame().await {
            if frame.first == PING {
                pings += 1;
                socket.send(&client_frame(PONG, &frame.payload)).await;
            } else if !frame.payload.starts_with(br#"{"type":"at""#) {
                break;
            }
        }
        if pings > 2 {
            break;
        }
        for request in [LIVE, READY] {
            assert_eq!(asked(service, request).await.status, 200);
        }
        let open = descriptors(process.id());
        assert!(open <= before + PLACES + BESIDES, "{before} {open}");
    }
    drop(silent);
    let free = async || service.status("/nodes").await == 200;
    service.until("there are places again", free).await;
    let refused = "tidegate_tcp_connections_refused_total{reason=\"node\"}";
    assert!(service.count(refused).await > 500);
    let closed = async || descriptors(process.id()) < before + 20;
    service
        .until("the descriptors are free again", closed)
        .await;
    assert_eq!(service.count_closed("heartbeat_missed").await, 0);
    service.publish("still here", json!(1)).await;
    assert_eq!(socket.message().await["event"]["type"], "still here");
    drop(socket);
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_share_of_the_places() {
    let service = Service::start_with(|config| {
        config.limits.tcp_connections = 20;
        config.limits.tcp_connections_per_address = 5;
        config.limits.header_timeout = Duration::from_mins(10);
    })
    .await;
    let filled = silent(&service, 20).await;
    assert_eq!(asked(&service, NODES).await.status, 503);
    let mut raw = Raw::dial(service.address).await;
    let stream = raw.refused_stream("/subscriptions/a/events").await;
    assert!(stream.contains("\"reason\":\"overloaded\""), "{stream}");
    assert!(!raw.goes_on().await, "the connection is closed");
    assert_eq!(asked(&service, READY).await.status, 200);
    let refused = "tidegate_tcp_connections_refused_total{reason=\"address\"}";
    drop(filled);
    service
        .until("there are places again", async || {
            service.status("/nodes").await == 200
        })
        .await;
    assert!(service.count(refused).await >= 15);
    let limited = "tidegate_limited_total{what=\"tcp_connections_per_address\"}";
    assert!(service.count(limited).await >= 15);
    let open = service.count("tidegate_tcp_connections").await;
    assert!((1..=5).contains(&open), "{open}");
    service.stop().await;
}

/// A socket counts as a connection long after HTTP has let go of it.
#[tokio::test(flavor = "multi_thread")]
async fn every_open_connection_has_its_place_until_it_is_closed() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let open = async || service.count("tidegate_tcp_connections").await;
    let before = open().await;
    let socket = service.connect(&id).await;
    let mut events = Raw::dial(service.address).await;
    events
        .send(
            format!(
                "GET /api/v1/subscriptions/{id}/events HTTP/1.1\r\nHost: localhost\r\n\
                 Accept: text/event-stream\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
    assert_eq!(events.answer().await.status, 200);
    assert_eq!(open().await, before + 2);
    drop((socket, events));
    let freed = async || open().await == before;
    service.until("both places are free", freed).await;
    service.stop().await;
}
