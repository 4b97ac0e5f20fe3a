//! The first steps of any user, and the checks of the system that this one replaces.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    kit::{connect_many, until_closed},
    support::Service,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_what_it_is_and_how_it_is() {
    let service = Service::start().await;
    let root = service.get("").await;
    assert_eq!(root["name"], "tidegate");
    assert_eq!(root["links"]["subscriptions"], "/api/v1/subscriptions");
    let health = service.get("/health").await;
    assert_eq!(health["status"], "up");
    assert_eq!(health["parts"]["feed"]["status"], "current");
    assert!(health["parts"]["database"]["since"].is_string(), "{health}");
    assert_eq!(service.get("/ready").await["status"], "ready");
    assert_eq!(service.get("/live").await["status"], "up");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_created_and_read_back() {
    let service = Service::start().await;
    let asked = json!({"name": "large", "filter": {"data.amount": {"$gte": 1000}}});
    let made = service.post("/subscriptions", asked).await;
    assert_eq!(made["filter"], json!({"data.amount": {"$gte": 1000}}));
    assert_eq!(
        (&made["status"], &made["revision"]),
        (&json!("active"), &json!(1))
    );
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("sub_"), "{id}");
    assert_eq!(service.get(&format!("/subscriptions/{id}")).await, made);
    assert_eq!(service.status("/subscriptions/sub_none").await, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_listed_page_by_page() {
    let service = Service::start().await;
    let mut made = BTreeSet::new();
    for n in 0..5 {
        made.insert(service.subscribe(json!({"type": n.to_string()})).await);
    }
    let all = service.get("/subscriptions?count=true").await;
    assert_eq!(all["total"], 5);
    assert_eq!(ids(&all), made.iter().cloned().collect::<Vec<_>>());
    let paged = pages(&service, "/subscriptions?limit=2", "cursor").await;
    let sizes: Vec<_> = paged.iter().map(|page| ids(page).len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(paged.iter().flat_map(ids).collect::<BTreeSet<_>>(), made);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_page_by_page_and_found_by_a_field() {
    let service = Service::start().await;
    for n in 0..5 {
        service
            .publish(if n % 2 == 0 { "even" } else { "odd" }, json!({"n": n}))
            .await;
    }
    assert_eq!(numbers(&service.get("/events").await), [0, 1, 2, 3, 4]);
    let paged = pages(&service, "/events?limit=2", "after").await;
    let of_pages: Vec<_> = paged.iter().map(numbers).collect();
    assert_eq!(of_pages, [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(numbers(&service.get("/events?type=odd").await), [1, 3]);
    let filter = "%7B%22data.n%22%3A%7B%22%24gte%22%3A3%7D%7D";
    let found = service.get(&format!("/events?filter={filter}")).await;
    assert_eq!(numbers(&found), [3, 4]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_its_id_and_a_missing_one_is_404() {
    let service = Service::start().await;
    let event = json!({"id": "e1", "source": "/here", "type": "a", "data": {"n": 1}});
    let answer = service.post("/events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    let found = service.get("/events/e1").await;
    assert_eq!(
        (&found["source"], &found["data"]),
        (&json!("/here"), &json!({"n": 1}))
    );
    let (status, problem) = service.send("GET", "/events/e2", None).await;
    assert_eq!(status, 404);
    assert_eq!(problem["status"], 404);
    assert!(
        problem["type"].as_str().unwrap().starts_with("/problems/"),
        "{problem}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_says_connected_and_carries_what_matches() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected");
    assert_eq!(connected["recovered"], true);
    assert_eq!(
        connected["subscription"],
        service.get(&format!("/subscriptions/{id}")).await
    );
    assert!(
        connected["connectionId"]
            .as_str()
            .unwrap()
            .starts_with("con_"),
        "{connected}"
    );
    service.publish("a", json!({"n": 1})).await;
    service.publish("b", json!({"n": 2})).await;
    service.publish("a", json!({"n": 3})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    assert_eq!(socket.event().await, json!({"n": 3}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_closes_open_sockets_and_the_service_goes_on() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut sockets = connect_many(&service, &id, 3).await;
    let path = format!("/subscriptions/{id}");
    assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    for socket in &mut sockets {
        socket.assert_ends(4500, "deleted").await;
    }
    until_closed(&service, "deleted", 3).await;
    assert_eq!(service.status(&path).await, 404);
    assert_eq!(service.status("/live").await, 200);
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    service.stop().await;
}

/// Reads all pages of a list, each with the cursor of the one before.
async fn pages(service: &Service, path: &str, parameter: &str) -> Vec<Value> {
    let mut pages = vec![service.get(path).await];
    while let Some(cursor) = pages.last().and_then(|page| page["nextCursor"].as_str()) {
        let next = service.get(&format!("{path}&{parameter}={cursor}")).await;
        pages.push(next);
    }
    pages
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["data"]["n"].as_i64().unwrap())
        .collect()
}
