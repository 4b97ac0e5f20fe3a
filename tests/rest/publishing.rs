//! Publishing in all its forms.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{request, send, support::Service, with_json};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

fn publish(service: &Service, content_type: &str, body: &Value) -> RequestBuilder {
    request(service, Method::POST, "/events")
        .header("content-type", content_type)
        .body(body.to_string())
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": {"n": 1}})
}

async fn only_event(service: &Service) -> Value {
    let page = service.get("/events").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    page["items"][0].clone()
}

#[tokio::test]
async fn a_plain_event_is_filled_in() {
    let service = Service::start().await;
    let body = json!({"type": "t", "data": {"at": {"$date": "2026-01-02T03:04:05Z"}}});
    let answer = send(with_json(&service, Method::POST, "/events", &body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(answer["errors"], json!([]));
    let shown = only_event(&service).await;
    assert_eq!(shown["id"], answer["events"][0]["id"]);
    assert_eq!(
        shown["source"],
        format!("/{}/events", service.config.database)
    );
    assert_eq!(shown["data"], body["data"]);
    assert!(shown["time"].is_string());
}

#[tokio::test]
async fn structured_events_are_checked_by_the_specification() {
    let service = Service::start().await;
    let answer = send(publish(
        &service,
        "application/cloudevents+json; charset=UTF-8",
        &event("1"),
    ))
    .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let bad = json!({"specversion": "0.3", "id": "", "type": "t", "time": "now", "ts": 1,
        "badName": 1, "data": 1, "data_base64": "AA=="});
    let answer = send(publish(&service, STRUCTURED, &bad)).await;
    assert_eq!(answer.status, 422);
    let mut places = answer.problem("invalid-request");
    places.sort();
    assert_eq!(
        places,
        [
            "#/badName",
            "#/data_base64",
            "#/id",
            "#/source",
            "#/specversion",
            "#/time",
            "#/ts"
        ]
    );
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event_in_order() {
    let service = Service::start().await;
    let batch = json!([event("1"), event("2")]);
    assert_eq!(send(publish(&service, BATCHED, &batch)).await.status, 202);
    let batch = json!([event("2"), {"type": "x"}, event("3"), event("3")]);
    let answer = send(publish(&service, BATCHED, &batch)).await;
    assert_eq!(answer.status, 207);
    let answer = answer.json();
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(answer["errors"][0]["index"], 1);
    assert_eq!(answer["errors"][0]["problem"]["status"], 422);
    assert_eq!(
        answer["errors"][0]["problem"]["errors"][0]["pointer"],
        "#/1/specversion"
    );
    let outcomes: Vec<_> = (0..4).map(|n| &answer["events"][n]["outcome"]).collect();
    assert_eq!(
        json!(outcomes),
        json!(["duplicate", "refused", "accepted", "duplicate"])
    );
    assert_eq!(
        service.get("/events").await["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn binary_mode_takes_attributes_from_headers() {
    let service = Service::start().await;
    let binary = |id: &str| {
        request(&service, Method::POST, "/events")
            .header("ce-specversion", "1.0")
            .header("ce-id", id)
            .header("CE-Type", "t")
            .header("ce-source", "/s")
            .header("ce-subject", "Euro%20%E2%82%AC")
            .header("ce-ext", "5")
    };
    let json = binary("j")
        .header("content-type", "application/json")
        .body(r#"{"a":[1]}"#);
    assert_eq!(send(json).await.status, 202);
    let shown = service.get("/events/j").await;
    assert_eq!(
        (&shown["subject"], &shown["ext"]),
        (&json!("Euro €"), &json!("5"))
    );
    assert_eq!(shown["data"], json!({"a": [1]}));
    assert_eq!(shown["datacontenttype"], "application/json");

    let text = binary("t")
        .header("content-type", "text/plain")
        .body("hello");
    assert_eq!(send(text).await.status, 202);
    assert_eq!(service.get("/events/t").await["data"], "hello");
    let image = binary("i")
        .header("content-type", "image/png")
        .body(vec![1, 2, 3]);
    assert_eq!(send(image).await.status, 202);
    assert_eq!(service.get("/events/i").await["data_base64"], "AQID");
    assert_eq!(send(binary("e")).await.status, 202);
    assert_eq!(service.get("/events/e").await.get("data"), None);

    let bad = request(&service, Method::POST, "/events").header("ce-ts", "1");
    let answer = send(bad).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.problem("invalid-request"),
        ["ce-ts", "ce-specversion", "ce-id", "ce-source", "ce-type"]
    );
    let answer = send(binary("d").header("ce-id", "another")).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.problem("invalid-request"), ["ce-id"]);
    let unreadable = binary("b")
        .header("content-type", "application/json")
        .body("{");
    let answer = send(unreadable).await;
    assert_eq!(answer.status, 400);
    answer.problem("malformed-json");
}

#[tokio::test]
async fn a_publish_request_has_bounds() {
    let service = Service::start_with(|config| {
        config.limits.publish_items = 2;
        config.limits.event_bytes = 1_000;
    })
    .await;
    let many = json!([{"type": "t"}, {"type": "t"}, {"type": "t"}]);
    let answer = send(with_json(&service, Method::POST, "/events", &many)).await;
    assert_eq!(answer.status, 422);
    let large = json!({"type": "t", "data": "x".repeat(1_000)});
    let answer = send(with_json(&service, Method::POST, "/events", &large)).await;
    assert_eq!(answer.status, 413);
    answer.problem("too-large");
    let mixed = json!([large, {"type": "t"}]);
    let answer = send(with_json(&service, Method::POST, "/events", &mixed)).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.json()["errors"][0]["problem"]["status"], 413);
    assert_eq!(answer.json()["accepted"], 1);
}

#[tokio::test]
async fn ten_thousand_events_go_in_one_request() {
    let service = Service::start().await;
    let events: Vec<_> = (0..10_000).map(|n| event(&n.to_string())).collect();
    let answer = send(publish(&service, BATCHED, &json!(events))).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["accepted"], 10_000);
    assert_eq!(answer.json()["events"][9_999]["id"], "9999");
}

#[tokio::test]
async fn other_content_is_not_read() {
    let service = Service::start().await;
    for content_type in [
        "text/plain",
        "application/cloudevents+avro",
        "application/xml",
    ] {
        let answer = send(publish(&service, content_type, &event("1"))).await;
        assert_eq!(answer.status, 415);
        answer.problem("unsupported-media-type");
        assert!(answer.header("accept-post").contains(BATCHED));
    }
}

#[tokio::test]
async fn a_published_event_reaches_a_socket() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "t"})).await;
    let mut socket = service.connect(&id).await;
    assert_eq!(
        send(publish(&service, STRUCTURED, &event("1")))
            .await
            .status,
        202
    );
    let message = socket.message().await;
    assert_eq!(message["event"]["id"], "1", "{message}");
}

#[tokio::test]
async fn a_time_that_no_text_stands_for_is_refused_and_never_shown_as_another() {
    let service = Service::start().await;
    for time in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
        let (status, body) = service
            .send("POST", "/events", Some(json!({"type": "t", "time": time})))
            .await;
        assert_eq!(
            (status, &body["errors"][0]["pointer"]),
            (422, &json!("#/time")),
            "{body}"
        );
    }
    let events = service.database.collection::<bson::Document>("events");
    let stored = bson::doc! {"_id": "far", "time": bson::DateTime::from_millis(i64::MAX)};
    events.insert_one(stored).await.unwrap();
    service.catch_up().await;
    let number = json!({"$date": {"$numberLong": i64::MAX.to_string()}});
    assert_eq!(service.get("/events/far").await["time"], number);
}

/// The media type may be written in any way, and the body may begin with a byte order mark.
#[tokio::test]
async fn a_body_is_read_in_any_legal_spelling() {
    let service = Service::start().await;
    let mut published = 0;
    for media in [
        "application/json ; charset=utf-8",
        "application/json\t;\tcharset=\"UTF-8\"",
        "application/json;;",
        "Application/CloudEvents+JSON ; charset=utf-8",
    ] {
        for (before, list) in [("", false), ("\u{feff}", false), ("\u{feff} ", true)] {
            published += 1;
            let event = json!({"specversion": "1.0", "id": published.to_string(), "source": "/s", "type": "t",
                "datacontenttype": "text/plain ; charset=utf-8", "data": "x", "data_base64": null});
            let structured = media.contains("CloudEvents");
            let event = if list && !structured {
                json!([event])
            } else {
                event
            };
            let post = request(&service, Method::POST, "/events").header("content-type", media);
            let answer = send(post.body(format!("{before}{event}"))).await;
            assert_eq!(answer.status, 202, "{media} {before:?}: {answer:?}");
        }
    }
    let page = service.get("/events").await;
    assert_eq!(page["items"].as_array().unwrap().len(), published);
    let filter = service
        .get("/events?filter=%EF%BB%BF%7B%22type%22:%22t%22%7D")
        .await;
    assert_eq!(filter["items"], page["items"]);
}
