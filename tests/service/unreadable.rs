//! Requests whose head cannot be read. Each refusal says why.

use std::time::Duration;

use crate::{
    raw::{Answer, Raw},
    support::Service,
};

const LIVE: &[u8] = b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn head(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

/// Makes unreadable heads, with the answers to them.
fn requests() -> Vec<(String, u16, &'static str)> {
    let long = |bytes: usize| format!("/api/v1/live?{}", "x".repeat(bytes));
    let header = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    let (too_long, too_large) = ("/problems/uri-too-long", "/problems/headers-too-large");
    let malformed = "/problems/malformed-request";
    vec![
        (head(&long(17_000), ""), 414, too_long),
        (head(&long(70_000), ""), 414, too_long),
        (head(&long(70_000), &header(20_000)), 414, too_long),
        (head(&long(1_000_000), ""), 414, too_long),
        (head("/api/v1/live", &header(20_000)), 431, too_large),
        (
            head("/api/v1/live", &header(200).repeat(100)),
            431,
            too_large,
        ),
        (
            head("/api/v1/live", &"X: 1\r\n".repeat(101)),
            431,
            too_large,
        ),
        (head("/api/v1/live", "No colon\r\n"), 400, malformed),
        (head("/api/v1/live", "A b: 1\r\n"), 400, malformed),
        ("nonsense\r\n\r\n".to_owned(), 400, malformed),
        (
            "GET /api/v1/live HTTP/3.0\r\n\r\n".to_owned(),
            400,
            malformed,
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(),
            400,
            malformed,
        ),
    ]
}

fn assert_says(answer: &Answer, status: u16, kind: &str, request: &str) {
    let shown = &request[..request.len().min(100)];
    assert_eq!(answer.status, status, "{shown}: {answer:?}");
    assert_eq!(answer.body["type"], kind, "{shown}");
    assert_eq!(answer.body["status"], status, "{shown}");
    for (name, value) in [
        ("content-type", "application/problem+json"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("connection", "close"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{shown}");
    }
    assert!(answer.header("date").is_some(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_cannot_be_read_is_refused_with_a_problem() {
    let service = Service::start().await;
    for (request, status, kind) in requests() {
        // As the first request on its connection, and as a later one.
        for before in [0, 2] {
            let mut raw = Raw::dial(service.address).await;
            for _ in 0..before {
                raw.send(LIVE).await;
                assert_eq!(raw.answer().await.status, 200);
            }
            raw.send(request.as_bytes()).await;
            assert_says(&raw.answer().await, status, kind, &request);
            assert!(!raw.goes_on().await, "the connection is closed");
        }
    }
    let failed = "tidegate_http_connections_failed_total{cause=\"head_too_large\"}";
    assert_eq!(service.count(failed).await, 14);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_on_a_node_without_a_place() {
    let service = Service::start_with(|config| {
        config.limits.tcp_connections = 20;
        config.limits.tcp_connections_per_address = 5;
        config.limits.header_timeout = Duration::from_mins(10);
    })
    .await;
    let mut filled = Vec::new();
    for _ in 0..10 {
        filled.push(Raw::dial(service.address).await);
    }
    for (request, status, kind) in requests() {
        let mut raw = Raw::dial(service.address).await;
        raw.send(request.as_bytes()).await;
        assert_says(&raw.answer().await, status, kind, &request);
    }
    drop(filled);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_just_the_size_is_read() {
    let service = Service::start().await;
    let around = head("/api/v1/live?", "").len();
    let request = head(&format!("/api/v1/live?{}", "x".repeat(16_000 - around)), "");
    let mut raw = Raw::dial(service.address).await;
    raw.send(request.as_bytes()).await;
    let answer = raw.answer().await;
    assert_eq!(answer.body["type"], "/problems/bad-parameter", "{answer:?}");
    raw.send(LIVE).await;
    assert_eq!(raw.answer().await.status, 200);
    service.stop().await;
}
