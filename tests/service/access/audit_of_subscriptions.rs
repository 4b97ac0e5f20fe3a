//! The audit of subscriptions: each that a proven caller creates, changes or deletes leaves one entry, in one transaction with
//! the act.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::config::Auth;

use super::{
    admin_key,
    audit::{acts, changed, count, entries},
    make, send, start, subscribe,
};
use crate::{feed::failpoint::Failing, support::Service};

const OWN: [&str; 1] = ["subscriptions:own"];

/// Sends a request with a header beside the key.
async fn send_with(
    service: &Service,
    key: &str,
    (method, path): (Method, &str),
    (name, value): (&str, &str),
    body: Option<Value>,
) -> (u16, Value) {
    let request = service.http.request(method, service.url(path));
    let mut request = request.bearer_auth(key).header(name, value);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// Adds to what a collection accepts, or takes that back.
async fn accept_only(service: &Service, collection: &str, validator: Document) {
    let change = doc! {"collMod": collection, "validator": validator};
    service.database.run_command(change).await.unwrap();
}

/// Makes a collection refuse all documents with this field.
fn without(field: &str) -> Document {
    doc! {field: {"$exists": false}}
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_on_a_subscription_tells_who_did_what() {
    let (service, admin) = start().await;
    let (key, text) = make(&service, &admin, json!({"scopes": OWN, "tenant": "acme"})).await;
    let path = "/subscriptions/acme:hidden";
    let new = json!({"filter": {"a": "hidden-1"}, "name": "hidden-2"});
    let other =
        json!({"filter": {"a": "hidden-3"}, "name": "hidden-2", "metadata": {"b": "hidden-4"}});
    let rename = json!({"name": "hidden-5"});
    for (n, (method, body, status)) in [
        (Method::PUT, Some(new.clone()), 201),
        (Method::PUT, Some(new), 200),
        (Method::PUT, Some(other), 200),
        (Method::PATCH, Some(rename.clone()), 200),
        (Method::PATCH, Some(rename), 200),
        (Method::PATCH, Some(json!({"name": null})), 200),
        (Method::DELETE, None, 204),
        (Method::DELETE, None, 404),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("r-{n}");
        let id = ("x-request-id", &*id);
        let done = send_with(&service, &text, (method, path), id, body).await;
        assert_eq!(done.0, status, "{n}: {}", done.1);
    }

    let all = entries(&service, "acme:hidden").await;
    assert_eq!(
        acts(&all),
        [
            "subscription.create",
            "subscription.replace",
            "subscription.change",
            "subscription.change",
            "subscription.delete",
        ]
    );
    let requests: Vec<_> = all.iter().map(|e| e.get_str("request").unwrap()).collect();
    assert_eq!(requests, ["r-0", "r-2", "r-3", "r-5", "r-6"]);
    for entry in &all {
        let actor = entry.get_document("actor").unwrap();
        assert_eq!(actor.get_str("kind").unwrap(), "key");
        assert_eq!(actor.get_str("id").unwrap(), key);
        assert_eq!(actor.get_str("tenant").unwrap(), "acme");
        let remote = actor.get_str("remote").unwrap();
        assert!(remote.starts_with("127.0.0.1:"), "{entry}");
        assert_eq!(entry.get_str("tenant").unwrap(), "acme");
        assert_eq!(entry.get_str("outcome").unwrap(), "ok");
    }
    let created = changed(&all[0]);
    let sets = ["filter", "name", "tenant", "owner"].into();
    assert!(created.is_superset(&sets), "{created:?}");
    assert_eq!(changed(&all[1]), ["filter", "metadata"].into());
    assert_eq!(changed(&all[2]), ["name"].into());
    assert_eq!(changed(&all[3]), ["name"].into());
    assert!(changed(&all[4]).is_empty());
    let text = format!("{all:?}").replace("acme:hidden", "");
    assert!(!text.contains("hidden"), "{text}");

    // An operator's act on a tenant's subscription is the tenant's, and the operator's.
    let body = json!({"filter": {}, "tenant": "other"});
    let (status, made) = send(&service, &admin, "POST", "/subscriptions", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let all = entries(&service, made["id"].as_str().unwrap()).await;
    assert_eq!(acts(&all), ["subscription.create"]);
    assert_eq!(all[0].get_str("tenant").unwrap(), "other");
    let actor = all[0].get_document("actor").unwrap();
    assert_eq!(actor.get("tenant"), Some(&Bson::Null));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_act_on_a_subscription_leaves_no_entry() {
    let (service, admin) = start().await;
    let of = |tenant: &str, scopes: &[&str]| json!({"scopes": scopes, "tenant": tenant});
    let (_, acme) = make(&service, &admin, of("acme", &OWN)).await;
    let (_, reader) = make(&service, &admin, of("acme", &["subscriptions:read"])).await;
    let (_, other) = make(&service, &admin, of("other", &OWN)).await;
    let id = subscribe(&service, &acme).await;
    let path = format!("/subscriptions/{id}");
    accept_only(&service, "subscriptions", without("metadata.refused")).await;
    let before = count(&service).await;
    let refused = json!({"filter": {}, "metadata": {"refused": 1}});
    for (key, method, path, body, status) in [
        (
            &reader,
            "POST",
            "/subscriptions",
            Some(json!({"filter": {}})),
            403,
        ),
        (&reader, "DELETE", &*path, None, 403),
        (&other, "DELETE", &*path, None, 404),
        (&other, "PATCH", &*path, Some(json!({"name": "a"})), 404),
        (&other, "PUT", &*path, Some(json!({"filter": {}})), 422),
        (&acme, "PATCH", &*path, Some(json!({"filter": 5})), 422),
        (
            &acme,
            "POST",
            "/subscriptions",
            Some(json!({"filter": {"$no": 1}})),
            422,
        ),
        (&acme, "POST", "/subscriptions", Some(refused.clone()), 422),
        (&acme, "PUT", &*path, Some(refused.clone()), 422),
        (
            &acme,
            "PATCH",
            &*path,
            Some(json!({"metadata": {"refused": 1}})),
            422,
        ),
        (
            &acme,
            "POST",
            "/subscriptions/batch",
            Some(json!([refused])),
            207,
        ),
        (
            &acme,
            "PATCH",
            "/subscriptions/none",
            Some(json!({"name": "a"})),
            404,
        ),
    ] {
        let done = send(&service, key, method, path, body).await;
        assert_eq!(done.0, status, "{method} {path}: {}", done.1);
    }
    let stale = ("if-match", "\"other\"");
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let body = (method != Method::DELETE).then(|| json!({"filter": {"a": 1}}));
        let done = send_with(&service, &acme, (method, &path), stale, body).await;
        assert_eq!(done.0, 412, "{}", done.1);
    }
    assert_eq!(count(&service).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_on_a_subscription_and_its_entry_come_together() {
    let (service, admin) = start().await;
    let (_, acme) = make(&service, &admin, json!({"scopes": OWN, "tenant": "acme"})).await;
    let (_, other) = make(&service, &admin, json!({"scopes": OWN, "tenant": "other"})).await;
    let id = subscribe(&service, &acme).await;
    let path = format!("/subscriptions/{id}");
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let stored = subscriptions.find_one(doc! {"_id": &id}).await.unwrap();
    let before = count(&service).await;
    let of_another = doc! {"tenant": {"$ne": "acme"}};
    accept_only(&service, "audit", of_another).await;
    for (method, path, body) in [
        ("POST", "/subscriptions", Some(json!({"filter": {}}))),
        (
            "POST",
            "/subscriptions/batch",
            Some(json!([{"filter": {}}, {"filter": {}}])),
        ),
        ("PUT", "/subscriptions/acme:a", Some(json!({"filter": {}}))),
        ("PUT", &*path, Some(json!({"filter": {"a": 1}}))),
        ("PATCH", &*path, Some(json!({"name": "a"}))),
        ("DELETE", &*path, None),
    ] {
        let refused = send(&service, &acme, method, path, body).await;
        assert_eq!(refused.0, 503, "{method} {path}: {}", refused.1);
        assert_eq!(refused.1["type"], "/problems/database-unavailable");
    }
    assert_eq!(count(&service).await, before);
    let all = subscriptions.count_documents(doc! {}).await.unwrap();
    let kept = subscriptions.find_one(doc! {"_id": &id}).await.unwrap();
    assert_eq!((all, kept), (1, stored));
    // What can be audited is done.
    subscribe(&service, &other).await;
    accept_only(&service, "audit", doc! {}).await;
    assert_eq!(send(&service, &acme, "DELETE", &path, None).await.0, 204);
    assert_eq!(count(&service).await, before + 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_of_a_batch_has_its_own_entry_and_none_a_second_one() {
    let (service, admin) = start().await;
    let (_, acme) = make(&service, &admin, json!({"scopes": OWN, "tenant": "acme"})).await;
    accept_only(&service, "subscriptions", without("metadata.refused")).await;
    let items: Vec<Value> = (0..20)
        .map(|n| match n {
            3 => json!({"filter": 5}),
            5 | 6 | 19 => json!({"filter": {}, "metadata": {"refused": n}}),
            _ => json!({"filter": {}, "name": n.to_string()}),
        })
        .collect();
    let send = async || {
        let call = (Method::POST, "/subscriptions/batch");
        let key = ("idempotency-key", "k");
        let body = json!(items);
        let (status, answer) = send_with(&service, &acme, call, key, Some(body)).await;
        assert_eq!(status, 207, "{answer}");
        answer
    };
    let answer = send().await;
    let before = count(&service).await;
    let mut ids = Vec::new();
    for (n, item) in answer["items"].as_array().unwrap().iter().enumerate() {
        let refused = [3, 5, 6, 19].contains(&n);
        assert_eq!(item["status"], if refused { 422 } else { 201 }, "{item}");
        if let Some(id) = item["subscription"]["id"].as_str() {
            assert_eq!(item["subscription"]["name"], n.to_string());
            assert_eq!(acts(&entries(&service, id).await), ["subscription.create"]);
            ids.push(id.to_owned());
        }
    }
    assert_eq!(ids.len(), 16);

    // The attempt died before its answer was kept, and some of what it stored is gone since.
    let keys = service.database.collection::<Document>("idempotency");
    let died = doc! {
        "$set": {"state": "running", "leaseUntil": DateTime::from_millis(0)},
        "$unset": {"answer": 1},
    };
    keys.update_one(doc! {}, died).await.unwrap();
    let gone = [&ids[0], &ids[4], &ids[9]];
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let delete =
        subscriptions.delete_many(doc! {"_id": {"$in": gone.map(String::as_str).to_vec()}});
    assert_eq!(delete.await.unwrap().deleted_count, 3);
    let again = send().await;
    for (first, again) in answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(again["items"].as_array().unwrap())
    {
        assert_eq!(first["status"], again["status"], "{again}");
        assert_eq!(first["subscription"]["id"], again["subscription"]["id"]);
    }
    assert_eq!(count(&service).await, before + 3);
    for id in &ids {
        let times = if gone.contains(&id) { 2 } else { 1 };
        assert_eq!(entries(&service, id).await.len(), times);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_write_one_subscription_at_once_each_leave_their_entry() {
    const WRITERS: usize = 8;
    let (service, admin) = start().await;
    let (_, acme) = make(&service, &admin, json!({"scopes": OWN, "tenant": "acme"})).await;
    let path = "/subscriptions/acme:one";
    let write = async |method: &str, n: usize| {
        let body = json!({"filter": {}, "metadata": {"n": n}});
        let done = send(&service, &acme, method, path, Some(body)).await;
        assert!([200, 201].contains(&done.0), "{}", done.1);
        done.0
    };
    let put = join_all((0..WRITERS).map(|n| write("PUT", n))).await;
    let created = put.iter().filter(|status| **status == 201).count();
    assert_eq!(created, 1, "{put:?}");
    join_all((WRITERS..2 * WRITERS).map(|n| write("PATCH", n))).await;
    let all = entries(&service, "acme:one").await;
    let of = |act: &str| acts(&all).iter().filter(|other| **other == act).count();
    assert_eq!(of("subscription.create"), 1);
    assert_eq!(of("subscription.replace"), WRITERS - 1);
    assert_eq!(of("subscription.change"), WRITERS);
    let (_, shown) = send(&service, &acme, "GET", path, None).await;
    assert_eq!(shown["revision"], json!(2 * WRITERS));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_the_audit_where_nobody_proves_itself() {
    let service = Service::start().await;
    // All suites may run with credentials.
    if service.config.auth == Auth::None {
        let path = "/subscriptions/a";
        for (method, path, body) in [
            (
                "POST",
                "/subscriptions/batch",
                Some(json!([{"filter": {}}])),
            ),
            ("POST", "/subscriptions", Some(json!({"filter": {}}))),
            ("PUT", path, Some(json!({"filter": {}}))),
            ("PUT", path, Some(json!({"filter": {"a": 1}}))),
            ("PATCH", path, Some(json!({"name": "a"}))),
            ("DELETE", path, None),
        ] {
            let done = send(&service, "", method, path, body).await;
            assert!(done.0 < 300, "{method} {path}: {}", done.1);
        }
        assert_eq!(count(&service).await, 0);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_server_takes_the_act_it_is_refused_and_not_tried_for_ever() {
    let failing = Failing::start_with(|config| {
        config.auth = Auth::Required;
        // Longer than a test waits for anything.
        config.limits.database_timeout = Duration::from_hours(1);
    })
    .await;
    let service = &failing.service;
    let admin = admin_key(&service.config);
    let before = count(service).await;
    let create = async || {
        let new = json!({"filter": {}});
        send(service, &admin, "POST", "/subscriptions", Some(new)).await
    };
    for failure in [doc! {"closeConnection": true}, doc! {"errorCode": 91}] {
        let mut failure = failure.clone();
        failure.insert("failCommands", ["insert"].as_slice());
        failing.fail("alwaysOn", failure).await;
        let (status, problem) = create().await;
        assert_eq!(status, 503, "{problem}");
        assert_eq!(problem["type"], "/problems/database-unavailable");
    }
    failing.heal().await;
    service
        .until("taken again", async || create().await.0 == 201)
        .await;
    assert_eq!(count(service).await, before + 1);
    failing.stop().await;
}
