//! Row policies: what a tenant receives, reads and publishes, on every way there is.

use bson::{Bson, Document, doc};
use serde_json::{Value, json};

use super::{
    connect, make, open, refusal, send, start, start_without_policies, store_policy, subscribe,
};
use crate::support::{Events, Service, Socket};

const SCOPES: [&str; 3] = ["subscriptions:own", "events:read", "events:publish"];

/// Makes a key of a tenant, with claims. Returns its text.
async fn key_of(service: &Service, admin: &str, tenant: &str, claims: Value) -> String {
    let body = json!({"scopes": SCOPES, "tenant": tenant, "claims": claims});
    make(service, admin, body).await.1
}

/// Stores an event as a program does, which is trusted. Returns its number.
async fn insert(service: &Service, n: i32, more: Document) -> i32 {
    let mut event = doc! {"id": n.to_string(), "source": "/s", "type": "a", "data": {"n": n}};
    event.extend(more);
    let events = service.database.collection::<Document>("events");
    events.insert_one(event).await.unwrap();
    n
}

/// Returns the numbers of all events up to one of these numbers.
async fn numbers_up_to(socket: &mut Socket, last: i32) -> Vec<i64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&i64::from(last)) {
        numbers.push(socket.event().await["n"].as_i64().unwrap());
    }
    numbers
}

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|event| event["data"]["n"].as_i64().unwrap())
        .collect()
}

async fn page(service: &Service, key: &str, path: &str) -> Vec<i64> {
    let (status, page) = send(service, key, "GET", path, None).await;
    assert_eq!(status, 200, "{page}");
    numbers(&page)
}

/// Stores events with all kinds of tenants. Those of acme alone are the first and the last.
async fn insert_mixed(service: &Service) {
    insert(service, 1, doc! {"tenant": "acme"}).await;
    for (n, tenant) in (2..).zip([
        Bson::from("other"),
        Bson::Null,
        "".into(),
        vec!["acme"].into(),
        vec!["other", "acme"].into(),
        doc! {"tenant": "acme"}.into(),
        vec![Bson::from(doc! {"tenant": "acme"})].into(),
        "Acme".into(),
    ]) {
        insert(service, n, doc! {"tenant": tenant}).await;
    }
    insert(service, 10, doc! {}).await;
    insert(service, 11, doc! {"data": {"n": 11, "tenant": "acme"}}).await;
    insert(service, 12, doc! {"tenant": "acme"}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_receives_its_own_rows_on_every_way_and_an_operator_all() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let id = subscribe(&service, &acme).await;
    let mut live = connect(&service, &acme, &id).await;
    let theirs = subscribe(&service, &admin).await;
    let mut operators = connect(&service, &admin, &theirs).await;
    let mut visiting = connect(&service, &admin, &id).await;
    let (_, first) = send(
        &service,
        &acme,
        "GET",
        &format!("/subscriptions/{id}/events"),
        None,
    )
    .await;
    let cursor = first["cursor"].as_str().unwrap();

    insert_mixed(&service).await;
    assert_eq!(numbers_up_to(&mut live, 12).await, [1, 12]);
    assert_eq!(
        numbers_up_to(&mut visiting, 12).await,
        [1, 12],
        "the binding narrows, whoever attaches"
    );
    assert_eq!(numbers_up_to(&mut operators, 12).await.len(), 12);

    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let offer = format!("tidegate.v1, tidegate.bearer.{acme}");
    let mut replayed = Socket::open(service.address, &path, Some(&offer))
        .await
        .unwrap();
    assert_eq!(replayed.message().await["type"], "connected");
    assert_eq!(numbers_up_to(&mut replayed, 12).await, [1, 12]);
    let stream = service
        .http
        .get(service.url(&format!("/subscriptions/{id}/events?after={cursor}")));
    let stream = stream
        .bearer_auth(&acme)
        .header("accept", "text/event-stream");
    let mut stream = Events::of(stream.send().await.unwrap());
    let mut streamed = Vec::new();
    while streamed.last() != Some(&12) {
        let block = stream.next().await.unwrap();
        streamed.extend(block.data["event"]["data"]["n"].as_i64());
        streamed.extend(block.data["data"]["n"].as_i64());
    }
    assert_eq!(streamed, [1, 12]);

    for path in [
        format!("/subscriptions/{id}/events"),
        format!("/subscriptions/{id}/events?order=desc"),
        "/events".to_owned(),
        "/events?type=a".to_owned(),
        r#"/events?filter={"data.n":{"$gte":1}}"#.to_owned(),
    ] {
        let mut shown = page(&service, &acme, &path).await;
        shown.sort_unstable();
        assert_eq!(shown, [1, 12], "{path}");
    }
    assert_eq!(page(&service, &admin, "/events").await.len(), 12);
    for n in 1..=12 {
        let status = send(&service, &acme, "GET", &format!("/events/{n}"), None)
            .await
            .0;
        assert_eq!(status, if n == 1 || n == 12 { 200 } else { 404 }, "{n}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_events_of_one_id_name_the_sources_in_sight_alone() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let events = service.database.collection::<Document>("events");
    for (source, tenant) in [
        ("/a", "acme"),
        ("/b", "acme"),
        ("/c", "other"),
        ("/d", "other"),
    ] {
        let event = doc! {"id": "x", "source": source, "type": "a", "tenant": tenant};
        events.insert_one(event).await.unwrap();
    }
    let (status, problem) = send(&service, &acme, "GET", "/events/x", None).await;
    assert_eq!((status, &problem["sources"]), (409, &json!(["/a", "/b"])));
    let (status, _) = send(&service, &acme, "GET", "/events/x?source=/c", None).await;
    assert_eq!(status, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_among_however_many_of_others() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let events = service.database.collection::<Document>("events");
    let of_others = (0..1_200).map(|n| {
        doc! {"id": "x", "source": format!("/other/{n}"), "type": "a", "tenant": "other"}
    });
    events.insert_many(of_others).await.unwrap();
    let own = doc! {"id": "x", "source": "/own", "type": "a", "tenant": "acme"};
    events.insert_one(own).await.unwrap();
    for (key, path) in [
        (&acme, "/events/x"),
        (&acme, "/events/x?source=/own"),
        (&admin, "/events/x?source=/own"),
    ] {
        // What is shown ends at the router's position.
        let found = async || {
            let (status, event) = send(&service, key, "GET", path, None).await;
            status == 200 && event["source"] == "/own"
        };
        service.until(path, found).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_stamped_and_judged() {
    let (service, admin) = start_without_policies().await;
    let policy = doc! {
        "read": {"tenant": "$claims.tenant"},
        "publish": {"tenant": "$claims.tenant", "type": {"$in": ["order.placed", "order.paid"]}},
        "stamp": {"tenant": "$claims.tenant"},
    };
    store_policy(&service, "default", policy).await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let post = async |event: Value| send(&service, &acme, "POST", "/events", Some(event)).await;
    let (status, answer) = post(json!({"id": "1", "type": "order.placed"})).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["events"][0]["source"], "/tenants/acme");
    for event in [
        json!({"type": "order.cancelled"}),
        json!({"type": "order.placed", "tenant": "other"}),
        json!({"type": "order.placed", "tenant": "acme", "source": "/tenants/other"}),
        json!({"type": "order.placed", "source": "/s"}),
    ] {
        let (status, problem) = post(event.clone()).await;
        assert_eq!(status, 403, "{event}: {problem}");
        assert_eq!(problem["type"], "/problems/forbidden", "{event}");
    }
    let (status, answer) = post(json!([
        {"id": "2", "type": "order.paid", "tenant": "acme"},
        {"id": "3", "type": "order.cancelled"},
        {"id": "4", "type": "order.paid", "source": "/tenants/acme"},
    ]))
    .await;
    assert_eq!(status, 207, "{answer}");
    let outcomes = answer["events"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes
        .map(|event| event["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["accepted", "refused", "accepted"]);
    let events = service.database.collection::<Document>("events");
    let stored = events.count_documents(doc! {"tenant": "acme", "source": "/tenants/acme"});
    assert_eq!(stored.await.unwrap(), 3);
    assert_eq!(events.count_documents(doc! {}).await.unwrap(), 3);

    // One tenant's identifiers do not make another one's events duplicates.
    let other = key_of(&service, &admin, "other", json!({})).await;
    let event = json!({"id": "1", "type": "order.placed"});
    let (status, answer) = send(&service, &other, "POST", "/events", Some(event)).await;
    assert_eq!(
        (status, &answer["duplicates"]),
        (202, &json!(0)),
        "{answer}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_stamps_the_source_says_what_events_without_one_get() {
    let (service, admin) = start_without_policies().await;
    let policy = doc! {"read": {"tenant": "$claims.tenant"}, "stamp": {"tenant": "$claims.tenant", "source": "/shop"}};
    store_policy(&service, "default", policy).await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let event = json!({"type": "a"});
    let (status, answer) = send(&service, &acme, "POST", "/events", Some(event)).await;
    assert_eq!(
        (status, &answer["events"][0]["source"]),
        (202, &json!("/shop")),
        "{answer}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_counts_from_its_place_in_the_feed_and_for_the_past_at_once() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let id = subscribe(&service, &acme).await;
    let sibling = service.sibling().await;
    let mut sockets = [
        connect(&service, &acme, &id).await,
        connect(&sibling, &acme, &id).await,
    ];
    let (_, first) = send(&service, &acme, "GET", "/events", None).await;
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    insert(&service, 1, doc! {"tenant": "acme", "level": "secret"}).await;
    insert(&service, 2, doc! {"tenant": "acme", "level": "open"}).await;
    let narrower = doc! {"read": {"tenant": "$claims.tenant", "level": "open"}};
    store_policy(&service, "default", narrower.clone()).await;
    insert(&service, 3, doc! {"tenant": "acme", "level": "secret"}).await;
    insert(&service, 4, doc! {"tenant": "acme", "level": "open"}).await;
    for socket in &mut sockets {
        assert_eq!(numbers_up_to(socket, 2).await, [1, 2]);
        assert_eq!(socket.message().await["type"], "updated");
        assert_eq!(socket.event().await["n"], 4);
    }
    // The same document again changes nothing, and nobody is told.
    store_policy(&service, "default", narrower).await;
    insert(&service, 5, doc! {"tenant": "acme", "level": "open"}).await;
    for socket in &mut sockets {
        assert_eq!(socket.message().await["event"]["data"]["n"], 5);
    }
    let path = format!("/api/v1/subscriptions/{id}/events?after={cursor}");
    let offer = format!("tidegate.v1, tidegate.bearer.{acme}");
    let mut late = Socket::open(sibling.address, &path, Some(&offer))
        .await
        .unwrap();
    assert_eq!(late.message().await["type"], "connected");
    assert_eq!(numbers_up_to(&mut late, 5).await, [2, 4, 5]);
    assert_eq!(page(&service, &acme, "/events").await, [2, 4, 5]);
    assert_eq!(
        page(&service, &acme, &format!("/subscriptions/{id}/events")).await,
        [2, 4, 5]
    );
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_that_can_be_used_nothing_is_seen_and_its_return_heals() {
    let (service, admin) = start_without_policies().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let path = |id: &str| format!("/subscriptions/{id}");
    let made = subscribe(&service, &acme).await;
    let (_, shown) = send(&service, &acme, "GET", &path(&made), None).await;
    assert_eq!(shown["status"], "invalid");
    assert!(
        shown["error"].as_str().unwrap().starts_with("#/policy"),
        "{shown}"
    );
    let refused = async |claim: Value| {
        for (method, path, body) in [
            ("GET", "/events".to_owned(), None),
            ("GET", "/events/1".to_owned(), None),
            ("GET", format!("/subscriptions/{made}/events"), None),
            ("POST", "/events".to_owned(), Some(json!({"type": "a"}))),
            (
                "POST",
                "/match".to_owned(),
                Some(json!({"filter": {}, "event": {}})),
            ),
        ] {
            let (status, problem) = send(&service, &acme, method, &path, body).await;
            assert_eq!(status, 403, "{method} {path}: {problem}");
            assert_eq!(
                problem["type"], "/problems/policy-unsatisfied",
                "{method} {path}"
            );
            assert_eq!(
                problem.get("claim").unwrap_or(&Value::Null),
                &claim,
                "{method} {path}"
            );
        }
        assert_eq!(refusal(open(&service, &acme, &made).await), 403);
        assert_eq!(send(&service, &acme, "GET", "/whoami", None).await.0, 200);
    };
    refused(Value::Null).await;
    store_policy(
        &service,
        "default",
        doc! {"read": {"region": "$claims.region"}},
    )
    .await;
    // Whatever is written after it is applied after it.
    send(
        &service,
        &acme,
        "PATCH",
        &path(&made),
        Some(json!({"name": "n"})),
    )
    .await;
    refused(json!("region")).await;
    store_policy(
        &service,
        "default",
        doc! {"read": {"tenant": "$claims.tenant"}},
    )
    .await;
    send(
        &service,
        &acme,
        "PATCH",
        &path(&made),
        Some(json!({"name": "m"})),
    )
    .await;
    let (_, shown) = send(&service, &acme, "GET", &path(&made), None).await;
    assert_eq!(shown["status"], "active", "{shown}");
    let socket = connect(&service, &acme, &made).await;
    socket.leave().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_unsatisfied_leaves_sockets_open_and_one_that_is_gone_does_not() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let made = subscribe(&service, &acme).await;
    let mut socket = connect(&service, &acme, &made).await;
    store_policy(
        &service,
        "default",
        doc! {"read": {"region": "$claims.region"}},
    )
    .await;
    insert(&service, 1, doc! {"tenant": "acme", "region": "eu"}).await;
    let told = socket.message().await;
    assert_eq!(
        (&told["type"], &told["subscription"]["status"]),
        (&json!("updated"), &json!("invalid"))
    );
    store_policy(
        &service,
        "default",
        doc! {"read": {"tenant": "$claims.tenant"}},
    )
    .await;
    insert(&service, 2, doc! {"tenant": "acme"}).await;
    assert_eq!(socket.message().await["subscription"]["status"], "active");
    assert_eq!(socket.event().await["n"], 2);
    let policies = service.database.collection::<Document>("policies");
    insert(&service, 3, doc! {"tenant": "acme"}).await;
    policies.delete_one(doc! {}).await.unwrap();
    insert(&service, 4, doc! {"tenant": "acme"}).await;
    let (messages, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4511, "forbidden"));
    assert!(
        messages.iter().all(|one| one["event"]["data"]["n"] != 4),
        "{messages:?}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_has_the_policy_and_the_values_that_the_subscription_is_bound_to() {
    let (service, admin) = start().await;
    store_policy(
        &service,
        "regional",
        doc! {"read": {"region": "$claims.region"}},
    )
    .await;
    let body = |policy: &str, claims: Value, scope: &str| json!({"scopes": [scope, "events:read"], "tenant": "acme", "policy": policy, "claims": claims});
    let eu = json!({"region": "eu", "device": "d"});
    let (_, owner) = make(&service, &admin, body("regional", eu, "subscriptions:own")).await;
    let id = subscribe(&service, &owner).await;
    let (_, shown) = send(
        &service,
        &owner,
        "GET",
        &format!("/subscriptions/{id}"),
        None,
    )
    .await;
    assert_eq!(
        (&shown["policy"], &shown["claims"], &shown["tenant"]),
        (&json!("regional"), &json!({"region": "eu"}), &json!("acme"))
    );
    let mut own = connect(&service, &owner, &id).await;
    for (policy, claims, status) in [
        ("regional", json!({"region": "eu"}), 101),
        ("regional", json!({"region": "eu", "device": "e"}), 101),
        ("regional", json!({"region": "us"}), 403),
        ("regional", json!({"region": ["eu"]}), 403),
        ("regional", json!({"region": 5}), 403),
        ("default", json!({"region": "eu"}), 403),
    ] {
        let key = make(
            &service,
            &admin,
            body(policy, claims.clone(), "subscriptions:read"),
        )
        .await
        .1;
        assert_eq!(
            refusal(open(&service, &key, &id).await),
            status,
            "{policy} {claims}"
        );
        let path = format!("/subscriptions/{id}/events");
        let expected = if status == 101 { 200 } else { 403 };
        assert_eq!(
            send(&service, &key, "GET", &path, None).await.0,
            expected,
            "{policy} {claims}"
        );
    }
    assert_eq!(refusal(open(&service, &admin, &id).await), 101);
    // The owner's claims have changed: what it changes is bound to those.
    insert(&service, 1, doc! {"region": "eu"}).await;
    assert_eq!(own.event().await["n"], 1);
    let keys = service.database.collection::<Document>("keys");
    let us = doc! {"$set": {"claims.region": "us"}};
    keys.update_one(doc! {"claims.device": "d"}, us)
        .await
        .unwrap();
    assert_eq!(own.rest().await.1.code, 4511);
    assert_eq!(refusal(open(&service, &owner, &id).await), 403);
    let rename = Some(json!({"name": "n"}));
    let (_, bound) = send(
        &service,
        &owner,
        "PATCH",
        &format!("/subscriptions/{id}"),
        rename,
    )
    .await;
    assert_eq!(bound["claims"], json!({"region": "us"}));
    let mut own = connect(&service, &owner, &id).await;
    insert(&service, 2, doc! {"region": "eu"}).await;
    insert(&service, 3, doc! {"region": "us"}).await;
    assert_eq!(own.event().await["n"], 3);
    // A program changes the binding: who does not have its values loses the socket.
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let back = doc! {"$set": {"claims": {"region": "eu"}}};
    subscriptions
        .update_one(doc! {"_id": &id}, back)
        .await
        .unwrap();
    assert_eq!(own.rest().await.1.code, 4511);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_that_the_policy_does_not_hold() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", json!({})).await;
    let id = subscribe(&service, &acme).await;
    for (event, holds) in [
        (json!({"tenant": "acme"}), true),
        (json!({"tenant": "other"}), false),
        (json!({"tenant": ["acme"]}), false),
        (json!({}), false),
    ] {
        let body = Some(json!({"filter": {}, "event": event}));
        let (_, tried) = send(&service, &acme, "POST", "/match", body).await;
        let path = format!("/subscriptions/{id}/match");
        let stored = send(
            &service,
            &acme,
            "POST",
            &path,
            Some(json!({"event": event})),
        )
        .await
        .1;
        for answer in [tried, stored] {
            assert_eq!(answer["matches"], holds, "{event} {answer}");
            assert_eq!(
                answer["policy"],
                json!({"holds": holds}),
                "{event} {answer}"
            );
            assert_eq!(answer["explain"]["holds"], true, "{event} {answer}");
        }
    }
    let body = Some(json!({"filter": {}, "event": {}}));
    let (_, tried) = send(&service, &admin, "POST", "/match", body).await;
    assert_eq!(
        (&tried["matches"], tried.get("policy")),
        (&json!(true), None)
    );
    service.stop().await;
}
