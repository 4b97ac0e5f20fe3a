//! Reading published events.

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{request, send, support::Service};

async fn ids(service: &Service, query: &str) -> Value {
    let page = service.get(&format!("/events?{query}")).await;
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].clone()).collect()
}

#[tokio::test]
async fn events_are_listed_oldest_first_by_what_is_asked() {
    let service = Service::start().await;
    for (id, source, kind, subject, amount) in [
        ("1", "/a", "x", "s1", 1),
        ("2", "/a", "y", "s1", 2),
        ("3", "/b", "x", "s2", 3),
    ] {
        let event = json!({"id": id, "source": source, "type": kind, "subject": subject,
            "data": {"amount": amount}});
        service.post("/events", event).await;
    }
    let filter = "filter=%7B%22data.amount%22%3A%7B%22%24gte%22%3A2%7D%7D";
    for (query, expected) in [
        ("", json!(["1", "2", "3"])),
        ("type=x", json!(["1", "3"])),
        ("source=/a", json!(["1", "2"])),
        ("subject=s2", json!(["3"])),
        (filter, json!(["2", "3"])),
        (&format!("{filter}&type=x"), json!(["3"])),
    ] {
        assert_eq!(ids(&service, query).await, expected, "{query}");
    }
    let first = service.get("/events?limit=2").await;
    let after = first["nextCursor"].as_str().unwrap();
    let second = service.get(&format!("/events?limit=2&after={after}")).await;
    assert_eq!(second["items"][0]["id"], "3");
    assert_eq!(second["nextCursor"], json!(null));
}

#[tokio::test]
async fn what_cannot_be_asked_is_named() {
    let service = Service::start().await;
    for (query, status, slug, place) in [
        ("after=x", 400, "bad-cursor", "after"),
        ("filter=%7B", 400, "bad-parameter", "filter"),
        (
            "filter=%7B%22a%22%3A%7B%22%24foo%22%3A1%7D%7D",
            422,
            "invalid-request",
            "filter",
        ),
        ("limit=0", 400, "bad-parameter", "limit"),
        ("cursor=x", 400, "bad-parameter", "cursor"),
    ] {
        let answer = send(request(&service, Method::GET, &format!("/events?{query}"))).await;
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(answer.problem(slug), [place], "{query}");
    }
}

#[tokio::test]
async fn one_id_of_several_sources_has_to_be_told_apart() {
    let service = Service::start().await;
    for source in ["/b", "/a"] {
        let event = json!({"id": "one", "source": source, "type": "t"});
        service.post("/events", event).await;
    }
    let answer = send(request(&service, Method::GET, "/events/one")).await;
    assert_eq!(answer.status, 409);
    answer.problem("ambiguous-event");
    assert_eq!(answer.json()["sources"], json!(["/a", "/b"]));
    assert_eq!(service.get("/events/one?source=%2Fb").await["source"], "/b");
    let answer = send(request(&service, Method::GET, "/events/one?source=/c")).await;
    assert_eq!(answer.status, 404);
    answer.problem("event-not-found");
}

#[tokio::test]
async fn a_document_of_another_program_is_an_event() {
    let service = Service::start().await;
    let events = service.database.collection::<Document>("events");
    events
        .insert_one(doc! {"_id": "theirs", "amount": 5})
        .await
        .unwrap();
    service.catch_up().await;
    let shown = service.get("/events/theirs").await;
    assert_eq!(shown["type"], "tidegate.event");
    assert_eq!(
        shown["source"],
        format!("/{}/events", service.config.database)
    );
    assert_eq!(shown["amount"], 5);
}
