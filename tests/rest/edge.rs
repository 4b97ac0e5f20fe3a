//! The behaviour of all calls: refusals, limits, methods, CORS, ids, health.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Answer, request, send,
    support::{Service, with_credential},
    with_json,
};

async fn absolute(service: &Service, method: Method, path: &str) -> Answer {
    let url = format!("http://{}{path}", service.address);
    send(service.http.request(method, url)).await
}

/// Sends bytes as they are, and returns all that comes back until the server closes.
async fn raw(service: &Service, text: &str) -> String {
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = with_credential(service.address, text.as_bytes());
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(super::support::DEADLINE, read)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn nothing_at_a_path_is_a_problem_inside_and_outside_the_base() {
    let service = Service::start().await;
    for path in [
        "/nope",
        "/api",
        "/api/v1/nope",
        "/api/v1/subscriptions/",
        "/metrics/",
    ] {
        let answer = absolute(&service, Method::GET, path).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.problem("not-found");
    }
    for path in ["/api/v1", "/api/v1/"] {
        let root = absolute(&service, Method::GET, path).await.json();
        assert_eq!(root["name"], "tidegate");
        assert_eq!(root["links"]["subscriptions"], "/api/v1/subscriptions");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let service = Service::start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/subscriptions", "GET,HEAD,POST"),
        (
            Method::POST,
            "/api/v1/subscriptions/a",
            "DELETE,GET,HEAD,PATCH,PUT",
        ),
        (Method::OPTIONS, "/api/v1/events", "GET,HEAD,POST"),
        (Method::PUT, "/metrics", "GET,HEAD"),
    ] {
        let answer = absolute(&service, method, path).await;
        assert_eq!(answer.status, 405, "{path}");
        answer.problem("method-not-allowed");
        let mut listed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        listed.sort_unstable();
        assert_eq!(listed.join(","), allowed);
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let service = Service::start().await;
    let path = format!("/subscriptions/{}", service.subscribe(json!({})).await);
    let head = send(request(&service, Method::HEAD, &path)).await;
    let get = send(request(&service, Method::GET, &path)).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("etag"), get.header("etag"));
    let missing = send(request(&service, Method::HEAD, "/subscriptions/none")).await;
    assert_eq!(
        (missing.status, missing.header("content-type")),
        (404, "application/problem+json")
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_400() {
    let service = Service::start().await;
    for body in [
        "",
        "{",
        "{}{}",
        r#"{"a":1,"a":2}"#,
        "\u{feff}\u{feff}{}",
        "{\u{feff}}",
        &"[".repeat(5_000),
    ] {
        let post = request(&service, Method::POST, "/subscriptions")
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = send(post).await;
        assert_eq!(answer.status, 400, "{body}");
        answer.problem("malformed-json");
    }
    for path in ["/subscriptions/%FF", "/subscriptions/%zz", "/events/%FF"] {
        let answer = raw(
            &service,
            &format!("GET /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("/problems/malformed-request"), "{answer}");
    }
}

#[tokio::test]
async fn other_types_of_content_are_415() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let one = format!("/subscriptions/{id}");
    for (method, path, header) in [
        (Method::POST, "/subscriptions", "accept-post"),
        (Method::PATCH, one.as_str(), "accept-patch"),
        (Method::PUT, one.as_str(), "accept"),
    ] {
        for content_type in ["text/plain", "application/json; charset=latin1"] {
            let sent = request(&service, method.clone(), path).header("content-type", content_type);
            let answer = send(sent.body("{}")).await;
            assert_eq!(answer.status, 415);
            answer.problem("unsupported-media-type");
            assert!(
                answer.header(header).contains("application/json"),
                "{answer:?}"
            );
        }
        let untyped = send(request(&service, method, path).body("{}")).await;
        assert_eq!(untyped.status, 415);
    }
    let packed = with_json(
        &service,
        Method::POST,
        "/subscriptions",
        &json!({"filter": {}}),
    );
    assert_eq!(
        send(packed.header("content-encoding", "gzip")).await.status,
        415
    );
}

#[tokio::test]
async fn sizes_are_bounded_by_configuration() {
    let service = Service::start_with(|config| {
        config.limits.body_bytes = 5_000;
        config.limits.filter_bytes = 1_000;
        config.limits.filter_depth = 10;
        config.limits.metadata_bytes = 100;
        config.limits.name_chars = 10;
    })
    .await;
    let large = json!({"metadata": {"k": "x".repeat(5_000)}});
    let answer = send(with_json(&service, Method::POST, "/subscriptions", &large)).await;
    assert_eq!(answer.status, 413);
    answer.problem("too-large");
    let chunk = |_| Ok::<_, std::io::Error>(vec![b' '; 1_000]);
    let chunks = futures_util::stream::iter((0..20).map(chunk));
    let chunked = request(&service, Method::POST, "/subscriptions")
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(send(chunked).await.status, 413);
    let deep = (0..20).fold(json!(1), |inner, _| json!({"a": inner}));
    for (body, place) in [
        (json!({"metadata": {"k": "x".repeat(200)}}), "#/metadata"),
        (json!({"name": "x".repeat(11)}), "#/name"),
        (json!({"filter": {"k": "x".repeat(1_001)}}), "#/filter"),
        (json!({"filter": deep}), "#/filter"),
    ] {
        let answer = send(with_json(&service, Method::POST, "/subscriptions", &body)).await;
        assert_eq!(answer.status, 422);
        let places = answer.problem("invalid-request");
        assert!(places[0].starts_with(place), "{places:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let service = Service::start_with(|config| {
        config.limits.body_timeout = Duration::from_millis(50);
    })
    .await;
    let head = "POST /api/v1/subscriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let answer = raw(&service, &format!("{head}content-length: 10\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("/problems/request-timeout"), "{answer}");
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let service = Service::start().await;
    let post = with_json(
        &service,
        Method::POST,
        "/subscriptions",
        &json!({"filter": {}}),
    );
    let answer = send(post.header("expect", "miracles")).await;
    assert_eq!(answer.status, 417);
    assert_eq!(answer.problem("expectation-failed"), ["Expect"]);
}

#[tokio::test]
async fn unknown_parameters_are_refused_everywhere() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let one = format!("/subscriptions/{id}?x=1");
    for (method, path) in [
        (Method::POST, "/subscriptions?x=1"),
        (Method::POST, "/subscriptions/batch?x=1"),
        (Method::POST, "/events?x=1"),
        (Method::GET, "/events?x=1"),
        (Method::GET, "?x=1"),
        (Method::GET, one.as_str()),
        (Method::PUT, one.as_str()),
        (Method::PATCH, one.as_str()),
        (Method::DELETE, one.as_str()),
    ] {
        let answer = send(with_json(&service, method.clone(), path, &json!({}))).await;
        assert_eq!(answer.status, 400, "{method} {path}");
        assert_eq!(answer.problem("bad-parameter"), ["x"]);
    }
}

#[tokio::test]
async fn requests_carry_an_id() {
    let service = Service::start().await;
    let given = request(&service, Method::GET, "/live").header("x-request-id", "mine-1");
    assert_eq!(send(given).await.header("x-request-id"), "mine-1");
    let odd = request(&service, Method::GET, "/nope").header("x-request-id", "with space");
    let made = send(odd).await;
    assert_eq!(made.header("x-request-id").len(), 32);
}

#[tokio::test]
async fn only_configured_origins_may_call() {
    let preflight = |service: &Service| {
        request(service, Method::OPTIONS, "/subscriptions")
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "content-type,idempotency-key",
            )
    };
    let closed = Service::start().await;
    assert_eq!(
        send(preflight(&closed))
            .await
            .header("access-control-allow-origin"),
        ""
    );
    let open = Service::start_with(|config| {
        config.cors.origins = vec!["https://app.example".to_owned()];
    })
    .await;
    let answer = send(preflight(&open)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("idempotency-key")
    );
    let refused = request(&open, Method::GET, "/nope").header("origin", "https://app.example");
    let refused = send(refused).await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert!(
        refused
            .header("access-control-expose-headers")
            .contains("etag")
    );
    let other = request(&open, Method::GET, "/live").header("origin", "https://evil.example");
    assert_eq!(send(other).await.header("access-control-allow-origin"), "");
}

/// Origins are read in one way for all calls.
#[tokio::test]
async fn an_origin_is_the_same_however_it_is_written() {
    for written in [
        "https://app.example/",
        "HTTPS://App.Example",
        "https://app.example:443",
        " https://app.example",
    ] {
        let open = Service::start_with(|config| {
            config.cors.origins = vec!["http://other.example".to_owned(), written.to_owned()];
        })
        .await;
        open.send("PUT", "/subscriptions/s", Some(json!({"filter": {}})))
            .await;
        for (path, accept) in [
            ("/subscriptions", "*/*"),
            ("/subscriptions/s/events", "text/event-stream"),
        ] {
            let page = request(&open, Method::GET, path)
                .header("origin", "https://app.example")
                .header("accept", accept);
            let answer = page.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{written} {path}");
            let allowed = &answer.headers()["access-control-allow-origin"];
            assert_eq!(allowed, "https://app.example", "{written} {path}");
        }
    }
}

#[tokio::test]
async fn the_service_tells_how_it_is() {
    let service = Service::start().await;
    let health = service.get("/health").await;
    for part in ["database", "feed"] {
        assert!(health["parts"][part]["since"].is_string(), "{health}");
    }
    assert_eq!(service.status("/live").await, 200);
    service.status("/nope").await;
    let answer = absolute(&service, Method::GET, "/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    for line in [
        r#"tidegate_http_requests_total{method="GET",route="/api/v1/health",status="200"} 1"#,
        r#"tidegate_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
    ] {
        assert!(answer.text.contains(line), "{}", answer.text);
    }
}
