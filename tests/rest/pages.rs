//! Pages: bounded in bytes and in time, and with the same matches as delivery.

use std::time::Duration;

use bson::{Document, doc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Answer, request, send,
    support::{Service, key_for},
};

async fn get(service: &Service, path: &str) -> Answer {
    send(request(service, Method::GET, path)).await
}

/// Returns all ids in the order of the pages, and the number of items on each. The pages continue by `parameter`.
async fn walk(service: &Service, path: &str, parameter: &str) -> (Vec<String>, Vec<usize>) {
    let (mut ids, mut pages) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    loop {
        let page = service.get(&format!("{path}{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        pages.push(items.len());
        ids.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&{parameter}={next}"),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_and_its_first_item_always_fits() {
    let service = Service::start_with(|config| config.limits.page_bytes = 100_000).await;
    service
        .send("PUT", "/subscriptions/all", Some(json!({"filter": {}})))
        .await;
    let mut wanted = Vec::new();
    for (n, bytes) in [40_000, 40_000, 40_000, 150_000, 60_000, 30_000]
        .into_iter()
        .enumerate()
    {
        let id = format!("e{n}");
        let event = json!({"id": id, "source": "/s", "type": "t", "data": "x".repeat(bytes)});
        service.post("/events", event).await;
        wanted.push(id);
    }
    let sizes = vec![2, 1, 1, 2];
    let past = "/subscriptions/all/events?limit=50";
    for path in ["/events?limit=50", "/events?limit=50&type=t", past] {
        assert_eq!(
            walk(&service, path, "after").await,
            (wanted.clone(), sizes.clone()),
            "{path}"
        );
    }
    wanted.reverse();
    let newest = format!("{past}&order=desc");
    assert_eq!(
        walk(&service, &newest, "before").await,
        (wanted, vec![2, 1, 2, 1])
    );
}

#[tokio::test]
async fn a_page_of_subscriptions_ends_at_its_bytes() {
    let service = Service::start_with(|config| config.limits.page_bytes = 30_000).await;
    let mut wanted = Vec::new();
    for n in 0..5 {
        let body = json!({"filter": {}, "metadata": {"a": "x".repeat(12_000)}});
        service
            .send("PUT", &format!("/subscriptions/s{n}"), Some(body))
            .await;
        wanted.push(format!("s{n}"));
    }
    for path in [
        "/subscriptions?limit=50",
        "/subscriptions?limit=50&status=active",
    ] {
        let (ids, pages) = walk(&service, path, "cursor").await;
        assert_eq!((ids, pages), (wanted.clone(), vec![2, 2, 1]), "{path}");
    }
    let poor = (0..5).map(|n| doc! {"_id": format!("i{n}"), "filter": {"$foo": 1}, "theirs": "x", "metadata": {"a": "x".repeat(12_000)}});
    let collection = service.database.collection::<Document>("subscriptions");
    collection.insert_many(poor).await.unwrap();
    service
        .until("all invalid", async || {
            service
                .get("/subscriptions?status=invalid&count=true&limit=1")
                .await["total"]
                == 5
        })
        .await;
    let (ids, pages) = walk(&service, "/subscriptions?limit=50&status=invalid", "cursor").await;
    assert_eq!(
        (ids, pages),
        (
            ["i0", "i1", "i2", "i3", "i4"].map(str::to_owned).into(),
            vec![2, 2, 1]
        )
    );
}

/// The engine of MongoDB gives up on each of these at its match limit, and reports no match.
#[tokio::test]
async fn a_page_has_what_a_pattern_delivers() {
    let service = Service::start().await;
    let long = format!("{}ab", "x".repeat(20_000));
    let event = json!({"type": "t", "data": {"text": long}});
    service.post("/events", event.clone()).await;
    service.publish("other", json!({"text": "ab"})).await;
    for pattern in ["(x|x)*ab$", "^(.|\n)*b$", "^(x|a|b)*$"] {
        for (filter, count) in [
            (json!({"type": "t", "data.text": {"$regex": pattern}}), 1),
            (
                json!({"type": "t", "data.text": {"$not": {"$regex": pattern}}}),
                0,
            ),
        ] {
            let tried = service
                .post("/match", json!({"filter": filter, "event": event}))
                .await;
            assert_eq!(tried["matches"], count == 1, "{filter}");
            let id = service.subscribe(filter.clone()).await;
            let text = filter.to_string();
            let asked = utf8_percent_encode(&text, NON_ALPHANUMERIC);
            for path in [
                format!("/events?filter={asked}"),
                format!("/subscriptions/{id}/events"),
            ] {
                let page = service.get(&path).await;
                assert_eq!(page["items"].as_array().unwrap().len(), count, "{path}");
                assert_eq!(page["nextCursor"], Value::Null);
            }
        }
    }
}

#[tokio::test]
async fn a_search_that_takes_too_long_ends_and_says_so() {
    const EVENTS: usize = 40_000;
    let service = Service::start_with(|config| {
        config.limits.search_timeout = Duration::from_millis(10);
    })
    .await;
    let events = (0..EVENTS).map(|n| doc! {"type": "t", "data": {"n": n.to_string()}});
    let collection = service.database.collection::<Document>("events");
    collection.insert_many(events).await.unwrap();
    service.catch_up().await;
    let asked = |filter: Value| {
        let text = filter.to_string();
        format!(
            "/events?filter={}",
            utf8_percent_encode(&text, NON_ALPHANUMERIC)
        )
    };
    let answer = get(&service, &asked(json!({"data.n": "nothing"}))).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    answer.problem("search-too-slow");
    // Where we look ourselves, the page goes on from where it came to.
    let page = service
        .get(&asked(json!({"data.n": {"$regex": "nothing"}})))
        .await;
    assert_eq!(page["items"], json!([]));
    assert!(page["nextCursor"].is_string(), "{page}");
}

/// Returns random letters. Each costs [`dear_pattern`] many steps.
fn letters(count: usize) -> String {
    let mut word = 1_u32;
    let letters = (0..count).map(|_| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if word >> 31 == 0 { 'a' } else { 'b' }
    });
    letters.collect()
}

fn dear_pattern() -> String {
    let filter = json!({"data.text": {"$regex": "[ab]*a[ab]{900}c"}}).to_string();
    let filter = utf8_percent_encode(&filter, NON_ALPHANUMERIC);
    format!("/events?filter={filter}")
}

#[tokio::test]
async fn a_filter_that_takes_long_on_each_event_ends_its_page_and_is_no_trouble_of_the_database() {
    let service = Service::start_with(|config| {
        config.limits.search_timeout = Duration::from_millis(300);
        config.limits.database_timeout = Duration::from_secs(1);
    })
    .await;
    let text = letters(2_000);
    let events = (0..1_200).map(|_| doc! {"type": "t", "data": {"text": &text}});
    let collection = service.database.collection::<Document>("events");
    collection.insert_many(events).await.unwrap();
    service.catch_up().await;
    let page = service.get(&dear_pattern()).await;
    assert_eq!(page["items"], json!([]));
    assert!(page["nextCursor"].is_string(), "{page}");
}

#[tokio::test]
async fn events_that_are_too_expensive_for_the_filter_are_counted_on_their_page() {
    let service = Service::start_with(|config| {
        config.limits.database_timeout = Duration::from_mins(2);
        config.limits.search_timeout = Duration::from_mins(1);
    })
    .await;
    let sound = format!("a{}c", "b".repeat(900));
    let events = [&letters(900_000), &sound].map(|text| doc! {"type": "t", "data": {"text": text}});
    let collection = service.database.collection::<Document>("events");
    collection.insert_many(events).await.unwrap();
    service.catch_up().await;
    let page = service.get(&dear_pattern()).await;
    assert_eq!(page["items"][0]["data"]["text"], sound);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["tooExpensive"], 1);
    assert_eq!(page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_left_out_of_its_page() {
    let service = Service::start().await;
    service.publish("a", json!(1)).await;
    // A string whose bytes are no UTF-8.
    let mut bad = doc! {"_id": "bad", "type": "poison!"}.to_vec().unwrap();
    let at = bad
        .windows(7)
        .position(|bytes| bytes == b"poison!")
        .unwrap();
    bad[at] = 0xFF;
    let bad = bson::RawDocumentBuf::from_bytes(bad).unwrap();
    let collection = service
        .database
        .collection::<bson::RawDocumentBuf>("events");
    collection.insert_one(bad).await.unwrap();
    service.publish("b", json!(2)).await;
    let page = service.get("/events").await;
    let items = page["items"].as_array().unwrap();
    let types: Vec<_> = items.iter().map(|item| &item["type"]).collect();
    assert!(
        types.contains(&&json!("a")) && types.contains(&&json!("b")),
        "{page}"
    );
}

#[tokio::test]
async fn answers_say_what_they_are_and_whether_they_may_be_kept() {
    let service = Service::start().await;
    service
        .send("PUT", "/subscriptions/s", Some(json!({"filter": {}})))
        .await;
    // Nothing may be kept that a credential has opened.
    let subscription = match key_for(service.address) {
        Some(_) => "no-store",
        None => "private, no-cache",
    };
    for (path, kept) in [
        ("/events", "no-store"),
        ("/subscriptions", "no-store"),
        ("/subscriptions/s", subscription),
        ("/subscriptions/s/events", "no-store"),
        ("/subscriptions/nobody", "no-store"),
        ("/health", "no-store"),
        ("/nodes", "no-store"),
    ] {
        let answer = get(&service, path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), kept, "{path}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_stream() {
    let service = Service::start().await;
    service
        .send("PUT", "/subscriptions/s", Some(json!({"filter": {}})))
        .await;
    for (name, value) in [
        ("origin", "http://elsewhere"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let stream = request(&service, Method::GET, "/subscriptions/s/events");
        let answer = send(
            stream
                .header("accept", "text/event-stream")
                .header(name, value),
        )
        .await;
        assert_eq!(answer.status, 403, "{name}");
        answer.problem("forbidden");
    }
}

/// The page ends where the budget for answers does. It is not refused.
#[tokio::test]
async fn a_page_of_subscriptions_takes_its_share_item_by_item() {
    let service = Service::start_with(|config| {
        config.limits.page_bytes = 1 << 20;
        config.limits.answering_bytes = 40_000;
    })
    .await;
    let wanted = ["s0", "s1", "s2", "s3"].map(str::to_owned);
    for id in &wanted {
        let body = json!({"filter": {}, "metadata": {"a": "x".repeat(12_000)}});
        let path = format!("/subscriptions/{id}");
        service.send("PUT", &path, Some(body)).await;
    }
    let (ids, pages) = walk(&service, "/subscriptions?limit=50", "cursor").await;
    assert_eq!((ids, pages), (wanted.into(), vec![3, 1]));
}
