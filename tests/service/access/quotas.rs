//! Quotas: how much a tenant may have and do, and a key.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate::config::{Auth, Quotas};
use tungstenite::Error;

use super::{
    connect, make, open, refusal, send, start_with, store_policy, subscribe,
    tokens::idp::{Idp, Key},
};
use crate::support::Service;

const EVERYTHING: [&str; 4] = [
    "subscriptions:own",
    "subscriptions:write",
    "events:read",
    "events:publish",
];

/// Starts a node where tenants are bounded by these quotas, and an operator's key.
async fn start(quotas: Quotas) -> (Service, String) {
    start_with(|config| config.quotas = quotas).await
}

/// Makes a key of a tenant. Returns its id and its text.
async fn key_of(service: &Service, admin: &str, tenant: &str, more: Value) -> (String, String) {
    let mut body = json!({"scopes": EVERYTHING, "tenant": tenant});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    make(service, admin, body).await
}

/// Asks, and returns the status and, of a refusal, the problem and the seconds to wait.
async fn ask(service: &Service, key: &str, path: &str) -> (StatusCode, Value, Option<u64>) {
    let request = service.http.get(service.url(path)).bearer_auth(key);
    read(request.send().await.unwrap()).await
}

async fn publish(service: &Service, key: &str, events: u32) -> (StatusCode, Value, Option<u64>) {
    let events: Vec<_> = (0..events)
        .map(|n| json!({"type": "a", "data": {"n": n}}))
        .collect();
    let request = service.http.post(service.url("/events")).bearer_auth(key);
    read(request.json(&events).send().await.unwrap()).await
}

async fn read(answer: Response) -> (StatusCode, Value, Option<u64>) {
    let status = answer.status();
    let after = answer.headers().get("retry-after");
    let after = after.map(|after| after.to_str().unwrap().parse().unwrap());
    (status, answer.json().await.unwrap_or_default(), after)
}

fn check_too_fast(
    (status, problem, after): (StatusCode, Value, Option<u64>),
    quota: &str,
    limit: u32,
) {
    assert_eq!(status, 429, "{problem}");
    assert_eq!(problem["type"], "/problems/too-many-requests");
    assert_eq!(
        (&problem["quota"], &problem["limit"]),
        (&json!(quota), &json!(limit))
    );
    assert!(after.is_some_and(|seconds| seconds >= 1), "{after:?}");
}

fn check_exceeded((status, problem): (u16, Value), quota: &str, limit: u32) {
    assert_eq!(status, 403, "{problem}");
    assert_eq!(problem["type"], "/problems/quota-exceeded");
    assert_eq!(
        (&problem["quota"], &problem["limit"]),
        (&json!(quota), &json!(limit))
    );
}

/// Asks until it is too fast. Many requests at once are faster than any rate that a test sets.
async fn ask_too_often(
    service: &Service,
    key: &str,
    path: &str,
) -> (StatusCode, Value, Option<u64>) {
    loop {
        let asked = (0..20).map(|_| ask(service, key, path));
        let answers = join_all(asked).await;
        if let Some(refused) = answers.into_iter().find(|answer| answer.0 == 429) {
            return refused;
        }
    }
}

/// Returns the number of requests that a quota refused.
async fn limited(service: &Service, admin: &str, what: &str) -> u64 {
    let metrics = service
        .http
        .get(format!("http://{}/metrics", service.address));
    let answer = metrics.bearer_auth(admin).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let name = format!("tidegate_limited_total{{what=\"{what}\"}} ");
    let text = answer.text().await.unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_tenant_that_come_too_fast_wait_and_those_of_others_do_not() {
    let quotas = Quotas {
        requests_per_second: 2,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, same) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, other) = key_of(&service, &admin, "other", json!({})).await;
    assert_eq!(limited(&service, &admin, "requests_per_second").await, 0);
    check_too_fast(
        ask_too_often(&service, &acme, "/whoami").await,
        "requests_per_second",
        2,
    );
    assert!(limited(&service, &admin, "requests_per_second").await > 0);
    // The tenant's keys share the rate; another tenant and operators do not.
    check_too_fast(
        ask_too_often(&service, &same, "/subscriptions").await,
        "requests_per_second",
        2,
    );
    assert_eq!(ask(&service, &other, "/whoami").await.0, 200);
    for _ in 0..20 {
        assert_eq!(ask(&service, &admin, "/whoami").await.0, 200);
    }
    // What is public counts for nobody.
    for _ in 0..20 {
        assert_eq!(ask(&service, &other, "/live").await.0, 200);
    }
    assert_eq!(ask(&service, &other, "/whoami").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_published_whole_and_paid_for_afterwards() {
    let quotas = Quotas {
        publish_per_second: 1,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, other) = key_of(&service, &admin, "other", json!({})).await;
    let (status, answer, _) = publish(&service, &acme, 100).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (StatusCode::ACCEPTED, &json!(100)),
        "{answer}"
    );
    let refused = publish(&service, &acme, 1).await;
    let after = refused.2;
    check_too_fast(refused, "publish_per_second", 1);
    // A hundred seconds are owed, less those that the test took.
    assert!(after.is_some_and(|seconds| seconds > 1), "{after:?}");
    // It is refused before the body is looked at.
    let post = service.http.post(service.url("/events")).bearer_auth(&acme);
    let post = post
        .header("content-type", "application/json")
        .body("nonsense");
    check_too_fast(
        read(post.send().await.unwrap()).await,
        "publish_per_second",
        1,
    );
    assert_eq!(limited(&service, &admin, "publish_per_second").await, 2);
    // Neither other calls nor others wait for that.
    assert_eq!(ask(&service, &acme, "/whoami").await.0, 200);
    assert_eq!(publish(&service, &other, 1).await.0, 202);
    for _ in 0..3 {
        assert_eq!(publish(&service, &admin, 5).await.0, 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_publishes_nothing_counts_as_one_event() {
    for body in ["[]", "[{", "nonsense", ""] {
        let quotas = Quotas {
            publish_per_second: 2,
            ..Quotas::NONE
        };
        let (service, admin) = start(quotas).await;
        let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
        let ask = async || {
            let post = service.http.post(service.url("/events")).bearer_auth(&acme);
            let post = post.header("content-type", "application/json").body(body);
            read(post.send().await.unwrap()).await
        };
        // Many at once are faster than the rate.
        let refused = loop {
            let answers = join_all((0..20).map(|_| ask())).await;
            if let Some(refused) = answers.into_iter().find(|answer| answer.0 == 429) {
                break refused;
            }
        };
        check_too_fast(refused, "publish_per_second", 2);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_own_so_many_gives_none_away() {
    let (service, admin) = start(Quotas::NONE).await;
    let (_, small) = key_of(
        &service,
        &admin,
        "acme",
        json!({"limits": {"subscriptions": 1}}),
    )
    .await;
    let given = json!({"filter": {}, "owner": "somebody"});
    let (status, problem) = send(
        &service,
        &small,
        "POST",
        "/subscriptions",
        Some(given.clone()),
    )
    .await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "#/owner");
    let own = subscribe(&service, &small).await;
    let path = format!("/subscriptions/{own}");
    let change = json!({"owner": "somebody"});
    let (status, problem) = send(&service, &small, "PATCH", &path, Some(change)).await;
    assert_eq!(status, 422, "{problem}");
    // One without such a bound may.
    let (_, large) = key_of(&service, &admin, "acme", json!({})).await;
    let (status, _) = send(&service, &large, "POST", "/subscriptions", Some(given)).await;
    assert_eq!(status, 201);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_came_too_fast_is_published_by_the_next_attempt_with_its_key() {
    let quotas = Quotas {
        publish_per_second: 1,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let attempt = async || {
        let post = service.http.post(service.url("/events")).bearer_auth(&acme);
        let post = post
            .header("Idempotency-Key", "k")
            .json(&json!({"type": "a"}));
        post.send().await.unwrap().status()
    };
    assert_eq!(publish(&service, &acme, 2).await.0, 202);
    let mut refused = 0;
    while attempt().await == 429 {
        refused += 1;
    }
    assert!(refused > 0);
    let events = service.database.collection::<Document>("events");
    let stored = events.count_documents(doc! {"tenant": "acme"}).await;
    assert_eq!(stored.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_streams_count_as_connects_and_pages_do_not() {
    let quotas = Quotas {
        connects_per_second: 1,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let id = subscribe(&service, &acme).await;
    let path = format!("/subscriptions/{id}/events");
    for _ in 0..10 {
        assert_eq!(ask(&service, &acme, &path).await.0, 200);
    }
    let refused = async || {
        let opened = join_all((0..20).map(|_| open(&service, &acme, &id))).await;
        opened.into_iter().find_map(|opened| match opened {
            Err(Error::Http(answer)) => Some(answer),
            _ => None,
        })
    };
    let answer = loop {
        if let Some(answer) = refused().await {
            break answer;
        }
    };
    assert_eq!(answer.status().as_u16(), 429);
    let problem: Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
    assert_eq!(problem["quota"], "connects_per_second");
    assert!(answer.headers().contains_key("retry-after"));
    // An EventSource would never come back after another status than 200.
    let text = loop {
        let stream = service.http.get(service.url(&path)).bearer_auth(&acme);
        let stream = stream
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        let mut stream = stream;
        let first = stream.chunk().await.unwrap().unwrap();
        let text = String::from_utf8(first.to_vec()).unwrap();
        if text.contains("overloaded") {
            break text;
        }
    };
    assert!(
        text.contains("quotas.connects_per_second") && text.contains("retry:"),
        "{text}"
    );
    assert!(limited(&service, &admin, "connects_per_second").await > 1);
    let admins = (0..5).map(|_| connect(&service, &admin, &id));
    join_all(admins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_subscriptions_and_no_more() {
    let quotas = Quotas {
        subscriptions: 3,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, other) = key_of(&service, &admin, "other", json!({})).await;
    let create = async |key: &str| {
        send(
            &service,
            key,
            "POST",
            "/subscriptions",
            Some(json!({"filter": {}})),
        )
        .await
    };
    let put = async |id: &str, name: &str| {
        let body = json!({"filter": {}, "name": name});
        send(
            &service,
            &acme,
            "PUT",
            &format!("/subscriptions/{id}"),
            Some(body),
        )
        .await
    };
    let id = subscribe(&service, &acme).await;
    assert_eq!(put("acme:a", "first").await.0, 201);
    let batch = json!([{"filter": {}}, {"filter": 5}, {"filter": {}}]);
    let (status, answer) = send(&service, &acme, "POST", "/subscriptions/batch", Some(batch)).await;
    assert_eq!(status, 207, "{answer}");
    let statuses: Vec<_> = (0..3)
        .map(|at| answer["items"][at]["status"].clone())
        .collect();
    assert_eq!(statuses, [json!(201), json!(422), json!(403)], "{answer}");
    let refused = answer["items"][2]["problem"].clone();
    check_exceeded((403, refused), "subscriptions", 3);
    check_exceeded(create(&acme).await, "subscriptions", 3);
    check_exceeded(put("acme:b", "new").await, "subscriptions", 3);
    assert_eq!(limited(&service, &admin, "subscriptions").await, 3);
    // Replacing makes none, and others have their own.
    assert_eq!(put("acme:a", "second").await.0, 200);
    subscribe(&service, &other).await;
    for _ in 0..5 {
        subscribe(&service, &admin).await;
    }
    // One that is gone leaves room for one.
    let path = format!("/subscriptions/{id}");
    assert_eq!(send(&service, &acme, "DELETE", &path, None).await.0, 204);
    assert_eq!(create(&acme).await.0, 201);
    check_exceeded(create(&acme).await, "subscriptions", 3);
    // Programs are not refused, and theirs count.
    let documents = service.database.collection::<Document>("subscriptions");
    documents
        .delete_many(doc! {"tenant": "acme"})
        .await
        .unwrap();
    let many = (0..4).map(|n| doc! {"_id": format!("p{n}"), "tenant": "acme", "filter": {}});
    documents.insert_many(many).await.unwrap();
    subscribe(&service, &admin).await;
    check_exceeded(create(&acme).await, "subscriptions", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_do_not_share_the_last_place() {
    let quotas = Quotas {
        subscriptions: 5,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let created = join_all((0..30).map(|_| {
        send(
            &service,
            &acme,
            "POST",
            "/subscriptions",
            Some(json!({"filter": {}})),
        )
    }));
    let (made, refused): (Vec<_>, Vec<_>) = created
        .await
        .into_iter()
        .partition(|(status, _)| *status == 201);
    assert_eq!((made.len(), refused.len()), (5, 25));
    for answer in refused {
        check_exceeded(answer, "subscriptions", 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_is_not_refused_for_what_it_made() {
    let quotas = Quotas {
        subscriptions: 1,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let attempt = async |key: &str| {
        let post = service
            .http
            .post(service.url("/subscriptions"))
            .bearer_auth(&acme);
        let post = post
            .header("Idempotency-Key", key)
            .json(&json!({"filter": {}}));
        read(post.send().await.unwrap()).await
    };
    let first = attempt("k").await;
    assert_eq!(first.0, 201, "{}", first.1);
    // As if the answer had never been stored.
    let answers = service.database.collection::<Document>("idempotency");
    let given_up = doc! {"state": "running", "leaseUntil": bson::DateTime::from_millis(0)};
    let given_up = doc! {"$set": given_up, "$unset": {"answer": ""}};
    let forgotten = answers.update_many(doc! {}, given_up).await.unwrap();
    assert_eq!(forgotten.matched_count, 1);
    let again = attempt("k").await;
    assert_eq!(again.0, 201, "{}", again.1);
    assert_eq!(again.1["id"], first.1["id"]);
    assert_eq!(attempt("l").await.1["type"], "/problems/quota-exceeded");
    // A refusal is not kept: there may be room the next time.
    let id = first.1["id"].as_str().unwrap();
    let path = format!("/subscriptions/{id}");
    assert_eq!(send(&service, &acme, "DELETE", &path, None).await.0, 204);
    assert_eq!(attempt("l").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_connections_and_no_more() {
    let quotas = Quotas {
        connections: 2,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, same) = key_of(&service, &admin, "acme", json!({})).await;
    let (_, other) = key_of(&service, &admin, "other", json!({})).await;
    let id = subscribe(&service, &acme).await;
    let of_other = subscribe(&service, &other).await;
    let first = connect(&service, &acme, &id).await;
    let _second = connect(&service, &same, &id).await;
    let refused = open(&service, &acme, &id).await;
    let Err(Error::Http(answer)) = &refused else {
        panic!("it was let in")
    };
    let problem = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
    check_exceeded((403, problem), "connections", 2);
    let stream = service
        .http
        .get(service.url(&format!("/subscriptions/{id}/events")));
    let stream = stream
        .bearer_auth(&same)
        .header("accept", "text/event-stream");
    let (status, problem, _) = read(stream.send().await.unwrap()).await;
    check_exceeded((status.as_u16(), problem), "connections", 2);
    assert_eq!(limited(&service, &admin, "connections").await, 2);
    connect(&service, &other, &of_other).await;
    let operators = [
        connect(&service, &admin, &id).await,
        connect(&service, &admin, &id).await,
    ];
    drop(operators);
    // One that is gone leaves room for one.
    drop(first);
    while refusal(open(&service, &acme, &id).await) != 101 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_otherwise_for_its_tenants_and_ends_nothing_by_that() {
    let quotas = Quotas {
        subscriptions: 1,
        connections: 1,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let policy = |quotas: Document| doc! {"read": {"tenant": "$claims.tenant"}, "quotas": quotas};
    store_policy(
        &service,
        "more",
        policy(doc! {"subscriptions": 2, "requests_per_second": 1}),
    )
    .await;
    let (_, acme) = key_of(&service, &admin, "acme", json!({"policy": "more"})).await;
    let (_, other) = key_of(&service, &admin, "other", json!({})).await;
    let create = async |key: &str| {
        loop {
            let body = Some(json!({"filter": {}}));
            let answer = send(&service, key, "POST", "/subscriptions", body).await;
            if answer.0 != 429 {
                return answer;
            }
        }
    };
    let (status, made) = create(&acme).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(create(&acme).await.0, 201);
    check_exceeded(create(&acme).await, "subscriptions", 2);
    check_too_fast(
        ask_too_often(&service, &acme, "/whoami").await,
        "requests_per_second",
        1,
    );
    assert_eq!(create(&other).await.0, 201);
    check_exceeded(create(&other).await, "subscriptions", 1);
    // Quotas that change are no change of what is received.
    let id = made["id"].as_str().unwrap();
    let mut socket = connect(&service, &acme, id).await;
    assert_eq!(refusal(open(&service, &acme, id).await), 403);
    store_policy(
        &service,
        "more",
        policy(doc! {"subscriptions": 0, "connections": 2}),
    )
    .await;
    subscribe(&service, &admin).await;
    connect(&service, &acme, id).await;
    for _ in 0..3 {
        assert_eq!(create(&acme).await.0, 201);
    }
    let event = json!({"type": "a", "tenant": "acme"});
    let (status, answer) = send(&service, &acme, "POST", "/events", Some(event)).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(socket.message().await["type"], "event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_limits_of_its_own_within_those_of_its_tenant() {
    let quotas = Quotas {
        subscriptions: 4,
        connections: 3,
        publish_per_second: 1_000,
        ..Quotas::NONE
    };
    let (service, admin) = start(quotas).await;
    let limits = json!({"subscriptions": 1, "connections": 1, "publish_per_second": 1, "requests_per_second": 0});
    let (id, small) = key_of(&service, &admin, "acme", json!({"limits": limits})).await;
    let high = json!({"limits": {"subscriptions": 100}});
    let (_, large) = key_of(&service, &admin, "acme", high).await;
    let (_, shown) = send(&service, &admin, "GET", &format!("/keys/{id}"), None).await;
    assert_eq!(shown["limits"], limits);
    let create = async |key: &str| {
        send(
            &service,
            key,
            "POST",
            "/subscriptions",
            Some(json!({"filter": {}})),
        )
        .await
    };
    let of_large = subscribe(&service, &large).await;
    subscribe(&service, &small).await;
    check_exceeded(create(&small).await, "subscriptions", 1);
    let _socket = connect(&service, &small, &of_large).await;
    assert_eq!(refusal(open(&service, &small, &of_large).await), 403);
    let _others = [
        connect(&service, &large, &of_large).await,
        connect(&service, &large, &of_large).await,
    ];
    assert_eq!(refusal(open(&service, &large, &of_large).await), 403);
    assert_eq!(publish(&service, &small, 5).await.0, 202);
    check_too_fast(publish(&service, &small, 1).await, "publish_per_second", 1);
    assert_eq!(publish(&service, &large, 5).await.0, 202);
    // The key's own limit is no way past its tenant's.
    assert_eq!(create(&large).await.0, 201);
    assert_eq!(create(&large).await.0, 201);
    check_exceeded(create(&large).await, "subscriptions", 4);
    // A limit that changes counts from then on, and ends nothing.
    let change = service
        .http
        .patch(service.url(&format!("/keys/{id}")))
        .bearer_auth(&admin);
    let change = change.header("content-type", "application/merge-patch+json");
    let change = change.body(json!({"limits": {"connections": 2}}).to_string());
    let (status, changed, _) = read(change.send().await.unwrap()).await;
    assert_eq!(
        (status.as_u16(), &changed["limits"]),
        (200, &json!({"connections": 2}))
    );
    assert_eq!(publish(&service, &small, 5).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_an_operators_key_hold_and_a_limit_that_is_none_is_refused() {
    let (service, admin) = start(Quotas::default()).await;
    let body = json!({"scopes": ["admin"], "limits": {"publish_per_second": 1}});
    let (_, key) = make(&service, &admin, body).await;
    assert_eq!(publish(&service, &key, 50).await.0, 202);
    check_too_fast(publish(&service, &key, 1).await, "publish_per_second", 1);
    for (limits, pointer) in [
        (json!(5), "#/limits"),
        (json!({"events": 5}), "#/limits/events"),
        (json!({"connections": -1}), "#/limits/connections"),
        (
            json!({"requests_per_second": 0.5}),
            "#/limits/requests_per_second",
        ),
    ] {
        let body = json!({"scopes": ["events:read"], "limits": limits});
        let (status, problem) = send(&service, &admin, "POST", "/keys", Some(body)).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{problem}"
        );
    }
    let body = json!({"read": {}, "quotas": {"connections": "many"}});
    let (status, problem) = send(&service, &admin, "PUT", "/policies/p", Some(body)).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "#/quotas/connections");
    // Nobody makes a key with more than their own has.
    let more = json!({"scopes": ["events:read"], "limits": {"publish_per_second": 2}});
    assert_eq!(
        send(&service, &key, "POST", "/keys", Some(more)).await.0,
        403
    );
    let (_, made) = send(
        &service,
        &key,
        "POST",
        "/keys",
        Some(json!({"scopes": ["events:read"]})),
    )
    .await;
    assert_eq!(made["limits"], json!({"publish_per_second": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_name_no_tenant_are_bounded_like_a_tenant() {
    let key = Key::ed25519("d1");
    let idp = Idp::start("https://id.example.com/", &[&key]).await;
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.quotas = Quotas {
            requests_per_second: 1,
            ..Quotas::NONE
        };
        config.issuers.insert("main".to_owned(), idp.settings());
    })
    .await;
    // Whoever holds them: they are nobody's.
    let nobody = |n: usize| key.sign(&idp.claims(&json!({"sub": n.to_string()})));
    let too_fast = async || {
        let tokens: Vec<_> = (0..8).map(nobody).collect();
        let asked = tokens.iter().map(|token| ask(&service, token, "/whoami"));
        let mut answers = join_all(asked).await.into_iter();
        let refused = answers.find(|(status, ..)| *status != 200);
        let is_refused = refused.is_some();
        if let Some(refused) = refused {
            check_too_fast(refused, "requests_per_second", 1);
        }
        is_refused
    };
    service.until("they come too fast", too_fast).await;
    let somebody = key.sign(&idp.claims(&json!({"tenant": "acme"})));
    assert_eq!(ask(&service, &somebody, "/whoami").await.0, 200);
    service.stop().await;
}
