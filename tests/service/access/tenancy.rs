//! Tenants: nothing of another one shows, by answer, error, count or entity tag.

use bson::{Bson, Document, doc};
use reqwest::header;
use serde_json::{Value, json};

use super::{connect, make, open, refusal, send, start, subscribe};
use crate::support::Service;

const ALL: [&str; 4] = [
    "subscriptions:read",
    "subscriptions:write",
    "events:read",
    "events:publish",
];
/// An id of the form that the service gives, which nothing has.
const UNKNOWN: &str = "sub_01990000000070000000000000000000";

/// Makes a key of a tenant with these scopes.
async fn key_of(service: &Service, admin: &str, tenant: &str, scopes: &[&str]) -> String {
    let body = json!({"scopes": scopes, "tenant": tenant});
    make(service, admin, body).await.1
}

/// Sends a request. Returns the status, the entity tag and the text of the answer.
async fn raw(
    service: &Service,
    key: &str,
    (method, path, body): (&str, &str, Option<Value>),
    headers: &[(&str, &str)],
) -> (u16, Option<String>, String) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = service
        .http
        .request(method, service.url(path))
        .bearer_auth(key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let etag = answer.headers().get(header::ETAG);
    let etag = etag.map(|tag| tag.to_str().unwrap().to_owned());
    (answer.status().as_u16(), etag, answer.text().await.unwrap())
}

/// Makes each call on one subscription, in several forms. Returns what they answered, without the id.
async fn every_answer(service: &Service, key: &str, id: &str) -> Vec<String> {
    let one = format!("/subscriptions/{id}");
    let below = |name: &str| format!("{one}/{name}");
    let sound = || Some(json!({"filter": {}}));
    let faulty = || Some(json!({"filter": {"$foo": 1}, "colour": "red"}));
    let calls = [
        ("GET", one.clone(), None),
        ("PUT", one.clone(), sound()),
        ("PUT", one.clone(), faulty()),
        ("PATCH", one.clone(), Some(json!({"status": "paused"}))),
        ("PATCH", one.clone(), faulty()),
        ("PATCH", one.clone(), Some(json!({"tenant": "other"}))),
        ("DELETE", one.clone(), None),
        ("GET", below("events"), None),
        ("GET", below("connections"), None),
        ("GET", below("teardown"), None),
        ("POST", below("match"), Some(json!({"event": {}}))),
        ("POST", below("match"), Some(json!({"event": 5}))),
    ];
    let conditions: [&[(&str, &str)]; 4] = [
        &[],
        &[("if-match", "*")],
        &[("if-none-match", "*")],
        &[("if-match", "\"00\"")],
    ];
    let mut answers = Vec::new();
    for (method, path, body) in calls {
        for headers in conditions {
            let call = (method, &*path, body.clone());
            let (status, etag, text) = raw(service, key, call, headers).await;
            assert!(etag.is_none() && (400..500).contains(&status), "{text}");
            answers.push(format!("{method} {status} {text}").replace(id, "ID"));
        }
    }
    let stream = [("accept", "text/event-stream")];
    let path = below("events");
    let (status, _, text) = raw(service, key, ("GET", &path, None), &stream).await;
    answers.push(format!("stream {status} {text}").replace(id, "ID"));
    answers.push(format!("socket {}", refusal(open(service, key, id).await)));
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_out_of_sight_is_one_that_does_not_exist() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", &ALL).await;
    let other = key_of(&service, &admin, "other", &ALL).await;
    let own = key_of(
        &service,
        &admin,
        "other",
        &["subscriptions:own", "events:read"],
    )
    .await;
    let mut ids = vec![
        subscribe(&service, &acme).await,
        subscribe(&service, &admin).await,
    ];
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for (number, tenant) in [
        Bson::Null,
        5.into(),
        vec!["other"].into(),
        doc! {"a": "other"}.into(),
        "Other".into(),
        "".into(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("odd-{number}");
        let document = doc! {"_id": &id, "filter": {}, "tenant": tenant, "owner": "key:x"};
        subscriptions.insert_one(document).await.unwrap();
        let path = format!("/subscriptions/{id}/connections");
        let applied = async || send(&service, &admin, "GET", &path, None).await.0 == 200;
        service.until("it is applied", applied).await;
        ids.push(id);
    }
    let mut socket = connect(&service, &admin, &ids[0]).await;
    for key in [&other, &own] {
        let unknown = every_answer(&service, key, UNKNOWN).await;
        assert!(unknown[0].starts_with("GET 404"), "{unknown:?}");
        for id in &ids {
            assert_eq!(every_answer(&service, key, id).await, unknown, "{id}");
        }
    }
    // All are there, as they were, and the operator sees them.
    for id in &ids {
        let path = format!("/subscriptions/{id}");
        assert_eq!(
            send(&service, &admin, "GET", &path, None).await.0,
            200,
            "{id}"
        );
    }
    let event = json!({"type": "a", "tenant": "acme", "data": {"n": 1}});
    send(&service, &admin, "POST", "/events", Some(event)).await;
    assert_eq!(socket.event().await["n"], 1);
    service.stop().await;
}

/// Returns the ids on a page, and the number on all pages.
async fn listed(service: &Service, key: &str, query: &str) -> (Vec<String>, u64) {
    let path = format!("/subscriptions?count=true&{query}");
    let (status, page) = send(service, key, "GET", &path, None).await;
    assert_eq!(status, 200, "{page}");
    let items = page["items"].as_array().unwrap().iter();
    let ids = items.map(|one| one["id"].as_str().unwrap().to_owned());
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    (ids, page["total"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_counts_show_what_is_in_sight() {
    let (service, admin) = start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for tenant in ["acme", "other"] {
        for (id, more) in [
            ("active", doc! {"filter": {}, "name": "n", "owner": "key:a"}),
            ("paused", doc! {"filter": {}, "status": "paused"}),
            ("broken", doc! {"name": "n"}),
            ("worse", doc! {"filter": {"$foo": 1}}),
        ] {
            let mut document = doc! {"_id": format!("{tenant}-{id}"), "tenant": tenant};
            document.extend(more);
            subscriptions.insert_one(document).await.unwrap();
        }
    }
    let odd = doc! {"_id": "odd", "tenant": ["acme", "other"]};
    subscriptions.insert_one(odd).await.unwrap();
    subscriptions
        .insert_one(doc! {"_id": 5, "tenant": "acme"})
        .await
        .unwrap();
    subscriptions
        .insert_one(doc! {"_id": "bare", "filter": {}})
        .await
        .unwrap();
    let applied = async || listed(&service, &admin, "status=invalid").await.1 == 6;
    service.until("all are applied", applied).await;
    let acme = key_of(&service, &admin, "acme", &["subscriptions:read"]).await;
    let own = key_of(&service, &admin, "acme", &["subscriptions:own"]).await;
    let all: &[&str] = &[
        "5",
        "acme-active",
        "acme-broken",
        "acme-paused",
        "acme-worse",
    ];
    for (key, query, expected) in [
        (&acme, "", all),
        (&acme, "limit=2", &["5", "acme-active"]),
        (&acme, "name=n", &["acme-active", "acme-broken"]),
        (&acme, "owner=key:a", &["acme-active"]),
        (&acme, "status=active", &["acme-active"]),
        (&acme, "status=paused", &["acme-paused"]),
        (&acme, "status=invalid", &["5", "acme-broken", "acme-worse"]),
        (&acme, "status=invalid&name=n", &["acme-broken"]),
        (&acme, "tenant=acme", all),
        (&acme, "tenant=other", &[]),
        (&acme, "status=invalid&tenant=other", &[]),
        (&own, "", &[]),
        (&own, "status=invalid", &[]),
        (&own, "owner=key:a", &[]),
        (&admin, "tenant=acme", all),
        (
            &admin,
            "tenant=acme&status=invalid",
            &["5", "acme-broken", "acme-worse"],
        ),
        (&admin, "owner=key:a", &["acme-active", "other-active"]),
    ] {
        let (ids, total) = listed(&service, key, query).await;
        assert_eq!(ids, expected, "{query}");
        let whole = if query == "limit=2" { all } else { expected };
        assert_eq!(total, whole.len() as u64, "{query}");
    }
    assert_eq!(listed(&service, &admin, "").await.1, 11);
    let mut cursor = String::new();
    let mut paged = Vec::new();
    loop {
        let path = format!("/subscriptions?limit=1{cursor}");
        let (_, page) = send(&service, &acme, "GET", &path, None).await;
        let items = page["items"].as_array().unwrap().iter();
        paged.extend(items.map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seeing_is_not_changing() {
    let (service, admin) = start().await;
    let writer = key_of(&service, &admin, "acme", &ALL).await;
    let scopes = ["subscriptions:read", "subscriptions:own", "events:read"];
    let reader = key_of(&service, &admin, "acme", &scopes).await;
    let id = subscribe(&service, &writer).await;
    let path = format!("/subscriptions/{id}");
    let socket = connect(&service, &admin, &id).await;
    let own_socket = connect(&service, &writer, &id).await;
    let faulty = Some(json!({"filter": {"$foo": 1}}));
    for (method, body) in [
        ("PUT", Some(json!({"filter": {}}))),
        ("PUT", faulty.clone()),
        ("PATCH", Some(json!({"name": "n"}))),
        ("PATCH", faulty),
        ("DELETE", None),
    ] {
        for condition in [&[][..], &[("if-match", "\"00\"")]] {
            let call = (method, &*path, body.clone());
            let (status, _, text) = raw(&service, &reader, call, condition).await;
            assert_eq!(status, 403, "{method} {body:?}: {text}");
        }
    }
    let connections = format!("{path}/connections");
    // An operator's connection is for operators to see.
    for (key, shows, seen) in [(&reader, false, 1), (&writer, true, 1), (&admin, true, 2)] {
        let (status, listed) = send(&service, key, "GET", &connections, None).await;
        assert_eq!(status, 200);
        let items = listed["items"].as_array().unwrap();
        assert_eq!(items.len(), seen, "{listed}");
        assert_eq!(items[0]["remote"].is_string(), shows, "{listed}");
    }
    // What is its own, it may change.
    let own = subscribe(&service, &reader).await;
    let own = format!("/subscriptions/{own}");
    let rename = Some(json!({"name": "n"}));
    assert_eq!(send(&service, &reader, "PATCH", &own, rename).await.0, 200);
    let give = Some(json!({"owner": "key:other"}));
    assert_eq!(
        send(&service, &reader, "PATCH", &own, give.clone()).await.0,
        422
    );
    assert_eq!(send(&service, &writer, "PATCH", &own, give).await.0, 200);
    assert_eq!(send(&service, &reader, "DELETE", &own, None).await.0, 403);
    socket.leave().await;
    own_socket.leave().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_given_away_loses_the_sockets_of_those_who_see_it_no_more() {
    let (service, admin) = start().await;
    let scopes = json!({"scopes": ["subscriptions:own", "events:read"]});
    let (_, own) = make(&service, &admin, scopes).await;
    let id = subscribe(&service, &own).await;
    let mut owners = connect(&service, &own, &id).await;
    let mut operators = connect(&service, &admin, &id).await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let away = doc! {"$set": {"owner": "key:other"}};
    subscriptions
        .update_one(doc! {"_id": &id}, away)
        .await
        .unwrap();
    super::publish(&service, &admin, 1).await;
    let (messages, closed) = owners.rest().await;
    assert_eq!((closed.code, &*closed.text), (4511, "forbidden"));
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(operators.message().await["type"], "updated");
    assert_eq!(operators.event().await["n"], 1);
    service.stop().await;
}
