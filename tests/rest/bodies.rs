//! Bodies that grow when they are read, have faults in many places, or come all at once.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Answer, request, send,
    support::{Service, with_credential},
    with_json,
};

const JSON: &str = "application/json";

async fn post(service: &Service, path: &str, body: String) -> Answer {
    let post = request(service, Method::POST, path).header("content-type", JSON);
    send(post.body(body)).await
}

/// Returns an array of these items, of about this many bytes.
fn array(item: &str, bytes: usize) -> String {
    let items = vec![item; bytes / (item.len() + 1)];
    format!("[{}]", items.join(","))
}

#[tokio::test]
async fn what_grows_when_it_is_read_is_refused_wherever_it_stands() {
    let service = Service::start().await;
    service
        .send("PUT", "/subscriptions/s", Some(json!({"filter": {}})))
        .await;
    for item in ["[]", "{}", r#"{"a":1}"#, "1"] {
        let much = array(item, 1_900_000);
        for (method, path, body, status, slug) in [
            (
                "POST",
                "/events",
                format!(r#"{{"type":"t","data":{much}}}"#),
                413,
                "too-large",
            ),
            (
                "POST",
                "/subscriptions",
                format!(r#"{{"filter":{{"a":{{"$in":{much}}}}}}}"#),
                422,
                "invalid-request",
            ),
            (
                "PUT",
                "/subscriptions/x",
                format!(r#"{{"metadata":{{"a":{much}}}}}"#),
                422,
                "invalid-request",
            ),
            (
                "PATCH",
                "/subscriptions/s",
                format!(r#"{{"filter":{{"a":{much}}}}}"#),
                422,
                "invalid-request",
            ),
            (
                "POST",
                "/match",
                format!(r#"{{"event":{{}},"filter":{{"a":{much}}}}}"#),
                422,
                "invalid-request",
            ),
            ("POST", "/events", much.clone(), 422, "invalid-request"),
            (
                "POST",
                "/subscriptions/batch",
                much.clone(),
                422,
                "invalid-request",
            ),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let sent = request(&service, method, path).header("content-type", JSON);
            let answer = send(sent.body(body)).await;
            assert_eq!(answer.status, status, "{path} {item}: {answer:?}");
            answer.problem(slug);
        }
    }
    // Of several, the one that is too large is refused alone.
    let large = array("[]", 1_900_000);
    let answer = post(
        &service,
        "/events",
        format!(r#"[{{"type":"a"}},{{"type":"t","data":{large}}},{{"type":"b"}}]"#),
    )
    .await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["errors"][0]["index"], 1);
    assert_eq!(answer["errors"][0]["problem"]["status"], 413);
}

/// The problem lists a hundred errors, says that there may be more, and is short.
fn assert_cut(problem: &Value) {
    assert_eq!(
        problem["errors"].as_array().unwrap().len(),
        100,
        "{problem}"
    );
    assert_eq!(problem["truncated"], true);
    assert!(problem.to_string().len() < 120_000);
}

#[tokio::test]
async fn a_refusal_is_bounded_whatever_is_refused() {
    let service = Service::start().await;
    let fields = |count: usize| {
        let fields = (0..count).map(|n| (format!("A{n}{}", "/".repeat(20)), json!(1)));
        Value::Object(fields.collect())
    };
    let wrong = array(r#"{"$oid":1}"#, 900_000);
    for (path, body) in [
        ("/events", fields(20_000).to_string()),
        ("/events", format!(r#"{{"type":"t","data":{wrong}}}"#)),
        ("/subscriptions", fields(20_000).to_string()),
        (
            "/subscriptions",
            format!(r#"{{"metadata":{{"a":{wrong}}}}}"#),
        ),
        ("/match", fields(20_000).to_string()),
        (
            "/match",
            format!(r#"{{"filter":{{}},"event":{{"a":{wrong}}}}}"#),
        ),
    ] {
        let answer = post(&service, path, body).await;
        assert_eq!(answer.status, 422, "{path}");
        answer.problem("invalid-request");
        assert_cut(&answer.json());
    }
    let long = json!({ "A".repeat(1_000_000): 1, "type": "t" });
    let answer = post(&service, "/events", long.to_string()).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text.len() < 3_000, "{}", answer.text.len());
}

#[tokio::test]
async fn the_refusals_of_many_items_are_bounded_together() {
    let service = Service::start().await;
    let fields = (0..120).map(|n| (format!("A{n}"), json!(1)));
    let bad = Value::Object(fields.collect());
    for (path, items, many) in [
        ("/events", 5_000, "errors"),
        ("/subscriptions/batch", 1_000, "items"),
    ] {
        let answer = post(&service, path, array(&bad.to_string(), items * 900)).await;
        assert_eq!(answer.status, 207, "{path}");
        assert!(answer.text.len() < 8 << 20, "{path}: {}", answer.text.len());
        let answer = answer.json();
        let told = answer[many].as_array().unwrap();
        assert_cut(&told[0]["problem"]);
        let last = &told[told.len() - 1]["problem"];
        assert_eq!(last["truncated"], true, "{path}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stay_away_hold_what_has_arrived_and_leave_room_for_small_ones() {
    const BODY: usize = 2 << 20;
    let service = Service::start_with(|config| {
        config.limits.publish_body_bytes = BODY;
        config.limits.event_bytes = 2 * BODY;
        config.limits.reading_bytes = 8 * BODY;
    })
    .await;
    let data = "x".repeat(BODY - 100);
    let body = format!(r#"{{"type":"t","data":"{data}"}}"#);
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let head = with_credential(service.address, head.as_bytes());
    let mut announced = Vec::new();
    for _ in 0..30 {
        let mut tcp = TcpStream::connect(service.address).await.unwrap();
        tcp.write_all(&head).await.unwrap();
        announced.push(tcp);
    }
    // What is only announced takes nothing.
    assert_eq!(post(&service, "/events", body.clone()).await.status, 202);
    for tcp in &mut announced {
        tcp.write_all(&body.as_bytes()[..body.len() - 1])
            .await
            .unwrap();
    }
    service
        .until("no room for another large body", async || {
            post(&service, "/events", body.clone()).await.status == 503
        })
        .await;
    let small = send(with_json(
        &service,
        Method::POST,
        "/events",
        &json!({"type": "t"}),
    ))
    .await;
    assert_eq!(small.status, 202, "{small:?}");
    // Those that found room end well.
    let mut stored = 0;
    for mut tcp in announced {
        tcp.write_all(&body.as_bytes()[body.len() - 1..])
            .await
            .unwrap();
        let mut status = [0; 12];
        tcp.read_exact(&mut status).await.unwrap();
        match &status[9..] {
            b"202" => stored += 1,
            b"503" => {}
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert!((1..=6).contains(&stored), "{stored}");
    assert_eq!(post(&service, "/events", body).await.status, 202);
}

#[tokio::test]
async fn a_body_in_a_coding_is_refused_wherever_the_coding_stands() {
    let service = Service::start().await;
    for (lines, status) in [
        (&["identity"][..], 202),
        (&["identity", "gzip"], 415),
        (&["identity, gzip"], 415),
        (&["gzip"], 415),
    ] {
        let mut publish = request(&service, Method::POST, "/events")
            .header("content-type", JSON)
            .body(r#"{"type":"t"}"#);
        for line in lines {
            publish = publish.header("content-encoding", *line);
        }
        assert_eq!(send(publish).await.status, status, "{lines:?}");
    }
}

#[tokio::test]
async fn a_write_that_was_done_is_answered_so_however_little_room_answers_have() {
    const EVENTS: usize = 300;
    let service = Service::start_with(|config| {
        config.limits.page_bytes = 1024;
        config.limits.answering_bytes = 8 * 1024;
    })
    .await;
    let events = json!(vec![json!({"type": "t"}); EVENTS]);
    let published = post(&service, "/events", events.to_string()).await;
    assert_eq!(published.status, 202, "{published:?}");
    assert_eq!(published.json()["accepted"], EVENTS);
    let large = json!({"filter": {}, "metadata": {"a": "x".repeat(10_000)}});
    let created = post(&service, "/subscriptions/batch", json!([large]).to_string()).await;
    assert_eq!(created.status, 200, "{created:?}");
    let put = with_json(&service, Method::PUT, "/subscriptions/a", &large);
    assert_eq!(send(put).await.status, 201);
    // What changes nothing is refused.
    let clauses: Vec<_> = (0..200).map(|n| json!({"data.a": n})).collect();
    let tried = json!({"filter": {"$or": clauses}, "event": {"type": "t"}});
    let tried = post(&service, "/match", tried.to_string()).await;
    assert_eq!(tried.status, 413, "{tried:?}");
    service.stop().await;
}
