//! Pages of stored events that match a subscription.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, request, send, support::Service};

async fn get(service: &Service, path: &str) -> Answer {
    send(request(service, Method::GET, path)).await
}

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["data"]["n"].as_i64().unwrap())
        .collect()
}

/// Publishes events 0 to 9. A subscription matches the even ones.
async fn with_events() -> (Service, String) {
    let service = Service::start().await;
    let events = (0..10).map(|n| json!({"type": "tick", "data": {"n": n, "even": n % 2 == 0}}));
    service.post("/events", events.collect()).await;
    let id = service.subscribe(json!({"data.even": true})).await;
    (service, format!("/subscriptions/{id}/events"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_both_ways_and_hold_matches_only() {
    let (service, path) = with_events().await;
    let whole = service.get(&path).await;
    assert_eq!(numbers(&whole), [0, 2, 4, 6, 8]);
    assert_eq!(whole["nextCursor"], Value::Null);
    assert_eq!(whole["items"][0]["type"], "tick");
    for (order, bound, expected) in [
        ("asc", "after", [vec![0, 2], vec![4, 6], vec![8]]),
        ("desc", "before", [vec![8, 6], vec![4, 2], vec![0]]),
    ] {
        let mut query = format!("?limit=2&order={order}");
        for (index, expected) in expected.iter().enumerate() {
            let page = service.get(&format!("{path}{query}")).await;
            assert_eq!(&numbers(&page), expected, "{order}");
            assert_eq!(page["nextCursor"].is_null(), index == 2, "{order}");
            let cursor = page["nextCursor"].as_str().unwrap_or_default();
            query = format!("?limit=2&order={order}&{bound}={cursor}");
        }
    }
    let first = service.get(&format!("{path}?limit=1")).await;
    let last = service.get(&format!("{path}?limit=1&order=desc")).await;
    let cursor = |page: &Value| page["nextCursor"].as_str().unwrap().to_owned();
    let between = format!("{path}?after={}&before={}", cursor(&first), cursor(&last));
    assert_eq!(numbers(&service.get(&between).await), [2, 4, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_asked_for_matches_only() {
    let (service, path) = with_events().await;
    let database = &service.database;
    database
        .run_command(bson::doc! {"profile": 2})
        .await
        .unwrap();
    service.get(&path).await;
    database
        .run_command(bson::doc! {"profile": 0})
        .await
        .unwrap();
    let profile = database.collection::<bson::Document>("system.profile");
    let of_page = bson::doc! {"op": "query", "ns": {"$regex": r"\.events$"}};
    let found = profile.find_one(of_page).await.unwrap().unwrap();
    assert_eq!(found.get_i32("nreturned").unwrap(), 5, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_in_the_wrong_way_is_refused() {
    let (service, path) = with_events().await;
    for (query, slug, place) in [
        ("?order=up", "bad-parameter", "order"),
        ("?since=2030-01-01T00:00:00Z", "bad-parameter", "since"),
        ("?after=x", "bad-cursor", "after"),
        ("?before=x", "bad-cursor", "before"),
        ("?limit=0", "bad-parameter", "limit"),
    ] {
        let answer = get(&service, &format!("{path}{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.problem(slug), [place], "{query}");
    }
    get(&service, "/subscriptions/nobody/events")
        .await
        .problem("subscription-not-found");
    let stored = service.database.collection("subscriptions");
    stored
        .insert_one(bson::doc! {"_id": "bad", "filter": {"a": {"$foo": 1}}})
        .await
        .unwrap();
    let invalid = get(&service, "/subscriptions/bad/events").await;
    invalid.problem("subscription-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upgrade_is_told_what_is_wanted_and_other_upgrades_are_ignored() {
    let (service, path) = with_events().await;
    for (name, value) in [("sec-websocket-version", "13"), ("sec-websocket-key", "x")] {
        let broken = request(&service, Method::GET, &path).header(name, value);
        let answer = send(broken).await;
        answer.problem("upgrade-required");
        assert_eq!(
            (answer.status, answer.header("upgrade")),
            (426, "websocket")
        );
    }
    let old = request(&service, Method::GET, &path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "8");
    assert_eq!(send(old).await.status, 426);
    let http2 = request(&service, Method::GET, &path)
        .header("connection", "upgrade")
        .header("upgrade", "h2c");
    assert_eq!(send(http2).await.status, 200);
}
