//! The way to a socket: refusals before the upgrade.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    raw::{Answer, Raw, upgrade_request},
    support::Service,
};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

async fn ask(service: &Service, request: &str) -> Answer {
    let mut raw = Raw::dial(service.address).await;
    raw.send(request.as_bytes()).await;
    raw.answer().await
}

/// Asserts that the request is refused with this status and kind of problem, and that no connection is opened.
async fn check(service: &Service, request: &str, status: u16, slug: &str) -> Answer {
    let answer = ask(service, request).await;
    assert_eq!(answer.status, status, "{request}\n{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        answer.body["type"],
        format!("/problems/{slug}"),
        "{request}"
    );
    assert_eq!(answer.body["status"], status, "{request}");
    let opened = service.count("tidegate_connections_opened_total").await;
    assert_eq!(opened, 0, "{request}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_none_is_refused() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let good = upgrade_request(&id, "");
    for (request, status, slug) in [
        (good.replace(KEY, ""), 400, "bad-header"),
        (
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            400,
            "bad-header",
        ),
        (
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            400,
            "bad-header",
        ),
        (good.replace(VERSION, ""), 400, "bad-header"),
        (
            good.replace("Connection: Upgrade\r\n", ""),
            400,
            "bad-header",
        ),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 400, "bad-header"),
        (good.replace("GET", "POST"), 405, "method-not-allowed"),
    ] {
        check(&service, &request, status, slug).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_usable_upgrade_is_told_which_would_be() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let good = upgrade_request(&id, "");
    for request in [
        good.replace("Version: 13", "Version: 8"),
        good.replace("Upgrade: websocket\r\n", ""),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
    ] {
        let answer = check(&service, &request, 426, "upgrade-required").await;
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        assert_eq!(answer.header("upgrade"), Some("websocket"));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_checked_before_the_upgrade() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let unknown = upgrade_request("sub_unheard_of", "");
    check(&service, &unknown, 404, "subscription-not-found").await;
    for (query, parameter, slug) in [
        ("after=", "after", "bad-cursor"),
        ("after=made-up", "after", "bad-cursor"),
        ("since=yesterday", "since", "bad-parameter"),
        ("onGap=ignore", "onGap", "bad-parameter"),
        ("unheard=of", "unheard", "bad-parameter"),
    ] {
        let request = upgrade_request(&format!("{id}/events?{query}"), "");
        let request = request.replace("/events HTTP", " HTTP");
        let answer = check(&service, &request, 400, slug).await;
        let parameters = answer.body["errors"].as_array().unwrap();
        assert_eq!(parameters[0]["parameter"], parameter, "{}", answer.body);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_connect_only_where_that_is_allowed() {
    let service = Service::start_with(|config| {
        config.cors.origins = vec!["https://allowed.test/".to_owned()];
        config.public_url = "https://public.example".to_owned();
    })
    .await;
    let id = service.subscribe(json!({})).await;
    for origin in [
        "https://foreign.test",
        "https://localhost.foreign.test",
        "https://allowed.test:8443",
        "http://allowed.test",
        "https://allowed.test/page",
        "http://localhost:8080",
        "null",
        "file://",
        "localhost",
    ] {
        let request = upgrade_request(&id, &format!("Origin: {origin}\r\n"));
        check(&service, &request, 403, "forbidden").await;
    }
    for origin in [
        "https://allowed.test",
        "HTTPS://Allowed.test:443",
        "http://localhost",
        "http://localhost:80",
        // A proxy may have ended TLS.
        "https://localhost",
        "https://public.example",
    ] {
        let request = upgrade_request(&id, &format!("Origin: {origin}\r\n"));
        let answer = ask(&service, &request).await;
        assert_eq!(answer.status, 101, "{origin}: {answer:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_subprotocol_that_is_spoken_is_chosen() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    for (offered, chosen) in [
        ("tidegate.v1", Some("tidegate.v1")),
        (
            "soap, cloudevents.json, tidegate.v1",
            Some("cloudevents.json"),
        ),
        ("soap", None),
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let answer = ask(&service, &upgrade_request(&id, &offer)).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), chosen);
        // The example of RFC 6455, section 1.3.
        let accept = answer.header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    service.stop().await;
}

async fn failed(service: &Service, cause: &str) -> i64 {
    let metric = format!("tidegate_http_connections_failed_total{{cause=\"{cause}\"}}");
    service.count(&metric).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_is_cut() {
    // This timeout also covers the test's own requests, whose heads may come late on a busy machine.
    let service = Service::start_with(|config| {
        config.limits.header_timeout = std::time::Duration::from_secs(2);
    })
    .await;
    let mut raw = Raw::dial(service.address).await;
    raw.send(b"GET / HTTP/1.1\r\nX-Slow: ").await;
    // One more byte each time the database has answered somebody.
    let trickle = async {
        while raw.tcp.write_all(b"x").await.is_ok() {
            let ping = bson::doc! {"ping": 1};
            service.database.run_command(ping).await.unwrap();
        }
    };
    let trickled = tokio::time::timeout(crate::support::DEADLINE, trickle);
    trickled.await.expect("cut in time");
    let counted = async || failed(&service, "header_timeout").await >= 1;
    service.until("it is counted", counted).await;
    assert_eq!(raw.frame().await, None, "no answer, but the end");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let service = Service::start_with(|config| config.limits.header_bytes = 8 * 1024).await;
    let mut raw = Raw::dial(service.address).await;
    let long = format!(
        "GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n",
        "x".repeat(16 * 1024)
    );
    // It may be refused before all of it was sent.
    drop(raw.tcp.write_all(long.as_bytes()).await);
    assert_eq!(raw.answer().await.status, 431);
    let counted = async || failed(&service, "head_too_large").await == 1;
    service.until("it is counted", counted).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let service = Service::start().await;
    let mut raw = Raw::dial(service.address).await;
    raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.status, 400);
    let counted = async || failed(&service, "not_http").await == 1;
    service.until("it is counted", counted).await;
    service.stop().await;
}

/// Both headers are lists, which a proxy or a browser may write on several lines.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_asked_for_in_any_legal_spelling() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let plain = upgrade_request(&id, "");
    for connection in ["Connection: keep-alive", "Connection: upgrades", "X: y"] {
        let request = plain.replace("Connection: Upgrade", connection);
        check(&service, &request, 400, "bad-header").await;
    }
    for (connection, upgrade) in [
        (
            "Connection: keep-alive\r\nConnection: Upgrade",
            "Upgrade: websocket",
        ),
        ("Connection: keep-alive,upgrade", "Upgrade: websocket"),
        ("Connection:\tkeep-alive ,\tUPGRADE", "Upgrade: WebSocket"),
        (
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c, websocket",
        ),
        ("Connection: Upgrade", "Upgrade: h2c\r\nUpgrade: websocket"),
    ] {
        let request = plain
            .replace("Connection: Upgrade", connection)
            .replace("Upgrade: websocket", upgrade);
        let answer = ask(&service, &request).await;
        assert_eq!(answer.status, 101, "{request}: {answer:?}");
        assert_eq!(answer.header("upgrade"), Some("websocket"), "{request}");
    }
    service.stop().await;
}
