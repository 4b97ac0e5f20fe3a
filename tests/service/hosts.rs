//! The host of a request: given once, and this node's. A node that asks for credentials does not judge it.

use serde_json::json;

use crate::{
    raw::{Answer, Raw, upgrade_request},
    support::Service,
};

async fn asked(service: &Service, request: &str) -> (Answer, bool) {
    let mut raw = Raw::dial(service.address).await;
    let second = "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw.send(format!("{request}{second}").as_bytes()).await;
    let answer = raw.answer().await;
    let goes_on = raw.goes_on().await;
    (answer, goes_on)
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{more}\r\n")
}

/// Makes requests for everything that this node answers, under this name.
fn everything(id: &str, host: &str) -> Vec<String> {
    let host_line = format!("Host: {host}\r\n");
    let stream = format!("{host_line}Accept: text/event-stream\r\n");
    let events = format!("/api/v1/subscriptions/{id}/events");
    let mut all: Vec<_> = [
        "/api/v1",
        "/api/v1/subscriptions",
        "/api/v1/events",
        "/api/v1/live",
        "/api/v1/docs",
        "/metrics",
        "/nowhere",
        &events,
    ]
    .map(|path| get(path, &host_line))
    .into();
    all.push(get(&events, &stream));
    all.push(upgrade_request(id, "").replace("Host: localhost", &format!("Host: {host}")));
    all.push(format!(
        "OPTIONS /api/v1/events HTTP/1.1\r\n{host_line}Origin: http://{host}\r\n\
         Access-Control-Request-Method: POST\r\n\r\n"
    ));
    all.push(format!(
        "POST /api/v1/events HTTP/1.1\r\n{host_line}Content-Type: application/json\r\n\
         Content-Length: 12\r\n\r\n{{\"type\":\"x\"}}"
    ));
    all
}

/// A page whose name leads here reads nothing, publishes nothing and opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_made_to_lead_here_is_refused_everywhere() {
    let service = Service::start_open(|config| {
        config.hosts = vec!["Feed.example.".to_owned()];
        config.public_url = "https://public.example".to_owned();
        config.cors.origins = vec!["*".to_owned()];
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let port = service.address.port();
    for host in [
        format!("evil.example:{port}"),
        "localhost.evil.example".to_owned(),
    ] {
        for request in everything(&id, &host) {
            let (answer, _) = asked(&service, &request).await;
            assert_eq!(answer.status, 421, "{request}");
            assert_eq!(answer.body["type"], "/problems/misdirected", "{request}");
        }
    }
    let opened = service.count("tidegate_connections_opened_total").await;
    assert_eq!(
        (
            opened,
            service.count("tidegate_events_received_total").await
        ),
        (0, 0)
    );
    for host in [
        "localhost".to_owned(),
        format!("LOCALHOST.:{port}"),
        format!("127.0.0.1:{port}"),
        "127.9.9.9".to_owned(),
        format!("[::1]:{port}"),
        "feed.example:443".to_owned(),
        "public.example".to_owned(),
    ] {
        for request in everything(&id, &host) {
            let mut raw = Raw::dial(service.address).await;
            raw.send(request.as_bytes()).await;
            let answer = raw.answer().await;
            assert!(![400, 403, 421].contains(&answer.status), "{request}");
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_address_goes_before_the_header() {
    let service = Service::start_open(|_| {}).await;
    let evil = "Host: evil.example\r\n";
    for (path, more, status) in [
        (
            "http://evil.example/api/v1/live",
            "Host: localhost\r\n",
            421,
        ),
        ("http://localhost/api/v1/live", evil, 200),
        ("http://localhost:8080/api/v1/live", evil, 200),
        ("http://localhost/api/v1/live", "", 400),
    ] {
        let (answer, _) = asked(&service, &get(path, more)).await;
        assert_eq!(answer.status, status, "{path} {more}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() {
    let service = Service::start_open(|_| {}).await;
    for lines in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host:\r\n",
        "Host: local host\r\n",
        "Host: localhost/x\r\n",
        "Host: me@localhost\r\n",
        "Host: localhost:x\r\n",
        "Host: localhost:99999\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: localhost, localhost\r\n",
    ] {
        let (answer, goes_on) = asked(&service, &get("/api/v1/live", lines)).await;
        assert_eq!(answer.status, 400, "{lines}");
        assert_eq!(answer.body["errors"][0]["header"], "Host", "{lines}");
        assert!(!goes_on, "{lines}");
    }
    for (request, status) in [
        (get("/api/v1/live", "Host: localhost:\r\n"), 200),
        ("GET /api/v1/live HTTP/1.0\r\n\r\n".to_owned(), 200),
        (
            "GET /api/v1/live HTTP/1.0\r\nHost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
    ] {
        let (answer, _) = asked(&service, &request).await;
        assert_eq!(answer.status, status, "{request}");
    }
    service.stop().await;
}
