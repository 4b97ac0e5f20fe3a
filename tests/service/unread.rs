//! Answers that their clients do not read.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    kit::insert_big,
    process::Process,
    raw::Raw,
    support::{Events, Service},
};

const CLIENTS: usize = 200;

/// Sends requests again and again and reads none of the answers, until the server cuts the connection.
async fn never_reads(service: &Service) {
    let mut raw = Raw::dial_narrow(service.address).await;
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    while raw.tcp.write_all(&request).await.is_ok() {}
}

fn resident_kb(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_their_answers_are_gone_after_a_time() {
    let process = Process::serve(
        "export TIDEGATE_LIMITS__ANSWER_TIMEOUT=1s TIDEGATE_SOCKET__SEND_BUFFER_BYTES=16384",
    )
    .await;
    let service = &process.service;
    let before = resident_kb(process.id());
    join_all((0..CLIENTS).map(|_| never_reads(service))).await;
    let cut = "tidegate_http_connections_failed_total{cause=\"answer_timeout\"}";
    let counted = async || service.count(cut).await == i64::try_from(CLIENTS).unwrap();
    service.until("all of them are cut", counted).await;
    let few = async || service.count("tidegate_tcp_connections").await < 10;
    service.until("their places are free", few).await;
    let after = resident_kb(process.id());
    println!("resident: {before} kB before, {after} kB after");
    assert!(after < before + 100_000, "{before} {after}");
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(0));
}

/// Sockets and streams are judged by their own task, however long an answer may wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_has_its_own_rule() {
    let service = Service::start_with(|config| {
        config.limits.answer_timeout = Duration::from_millis(1);
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let id = service.subscribe(json!({"type": "big"})).await;
    let (mut events, _) = Events::connect(&service, &id).await;
    insert_big(&service, 20).await;
    for n in 0..20 {
        let event = events.next().await.expect("an event, not the end");
        assert_eq!(event.data["event"]["data"]["n"], n, "{}", event.name);
    }
    let cut = "tidegate_http_connections_failed_total{cause=\"answer_timeout\"}";
    assert_eq!(service.count(cut).await, 0);
    drop(events);
    service.stop().await;
}
