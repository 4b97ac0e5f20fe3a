//! Dry runs: trying an event against a filter.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, send, support::Service, with_json};

async fn post(service: &Service, path: &str, body: Value) -> Answer {
    send(with_json(service, Method::POST, path, &body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_tried_and_explained_clause_by_clause() {
    let service = Service::start().await;
    let filter =
        json!({"type": "transfer", "data.amount": {"$gte": 1000}, "at": {"$type": "date"}});
    let event = json!({"type": "transfer", "data": {"amount": 5},
        "at": {"$date": "2030-01-31T12:00:00Z"}});
    let answer = post(
        &service,
        "/match",
        json!({"filter": filter, "event": event}),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({"matches": false, "explain": {"pointer": "#/filter", "holds": false, "parts": [
            {"pointer": "#/filter/type", "holds": true, "saw": ["transfer"]},
            {"pointer": "#/filter/data.amount/$gte", "holds": false, "saw": [5]},
            {"pointer": "#/filter/at/$type", "holds": true,
                "saw": [{"$date": "2030-01-31T12:00:00Z"}]},
        ]}})
    );
    let everything = post(&service, "/match", json!({"filter": {}, "event": {}})).await;
    assert_eq!(everything.json()["matches"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_dry_run_is_pointed_at() {
    let service = Service::start().await;
    let body = json!({"filter": {"a": {"$foo": 1}}, "event": {"x": {"$oid": "no"}}, "evnt": {}});
    let answer = post(&service, "/match", body).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.problem("invalid-request"),
        ["#/event/x", "#/evnt", "#/filter/a/$foo"]
    );
    let missing = post(&service, "/match", json!({})).await;
    assert_eq!(missing.problem("invalid-request"), ["#/filter", "#/event"]);
    let id = service.subscribe(json!({})).await;
    let path = format!("/subscriptions/{id}/match");
    let answer = post(&service, &path, json!({"event": {}, "filter": {}})).await;
    assert_eq!(answer.problem("invalid-request"), ["#/filter"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_subscription_is_tried_as_it_is_stored() {
    let service = Service::start().await;
    let stored = service.database.collection("subscriptions");
    let documents = [
        bson::doc! {"_id": "active", "filter": {"n": {"$gt": 1}}},
        bson::doc! {"_id": "paused", "filter": {"n": {"$gt": 1}}, "status": "paused"},
        bson::doc! {"_id": "invalid", "filter": {"n": {"$foo": 1}}},
    ];
    stored.insert_many(documents).await.unwrap();
    for (id, n, matches) in [
        ("active", 2, true),
        ("active", 1, false),
        ("paused", 2, true),
    ] {
        let path = format!("/subscriptions/{id}/match");
        let answer = post(&service, &path, json!({"event": {"n": n}})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["matches"], matches, "{answer}");
        assert_eq!(answer["status"], id, "{answer}");
        assert_eq!(answer["explain"]["pointer"], "#/filter/n/$gt", "{answer}");
    }
    let invalid = post(
        &service,
        "/subscriptions/invalid/match",
        json!({"event": {}}),
    )
    .await;
    invalid.problem("subscription-invalid");
    assert_eq!(invalid.status, 409);
    let detail = invalid.json()["detail"].clone();
    assert!(
        detail.as_str().unwrap().starts_with("#/filter/n/$foo"),
        "{detail}"
    );
    let unknown = post(
        &service,
        "/subscriptions/nobody/match",
        json!({"event": {}}),
    )
    .await;
    unknown.problem("subscription-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_are_warned_of_a_filter_that_can_never_match() {
    let service = Service::start().await;
    let never = json!({"filter": {"n": {"$in": []}}});
    let id = service.subscribe(json!({})).await;
    for (method, path) in [
        (Method::POST, "/subscriptions".to_owned()),
        (Method::PUT, "/subscriptions/mine".to_owned()),
        (Method::PATCH, format!("/subscriptions/{id}")),
    ] {
        let answer = send(with_json(&service, method.clone(), &path, &never))
            .await
            .json();
        let warnings = &answer["warnings"];
        assert_eq!(warnings[0]["pointer"], "#/filter", "{method} {answer}");
        assert!(
            warnings[0]["detail"].as_str().unwrap().contains("$in"),
            "{warnings}"
        );
    }
    let patch = json!({"filter": {"n": 1}});
    let healed = send(with_json(
        &service,
        Method::PATCH,
        "/subscriptions/mine",
        &patch,
    ))
    .await;
    assert_eq!(healed.json().get("warnings"), None);
}
