//! Row policies over REST: who they are for is tried with keys, in `tests/service/access`.

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, request, send, support::Service, with_json};

const PATH: &str = "/policies/default";

fn of_tenant() -> Value {
    json!({"read": {"tenant": "$claims.tenant"}, "stamp": {"tenant": "$claims.tenant"}})
}

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    send(with_json(service, Method::PUT, path, body)).await
}

async fn get(service: &Service, path: &str) -> Answer {
    send(request(service, Method::GET, path)).await
}

async fn delete(service: &Service, path: &str) -> Answer {
    send(request(service, Method::DELETE, path)).await
}

async fn stored(service: &Service, name: &str) -> Option<Document> {
    let policies = service.database.collection::<Document>("policies");
    policies.find_one(doc! {"_id": name}).await.unwrap()
}

#[tokio::test]
async fn a_policy_is_created_shown_replaced_and_deleted() {
    let service = Service::start().await;
    let missing = get(&service, PATH).await;
    assert_eq!(missing.status, 404);
    missing.problem("policy-not-found");

    let created = put(&service, PATH, &of_tenant()).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), "/api/v1/policies/default");
    let mut expected = of_tenant();
    expected["id"] = "default".into();
    expected["warnings"] = json!([]);
    assert_eq!(created.json(), expected);
    assert_eq!(
        stored(&service, "default").await.unwrap(),
        doc! {"_id": "default", "read": {"tenant": "$claims.tenant"}, "stamp": {"tenant": "$claims.tenant"}}
    );
    let shown = get(&service, PATH).await;
    assert_eq!((shown.status, shown.json()), (200, expected.clone()));
    assert_eq!(shown.header("etag"), created.header("etag"));

    // What was shown can be changed and sent back whole.
    expected["read"]["level"] = json!({"$in": [1, 2]});
    let replaced = put(&service, PATH, &expected).await;
    assert_eq!((replaced.status, replaced.json()), (200, expected.clone()));
    assert_eq!(replaced.header("location"), "");
    assert_ne!(replaced.header("etag"), created.header("etag"));
    let again = put(&service, PATH, &expected).await;
    assert_eq!(again.header("etag"), replaced.header("etag"));

    assert_eq!(delete(&service, PATH).await.status, 204);
    let gone = delete(&service, PATH).await;
    assert_eq!(gone.status, 404);
    gone.problem("policy-not-found");
    assert_eq!(stored(&service, "default").await, None);
}

#[tokio::test]
async fn names_of_policies_are_escaped_in_their_addresses_and_bounded() {
    let service = Service::start().await;
    let created = put(&service, "/policies/a%2Fb%20%C3%BC", &of_tenant()).await;
    assert_eq!(created.status, 201, "{created:?}");
    let location = created.header("location");
    assert_eq!(location, "/api/v1/policies/a%2Fb%20%C3%BC");
    let shown = get(&service, location.strip_prefix("/api/v1").unwrap()).await;
    assert_eq!(shown.json()["id"], "a/b ü");
    let long = format!("/policies/{}", "x".repeat(300));
    let refused = put(&service, &long, &of_tenant()).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.problem("invalid-request"), ["id"]);
}

#[tokio::test]
async fn a_write_of_a_policy_depends_on_the_state_that_was_seen() {
    let service = Service::start().await;
    let put = async |name: &str, value: &str, more: i32| {
        let mut body = of_tenant();
        body["read"]["n"] = more.into();
        let put = with_json(&service, Method::PUT, PATH, &body);
        send(put.header(name, value)).await
    };
    assert_eq!(put("if-match", "*", 1).await.status, 412);
    assert_eq!(put("if-none-match", "*", 1).await.status, 201);
    let refused = put("if-none-match", "*", 2).await;
    assert_eq!(refused.status, 412);
    assert_eq!(refused.problem("precondition-failed"), ["If-None-Match"]);
    let seen = get(&service, PATH).await.header("etag").to_owned();
    assert_eq!(put("if-match", &seen, 2).await.status, 200);
    let refused = put("if-match", &seen, 3).await;
    assert_eq!(refused.problem("precondition-failed"), ["If-Match"]);
    assert_eq!(put("if-match", "nonsense", 4).await.status, 400);

    let now = get(&service, PATH).await.header("etag").to_owned();
    for (name, value, status) in [
        ("if-none-match", &now, 304),
        ("if-none-match", &seen, 200),
        ("if-match", &now, 200),
        ("if-match", &seen, 412),
    ] {
        let read = request(&service, Method::GET, PATH).header(name, value);
        assert_eq!(send(read).await.status, status, "{name} {value}");
    }
    // A change that a program made counts.
    let policies = service.database.collection::<Document>("policies");
    let update = doc! {"$set": {"read.level": 1}};
    let default = doc! {"_id": "default"};
    policies.update_one(default, update).await.unwrap();
    for (value, status) in [(now.as_str(), 412), ("*", 204), ("*", 404)] {
        let delete = request(&service, Method::DELETE, PATH).header("if-match", value);
        assert_eq!(send(delete).await.status, status, "{value}");
    }
}

#[tokio::test]
async fn what_is_no_policy_is_refused_with_its_place_and_nothing_is_stored() {
    let service = Service::start().await;
    for (body, pointer) in [
        (json!({}), "#/read"),
        (json!({"read": 5}), "#/read"),
        (json!({"read": {"tenant": "$claims."}}), "#/read/tenant"),
        (json!({"read": {"a/b": {"$size": 1}}}), "#/read/a~1b/$size"),
        (
            json!({"read": {"$or": [{"a": 1}, {"b": "x$claims.y", "c": {"$foo": 1}}]}}),
            "#/read/$or/1/b",
        ),
        (json!({"read": {}, "pubilsh": {}}), "#/pubilsh"),
        (json!({"read": {}, "publish": null}), "#/publish"),
        (json!({"read": {}, "stamp": {"_id": 1}}), "#/stamp/_id"),
        (
            json!({"read": {}, "sources": {"orders": {}}}),
            "#/sources/orders/read",
        ),
        (json!({"read": {}, "_id": "default"}), "#/_id"),
    ] {
        let refused = put(&service, PATH, &body).await;
        assert_eq!(refused.status, 422, "{body}");
        let pointers = refused.problem("policy-invalid");
        assert_eq!(pointers, [pointer], "{body}: {refused:?}");
    }
    for (body, slug, status) in [
        ("{\"read\": {}, \"read\": {}}", "malformed-json", 400),
        ("[]", "invalid-request", 422),
        ("{\"id\": \"other\", \"read\": {}}", "invalid-request", 422),
    ] {
        let request = request(&service, Method::PUT, PATH);
        let request = request.header("content-type", "application/json");
        let refused = send(request.body(body)).await;
        assert_eq!(refused.status, status, "{body}");
        refused.problem(slug);
    }
    let large = json!({"read": {"a": "x".repeat(300 << 10)}});
    let refused = put(&service, PATH, &large).await;
    assert_eq!(refused.status, 413);
    refused.problem("too-large");
    assert_eq!(stored(&service, "default").await, None);
}

#[tokio::test]
async fn warnings_say_what_is_perhaps_not_meant_and_errors_what_is_of_no_use() {
    let service = Service::start().await;
    let pointers = |answer: &Value| -> Vec<String> {
        let warnings = answer["warnings"].as_array().unwrap().iter();
        let texts = warnings.map(|one| one["pointer"].as_str().unwrap().to_owned());
        texts.collect()
    };
    let body = json!({"read": {"region": {"$ne": "$claims.region"}}, "publish": {"tenant": "$claims.tenant"}});
    let created = put(&service, PATH, &body).await.json();
    assert_eq!(
        pointers(&created),
        ["#/read", "#/read/region/$ne", "#/publish"]
    );
    assert_eq!(get(&service, PATH).await.json(), created);
    let open = put(&service, "/policies/open", &json!({"read": {}})).await;
    assert_eq!(pointers(&open.json()), ["#/read"]);

    let policies = service.database.collection::<Document>("policies");
    let broken = doc! {"_id": "broken", "read": {"a": {"$all": [1]}}};
    policies.insert_one(broken).await.unwrap();
    let shown = get(&service, "/policies/broken").await.json();
    assert_eq!(shown["error"]["pointer"], "#/read/a/$all", "{shown}");
    assert_eq!(shown["read"], json!({"a": {"$all": [1]}}));
}

#[tokio::test]
async fn policies_are_listed_by_name_page_by_page() {
    let service = Service::start().await;
    for name in ["c", "a", "e", "b", "d"] {
        let path = format!("/policies/{name}");
        assert_eq!(put(&service, &path, &of_tenant()).await.status, 201);
    }
    let policies = service.database.collection::<Document>("policies");
    // No policy has this name.
    let other = doc! {"_id": 5, "read": {}};
    policies.insert_one(other).await.unwrap();
    let mut names = Vec::new();
    let mut path = "/policies?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = get(&service, &path).await.json();
        let items = page["items"].as_array().unwrap().clone();
        names.extend(
            items
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(next) => path = format!("/policies?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((names.concat().as_str(), pages), ("abcde", 3));
    let whole = get(&service, "/policies").await.json();
    assert_eq!(whole["items"].as_array().unwrap().len(), 5);
    assert_eq!(whole["nextCursor"], Value::Null);
    let refused = get(&service, "/policies?cursor=x").await;
    assert_eq!(refused.problem("bad-cursor"), ["cursor"]);
}

async fn try_it(service: &Service, body: Value) -> Value {
    let path = format!("{PATH}/match");
    let answer = send(with_json(service, Method::POST, &path, &body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_dry_run_says_what_a_caller_would_get_and_why() {
    let service = Service::start().await;
    let body = json!({"read": {"tenant": "$claims.tenant", "region": {"$in": "$claims.regions"}},
        "sources": {"orders": {"read": {"customer": "$claims.tenant"}}}});
    assert_eq!(put(&service, PATH, &body).await.status, 201);
    let claims = json!({"tenant": "acme", "regions": ["eu", "us"]});
    let event = json!({"tenant": "acme", "region": "eu", "data": {"n": 5}});
    let tried = try_it(&service, json!({"claims": claims, "event": event})).await;
    assert_eq!(
        (&tried["matches"], &tried["policy"]["holds"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(tried.get("explain"), None);
    assert_eq!(tried["policy"]["explain"]["pointer"], "#/query/$and");
    let text = tried["query"].to_string();
    assert!(
        text.contains(r#""acme""#) && text.contains(r#"["eu","us"]"#),
        "{text}"
    );

    for (filter, event, holds, wanted) in [
        (json!({"data.n": 5}), event.clone(), true, true),
        (json!({"data.n": 6}), event.clone(), true, false),
        (
            json!({}),
            json!({"tenant": "other", "region": "eu"}),
            false,
            true,
        ),
        (
            json!({}),
            json!({"tenant": ["acme"], "region": "eu"}),
            false,
            true,
        ),
        (json!({}), json!({"tenant": "acme"}), false, true),
    ] {
        let body = json!({"claims": claims, "event": event, "filter": filter});
        let tried = try_it(&service, body.clone()).await;
        assert_eq!(tried["matches"], holds && wanted, "{body}: {tried}");
        assert_eq!(tried["policy"]["holds"], holds, "{body}: {tried}");
        assert_eq!(
            tried["policy"]["explain"]["holds"], holds,
            "{body}: {tried}"
        );
        assert_eq!(tried["explain"]["holds"], wanted, "{body}: {tried}");
        let pointer = tried["explain"]["pointer"].as_str().unwrap();
        assert!(pointer.starts_with("#/filter"), "{tried}");
    }

    let order = json!({"customer": "acme"});
    let of_source = |name: &str| json!({"claims": claims, "event": order, "source": name});
    let tried = try_it(&service, of_source("orders")).await;
    assert_eq!(tried["matches"], true, "{tried}");
    let none = try_it(&service, of_source("invoices")).await;
    assert_eq!(
        none,
        json!({"matches": false, "unsatisfied": {"source": "invoices"}})
    );
}

#[tokio::test]
async fn a_dry_run_tells_claims_that_do_not_satisfy_and_policies_that_are_of_no_use() {
    let service = Service::start().await;
    let body = json!({"read": {"tenant": "$claims.tenant", "region": "$claims.region"}});
    assert_eq!(put(&service, PATH, &body).await.status, 201);
    for (claims, lacks) in [
        (json!({"region": "eu"}), "tenant"),
        (json!({"tenant": "acme"}), "region"),
        (json!({"tenant": "acme", "region": null}), "region"),
        (json!({"tenant": "acme", "region": ""}), "region"),
        (json!({"tenant": "acme", "region": ["eu"]}), "region"),
        (json!({"tenant": "acme", "region": {"$gt": ""}}), "region"),
    ] {
        let body = json!({"claims": claims, "event": {"tenant": "acme", "region": "eu"}});
        let tried = try_it(&service, body).await;
        let expected = json!({"matches": false, "unsatisfied": {"claim": lacks}});
        assert_eq!(tried, expected, "{claims}");
    }
    let path = format!("{PATH}/match");
    for (body, pointer) in [
        (json!({"claims": {}}), "#/event"),
        (
            json!({"claims": {"tenant": 5}, "event": {}}),
            "#/claims/tenant",
        ),
        (
            json!({"claims": {}, "event": {}, "filter": {"a": {"$foo": 1}}}),
            "#/filter/a/$foo",
        ),
        (json!({"claims": {}, "event": {}, "x": 1}), "#/x"),
    ] {
        let refused = send(with_json(&service, Method::POST, &path, &body)).await;
        assert_eq!(refused.problem("invalid-request"), [pointer], "{body}");
    }
    let body = json!({"claims": {}, "event": {}});
    let missing = send(with_json(
        &service,
        Method::POST,
        "/policies/none/match",
        &body,
    ))
    .await;
    missing.problem("policy-not-found");

    let policies = service.database.collection::<Document>("policies");
    let broken = doc! {"_id": "broken", "read": {"a": {"$all": [1]}}};
    policies.insert_one(broken).await.unwrap();
    let tried = send(with_json(
        &service,
        Method::POST,
        "/policies/broken/match",
        &body,
    ))
    .await;
    let tried = tried.json();
    assert_eq!(tried["matches"], false);
    assert_eq!(tried["error"]["pointer"], "#/read/a/$all", "{tried}");
}
