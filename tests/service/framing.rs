//! The end of a request must be beyond doubt. Otherwise it is refused, and nothing behind it is read.

use serde_json::json;

use crate::{
    raw::{Raw, upgrade_request},
    support::Service,
};

/// Makes a request to publish, with these lines about its length.
fn publish(framing: &str, body: &str) -> String {
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {framing}\r\n{body}"
    )
}

/// Returns the status of the answer, and whether the connection goes on behind it: a second request follows at once.
async fn asked(service: &Service, request: &str) -> (u16, bool) {
    let mut raw = Raw::dial(service.address).await;
    let second = "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw.send(format!("{request}{second}").as_bytes()).await;
    let status = raw.answer().await.status;
    (status, raw.goes_on().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_doubtful_length_is_refused_and_the_connection_closed() {
    const EVENT: &str = "{\"type\":\"x\"}";
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    let length = format!("Content-Length: {}\r\n", EVENT.len());
    let service = Service::start().await;
    for (framing, body, expected) in [
        (length.clone(), EVENT, (202, true)),
        // RFC 9110, section 8.6: the same length twice may count as once.
        (length.repeat(2), EVENT, (202, true)),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            &*chunked,
            (202, true),
        ),
        // If both are given, the chunks count and the connection is closed (RFC 9112, section 6.1).
        (
            format!("Transfer-Encoding: chunked\r\n{length}"),
            &chunked,
            (202, false),
        ),
        (
            format!("{length}Transfer-Encoding: chunked\r\n"),
            &chunked,
            (202, false),
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n".to_owned(),
            &chunked,
            (400, false),
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
            &chunked,
            (400, false),
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            &chunked,
            (400, false),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
            &chunked,
            (400, false),
        ),
        (
            format!("{length}Content-Length: 2\r\n"),
            EVENT,
            (400, false),
        ),
        ("Content-Length: +13\r\n".to_owned(), EVENT, (400, false)),
        ("Content-Length: 13, 13\r\n".to_owned(), EVENT, (400, false)),
    ] {
        let answered = asked(&service, &publish(&framing, body)).await;
        assert_eq!(answered, expected, "{framing}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_has_no_body() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    for (framing, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut raw = Raw::dial(service.address).await;
        let request = upgrade_request(&id, framing) + body;
        raw.send(request.as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 400, "{framing}");
        assert_eq!(answer.body["type"], "/problems/bad-header");
        assert!(!raw.goes_on().await, "{framing}");
    }
    let empty = upgrade_request(&id, "Content-Length: 0\r\n");
    let mut raw = Raw::dial(service.address).await;
    raw.send(empty.as_bytes()).await;
    assert_eq!(raw.answer().await.status, 101);
    drop(raw);
    service.stop().await;
}
