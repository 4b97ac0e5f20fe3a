//! Bindings: whose a new subscription is, and who may say so.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{make, send, start, store_policy, subscribe};
use crate::support::Service;

/// Makes a key of a tenant with these scopes. Returns its owner name and its text.
async fn key_of(
    service: &Service,
    admin: &str,
    tenant: Option<&str>,
    scopes: &[&str],
) -> (String, String) {
    let body = json!({"scopes": scopes, "tenant": tenant});
    let (id, key) = make(service, admin, body).await;
    (format!("key:{id}"), key)
}

async fn stored(service: &Service, id: &str) -> Document {
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let found = subscriptions.find_one(doc! {"_id": id}).await.unwrap();
    found.unwrap()
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|error| error["pointer"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_creates_is_its_own_however_it_is_created() {
    let (service, admin) = start().await;
    let (owner, key) = key_of(&service, &admin, Some("acme"), &["subscriptions:own"]).await;
    let one = subscribe(&service, &key).await;
    let items = json!([{"filter": {}}, {"filter": {}, "tenant": "acme", "owner": owner},
        {"filter": {}, "tenant": "other"}, {"filter": {}, "owner": "me"}]);
    let (status, batch) = send(&service, &key, "POST", "/subscriptions/batch", Some(items)).await;
    assert_eq!(status, 207, "{batch}");
    let made = batch["items"].as_array().unwrap();
    assert_eq!(pointers(&made[2]["problem"]), ["#/2/tenant"]);
    assert_eq!(pointers(&made[3]["problem"]), ["#/3/owner"]);
    let put = Some(json!({"filter": {}}));
    let (status, _) = send(&service, &key, "PUT", "/subscriptions/acme:x", put).await;
    assert_eq!(status, 201);
    let id = |item: &Value| item["subscription"]["id"].as_str().unwrap().to_owned();
    for id in [one, id(&made[0]), id(&made[1]), "acme:x".to_owned()] {
        let document = stored(&service, &id).await;
        assert_eq!(document.get_str("tenant").unwrap(), "acme", "{document}");
        assert_eq!(document.get_str("owner").unwrap(), owner, "{document}");
        let path = format!("/subscriptions/{id}");
        let (status, shown) = send(&service, &key, "GET", &path, None).await;
        assert_eq!((status, &shown["tenant"]), (200, &json!("acme")));
        assert_eq!(shown.get("warnings"), None, "{shown}");
        // An answer may be sent back whole.
        let (status, same) = send(&service, &key, "PUT", &path, Some(shown.clone())).await;
        assert_eq!((status, &same), (200, &shown));
    }
    for (field, value) in [
        ("tenant", json!("other")),
        ("tenant", Value::Null),
        ("policy", json!("other")),
        ("claims", json!({"a": 1})),
        ("owner", json!("other")),
        ("owner", Value::Null),
    ] {
        for (method, path) in [
            ("POST", "/subscriptions"),
            ("PUT", "/subscriptions/acme:x"),
            ("PUT", "/subscriptions/acme:new"),
            ("PATCH", "/subscriptions/acme:x"),
        ] {
            let body = Some(json!({"filter": {}, field: value}));
            let (status, problem) = send(&service, &key, method, path, body).await;
            assert_eq!(status, 422, "{method} {path} {field}: {problem}");
            assert_eq!(
                pointers(&problem),
                [format!("#/{field}")],
                "{method} {path}"
            );
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_bind_and_what_they_replace_stays_whose_it_is() {
    let (service, admin) = start().await;
    store_policy(&service, "p", doc! {"read": {"region": "$claims.region"}}).await;
    let (_, acme) = key_of(&service, &admin, Some("acme"), &["subscriptions:read"]).await;
    let body = json!({"filter": {}, "tenant": "acme", "policy": "p", "owner": "ann",
        "claims": {"region": "eu", "levels": [1, 2], "ratio": 0.5, "paid": true}});
    let path = "/subscriptions/theirs";
    let (status, made) = send(&service, &admin, "PUT", path, Some(body.clone())).await;
    assert_eq!(status, 201, "{made}");
    for field in ["tenant", "policy", "owner", "claims"] {
        assert_eq!(made[field], body[field], "{field}");
    }
    let (status, shown) = send(&service, &acme, "GET", path, None).await;
    assert_eq!((status, &shown), (200, &made));
    let rename = Some(json!({"filter": {}, "name": "n"}));
    let (_, replaced) = send(&service, &admin, "PUT", path, rename).await;
    for field in ["tenant", "policy", "owner", "claims"] {
        assert_eq!(replaced[field], body[field], "{field}");
    }
    let same =
        Some(json!({"claims": {"paid": true, "ratio": 0.5, "levels": [1, 2], "region": "eu"}}));
    let (_, unchanged) = send(&service, &admin, "PATCH", path, same).await;
    assert_eq!(unchanged["revision"], replaced["revision"]);
    let away = Some(json!({"tenant": "other", "policy": null, "claims": null}));
    let (status, moved) = send(&service, &admin, "PATCH", path, away).await;
    assert_eq!((status, &moved["tenant"]), (200, &json!("other")));
    assert_eq!((moved.get("policy"), moved.get("claims")), (None, None));
    assert_eq!(send(&service, &acme, "GET", path, None).await.0, 404);
    for (field, value) in [
        ("tenant", json!("a:b")),
        ("tenant", json!("")),
        ("tenant", json!(["acme"])),
        ("policy", json!(5)),
        ("claims", json!([])),
        ("claims", json!({"a": {"$gt": 1}})),
        ("claims", json!({"a": null})),
        ("claims", json!({"a": ""})),
        ("claims", json!({"a": [[1]]})),
    ] {
        let (status, problem) =
            send(&service, &admin, "PATCH", path, Some(json!({field: value}))).await;
        assert_eq!(status, 422, "{field} {value}: {problem}");
        assert!(
            pointers(&problem)[0].starts_with(&format!("#/{field}")),
            "{problem}"
        );
    }
    // A plain operator's own binds nothing but its owner.
    let own = subscribe(&service, &admin).await;
    let own = stored(&service, &own).await;
    assert!(
        own.get_str("owner").unwrap().starts_with("key:key_"),
        "{own}"
    );
    assert!(
        !own.contains_key("tenant") && !own.contains_key("claims"),
        "{own}"
    );
    service.stop().await;
}

/// A key of an operator may name a policy, for support of one region for example. It must not get out of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_operator_stays_within_its_policy() {
    let (service, admin) = start().await;
    store_policy(&service, "p", doc! {"read": {"region": "$claims.region"}}).await;
    let scopes = ["subscriptions:write", "events:read"];
    let narrow = json!({"scopes": scopes, "policy": "p", "claims": {"region": "eu"}});
    let (_, narrowed) = make(&service, &admin, narrow.clone()).await;
    let (_, alike) = make(&service, &admin, narrow).await;
    let (_, free) = make(&service, &admin, json!({"scopes": scopes})).await;
    let own = subscribe(&service, &narrowed).await;
    let document = stored(&service, &own).await;
    assert_eq!(document.get_str("policy").unwrap(), "p", "{document}");
    let claims = doc! {"region": "eu"};
    assert_eq!(document.get_document("claims").unwrap(), &claims);
    let others = subscribe(&service, &admin).await;
    for (field, value) in [
        ("policy", Value::Null),
        ("policy", json!("q")),
        ("claims", json!({"region": "us"})),
        ("tenant", json!("acme")),
    ] {
        for (method, path) in [
            ("POST", "/subscriptions".to_owned()),
            ("PUT", "/subscriptions/new".to_owned()),
            ("PUT", format!("/subscriptions/{own}")),
            ("PATCH", format!("/subscriptions/{own}")),
            ("PATCH", format!("/subscriptions/{others}")),
        ] {
            let same = value.is_null() && path.ends_with(&others);
            let body = Some(json!({"filter": {}, field: value}));
            let (status, problem) = send(&service, &narrowed, method, &path, body).await;
            let expected = if same { 200 } else { 422 };
            assert_eq!(
                status, expected,
                "{method} {path} {field} {value}: {problem}"
            );
        }
    }
    // What another one receives that its policy hides, it does not get by attaching.
    for (key, id, status) in [
        (&narrowed, &own, 200),
        (&alike, &own, 200),
        (&narrowed, &others, 403),
        (&free, &own, 200),
        (&free, &others, 200),
        (&admin, &own, 200),
    ] {
        let path = format!("/subscriptions/{id}/events");
        let (answered, problem) = send(&service, key, "GET", &path, None).await;
        assert_eq!(answered, status, "{id}: {problem}");
    }
    // Whoever may change policies needs no way around one.
    let strong = json!({"scopes": ["admin"], "policy": "p", "claims": {"region": "eu"}});
    let (_, strong) = make(&service, &admin, strong).await;
    let body = Some(json!({"policy": null, "claims": null}));
    let path = format!("/subscriptions/{own}");
    let (status, changed) = send(&service, &strong, "PATCH", &path, body).await;
    assert_eq!((status, changed.get("policy")), (200, None), "{changed}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_binding_of_a_wrong_type_is_a_fault_and_a_replacement_heals_it() {
    let (service, admin) = start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for (field, value) in [
        ("tenant", bson::Bson::from(5)),
        ("policy", vec!["p"].into()),
        ("claims", "none".into()),
    ] {
        let mut document = doc! {"_id": field, "filter": {}};
        document.insert(field, value);
        subscriptions.insert_one(document).await.unwrap();
        let path = format!("/subscriptions/{field}");
        let (_, shown) = send(&service, &admin, "GET", &path, None).await;
        let error = shown["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("#/{field}")), "{shown}");
        let (_, healed) = send(&service, &admin, "PUT", &path, Some(json!({"filter": {}}))).await;
        assert_eq!(healed["status"], "active", "{healed}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_ones_own_begins_with_the_tenant_and_no_other_is_tried() {
    let (service, admin) = start().await;
    let (_, acme) = key_of(&service, &admin, Some("acme"), &["subscriptions:write"]).await;
    let (_, other) = key_of(&service, &admin, Some("other"), &["subscriptions:write"]).await;
    let put = async |key: &str, id: &str, body: Value| {
        send(
            &service,
            key,
            "PUT",
            &format!("/subscriptions/{id}"),
            Some(body),
        )
        .await
    };
    let sound = || json!({"filter": {}});
    assert_eq!(put(&other, "other:x", sound()).await.0, 201);
    assert_eq!(put(&admin, "theirs", sound()).await.0, 201);
    // A program took an id of the tenant, and forgot to say so.
    assert_eq!(put(&admin, "acme:taken", sound()).await.0, 201);
    let refused = put(&acme, "free", sound()).await;
    assert_eq!(refused.0, 422);
    assert_eq!(refused.1["errors"][0]["parameter"], "id", "{}", refused.1);
    for id in [
        "other:x",
        "other:free",
        "theirs",
        "acme",
        "acmex:y",
        "Acme:x",
        "acme:taken",
    ] {
        assert_eq!(put(&acme, id, sound()).await, refused, "{id}");
    }
    assert_eq!(put(&acme, "theirs", json!({"filter": 5})).await, refused);
    assert_eq!(put(&acme, "acme:", sound()).await.0, 201);
    assert_eq!(put(&acme, "acme:other:x", sound()).await.0, 201);
    assert_eq!(
        put(&acme, "acme:other:x", json!({"filter": {}, "name": "n"}))
            .await
            .0,
        200
    );
    let bound = json!({"scopes": ["subscriptions:write"], "tenant": "acme",
        "subscriptions": ["acme:one"]});
    let (_, bound) = make(&service, &admin, bound).await;
    assert_eq!(put(&bound, "acme:two", sound()).await.0, 403);
    assert_eq!(put(&bound, "acme:one", sound()).await.0, 201);
    let (status, _) = send(&service, &bound, "POST", "/subscriptions", Some(sound())).await;
    assert_eq!(status, 403);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_repeats_is_its_callers_alone() {
    let (service, admin) = start().await;
    let scopes = ["subscriptions:own"];
    let (_, acme) = key_of(&service, &admin, Some("acme"), &scopes).await;
    let (_, colleague) = key_of(&service, &admin, Some("acme"), &scopes).await;
    let (_, other) = key_of(&service, &admin, Some("other"), &scopes).await;
    let mut ids = Vec::new();
    for (path, body) in [
        ("/subscriptions", json!({"filter": {}})),
        ("/subscriptions/batch", json!([{"filter": {}}])),
    ] {
        for key in [&acme, &other, &colleague, &admin] {
            let mut answers = Vec::new();
            for _ in 0..2 {
                let request = service.http.post(service.url(path)).bearer_auth(key);
                let request = request.header("idempotency-key", format!("once-{}", path.len()));
                let answer = request.json(&body).send().await.unwrap();
                assert!(answer.status().is_success());
                answers.push(answer.json::<Value>().await.unwrap());
            }
            assert_eq!(answers[0], answers[1]);
            let made = answers[0]
                .get("items")
                .map_or(&answers[0], |items| &items[0]["subscription"]);
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    let kept = service.database.collection::<Document>("idempotency");
    for id in kept.distinct("_id", doc! {}).await.unwrap() {
        let id = id.as_str().unwrap();
        assert!(id.len() == 64 && !id.contains("once"), "{id}");
    }
    service.stop().await;
}
