//! The audit: each act leaves one entry, in one transaction with it, and operators read it.

use std::{collections::BTreeSet, process::Command, time::Duration};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tidegate::{config::Auth, mongod::Mongod};

use super::{make, send, start, start_without_policies};
use crate::support::{Service, admin_key, options};

/// Returns the stored entries on a target, oldest first.
pub(super) async fn entries(service: &Service, target: &str) -> Vec<Document> {
    let audit = service.database.collection::<Document>("audit");
    let find = audit
        .find(doc! {"target": target})
        .sort(doc! {"at": 1, "_id": 1});
    find.await.unwrap().try_collect().await.unwrap()
}

pub(super) fn acts(entries: &[Document]) -> Vec<&str> {
    entries.iter().map(|e| e.get_str("act").unwrap()).collect()
}

pub(super) fn changed(entry: &Document) -> BTreeSet<&str> {
    let names = entry.get_array("changed").unwrap().iter();
    names.map(|name| name.as_str().unwrap()).collect()
}

pub(super) async fn count(service: &Service) -> u64 {
    let audit = service.database.collection::<Document>("audit");
    audit.count_documents(doc! {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_on_a_key_leaves_one_entry() {
    let (service, admin) = start_without_policies().await;
    let body = json!({"scopes": ["keys:write", "events:read"], "tenant": "acme"});
    let (maker, maker_text) = make(&service, &admin, body).await;
    let request = service.http.post(service.url("/keys"));
    let request = request
        .bearer_auth(&maker_text)
        .header("x-request-id", "r-1");
    let body = json!({"name": "a secret name", "scopes": ["events:read"]});
    let made: Value = request
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = made["id"].as_str().unwrap();
    let path = format!("/keys/{id}");
    let change = json!({"name": "other", "networks": ["10.0.0.0/8"], "origins": null});
    let patched = send(&service, &admin, "PATCH", &path, Some(change)).await;
    assert_eq!(patched.0, 200, "{}", patched.1);
    assert_eq!(
        send(&service, &maker_text, "PATCH", &path, Some(json!({})))
            .await
            .0,
        200
    );
    assert_eq!(
        send(&service, &maker_text, "DELETE", &path, None).await.0,
        204
    );
    assert_eq!(
        send(&service, &maker_text, "DELETE", &path, None).await.0,
        404
    );

    let all = entries(&service, id).await;
    assert_eq!(acts(&all), ["key.create", "key.update", "key.delete"]);
    for (entry, by) in all.iter().zip(["acme", "", "acme"]) {
        let actor = entry.get_document("actor").unwrap();
        assert_eq!(actor.get_str("kind").unwrap(), "key", "{entry}");
        assert_eq!(actor.get_str("tenant").unwrap_or_default(), by, "{entry}");
        assert!(
            actor.get_str("remote").unwrap().starts_with("127.0.0.1:"),
            "{entry}"
        );
        assert_eq!(entry.get_str("tenant").unwrap(), "acme");
        assert_eq!(entry.get_str("outcome").unwrap(), "ok");
        assert!(
            entry.get_datetime("at").is_ok() && entry.get_str("request").is_ok(),
            "{entry}"
        );
    }
    let actor = |n: usize| all[n].get_document("actor").unwrap().get_str("id").unwrap();
    assert_eq!((actor(0), actor(2)), (&*maker, &*maker));
    assert_eq!(all[0].get_str("request").unwrap(), "r-1");
    let created = changed(&all[0]);
    assert!(
        created.is_superset(&["name", "scopes", "tenant", "hash"].into()),
        "{created:?}"
    );
    assert_eq!(changed(&all[1]), ["name", "networks", "origins"].into());
    assert!(changed(&all[2]).is_empty());
    let text = format!("{all:?}");
    for secret in [
        made["key"].as_str().unwrap(),
        &admin,
        &maker_text,
        "a secret name",
        "10.0.0",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_on_a_policy_leaves_one_entry_and_a_refused_act_leaves_none() {
    let (service, admin) = start_without_policies().await;
    let (_, weak) = make(
        &service,
        &admin,
        json!({"scopes": ["keys:write"], "tenant": "acme"}),
    )
    .await;
    let (strong, _) = make(
        &service,
        &admin,
        json!({"scopes": ["metrics"], "tenant": "acme"}),
    )
    .await;
    let (_, ends) = make(
        &service,
        &admin,
        json!({"scopes": ["keys:write"], "tenant": "acme", "expiresAt": "2100-01-01T00:00:00Z"}),
    )
    .await;
    let read = json!({"read": {"tenant": "$claims.tenant", "note": "hidden"}});
    let stamped = json!({"read": read["read"], "stamp": {"tenant": "$claims.tenant"}});
    for (method, body, status) in [
        ("PUT", Some(read.clone()), 201),
        ("PUT", Some(stamped), 200),
        ("DELETE", None, 204),
        ("DELETE", None, 404),
    ] {
        let done = send(&service, &admin, method, "/policies/rows", body).await;
        assert_eq!(done.0, status, "{}", done.1);
    }
    let all = entries(&service, "rows").await;
    assert_eq!(
        acts(&all),
        ["policy.create", "policy.replace", "policy.delete"]
    );
    assert_eq!(changed(&all[0]), ["read"].into());
    assert_eq!(changed(&all[1]), ["stamp"].into());
    assert!(
        all.iter()
            .all(|entry| entry.get("tenant") == Some(&Bson::Null))
    );
    assert!(!format!("{all:?}").contains("hidden"));

    let before = count(&service).await;
    let path = format!("/keys/{strong}");
    let later = json!({"expiresAt": "2150-01-01T00:00:00Z"});
    for (key, method, path, body, status) in [
        (
            &weak,
            "POST",
            "/keys",
            Some(json!({"scopes": ["metrics"]})),
            403,
        ),
        (
            &weak,
            "POST",
            "/keys",
            Some(json!({"scopes": ["nonsense"]})),
            422,
        ),
        (&weak, "PATCH", &*path, Some(json!({"name": "x"})), 403),
        (&weak, "DELETE", &*path, None, 403),
        (&ends, "PATCH", &*path, Some(later), 403),
        (&weak, "PUT", "/policies/rows", Some(read.clone()), 403),
        (
            &admin,
            "PUT",
            "/policies/rows",
            Some(json!({"read": 5})),
            422,
        ),
        (&admin, "DELETE", "/keys/key_none", None, 404),
    ] {
        let refused = send(&service, key, method, path, body).await;
        assert_eq!(refused.0, status, "{method} {path}: {}", refused.1);
    }
    let put = service
        .http
        .put(service.url("/policies/rows"))
        .bearer_auth(&admin);
    let put = put
        .header("if-match", "\"other\"")
        .json(&read)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 412);
    assert_eq!(count(&service).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_on_a_revocation_leaves_one_entry() {
    let (service, admin) = start_without_policies().await;
    let body = json!({"tenant": "nobody", "reason": "has left in anger"});
    let made = send(&service, &admin, "POST", "/revocations", Some(body)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let id = made.1["id"].as_str().unwrap();
    let path = format!("/revocations/{id}");
    for status in [204, 404] {
        let deleted = send(&service, &admin, "DELETE", &path, None).await;
        assert_eq!(deleted.0, status);
    }
    let all = entries(&service, id).await;
    assert_eq!(acts(&all), ["revocation.create", "revocation.delete"]);
    assert_eq!(changed(&all[0]), ["tenant", "reason"].into());
    assert!(
        all.iter()
            .all(|entry| entry.get_str("tenant").unwrap() == "nobody")
    );
    assert!(!format!("{all:?}").contains("anger"));
    let before = count(&service).await;
    let refused = send(&service, &admin, "POST", "/revocations", Some(json!({}))).await;
    assert_eq!(refused.0, 422, "{}", refused.1);
    assert_eq!(count(&service).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_on_the_database_is_audited_too() {
    let (service, _) = start_without_policies().await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(arguments)
            .args(["--database", &service.config.database])
            .env("TIDEGATE_MONGODB_URI", &service.config.mongodb_uri);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let made = run(&[
        "key", "create", "--scope", "metrics", "--tenant", "acme", "--json",
    ]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["id"].as_str().unwrap();
    run(&["key", "delete", id]);
    let all = entries(&service, id).await;
    assert_eq!(acts(&all), ["key.create", "key.delete"]);
    for entry in &all {
        let actor =
            doc! {"kind": "operator", "id": Bson::Null, "tenant": Bson::Null, "remote": Bson::Null};
        assert_eq!(entry.get_document("actor").unwrap(), &actor);
        assert_eq!(entry.get_str("tenant").unwrap(), "acme");
        assert_eq!(entry.get("request"), Some(&Bson::Null));
    }
    service.stop().await;
}

/// Returns everything that an act changes, and the audit.
async fn everything(service: &Service) -> Vec<Vec<Document>> {
    let mut all = Vec::new();
    for name in ["keys", "policies", "revocations", "subscriptions", "audit"] {
        let collection = service.database.collection::<Document>(name);
        let stored = collection.find(doc! {}).sort(doc! {"_id": 1});
        all.push(stored.await.unwrap().try_collect().await.unwrap());
    }
    all
}

/// Lists one of each act: with the path of a key, the policy `rows`, the revocation `r` and the subscription `stored`.
fn writes(key: &str) -> [(&str, &str, Option<Value>); 14] {
    let policy = |a: i32| Some(json!({"read": {"a": a}}));
    let filter = |a: i32| json!({"filter": {"a": a}});
    [
        ("POST", "/keys", Some(json!({"scopes": ["metrics"]}))),
        ("PATCH", key, Some(json!({"name": "new"}))),
        ("DELETE", key, None),
        ("PUT", "/policies/new", policy(1)),
        ("PUT", "/policies/rows", policy(2)),
        ("DELETE", "/policies/rows", None),
        ("POST", "/revocations", Some(json!({"tenant": "nobody"}))),
        ("DELETE", "/revocations/r", None),
        ("POST", "/subscriptions", Some(filter(1))),
        ("POST", "/subscriptions/batch", Some(json!([filter(1)]))),
        ("PUT", "/subscriptions/new", Some(filter(1))),
        ("PUT", "/subscriptions/stored", Some(filter(2))),
        (
            "PATCH",
            "/subscriptions/stored",
            Some(json!({"name": "new"})),
        ),
        ("DELETE", "/subscriptions/stored", None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_cannot_be_audited_is_not_done() {
    const NAME: &str = "unaudited";
    let mongod = Mongod::start(options()).await.unwrap();
    let uri = mongod.uri();
    let service = Service::start_with(|config| {
        config.mongodb_uri = format!("{uri}&appName={NAME}");
        config.auth = Auth::Required;
        config.limits.database_timeout = Duration::from_secs(1);
    })
    .await;
    let admin = admin_key(&service.config);
    let (id, _) = make(&service, &admin, json!({"scopes": ["metrics"]})).await;
    let policy = json!({"read": {"a": 1}});
    let put = send(&service, &admin, "PUT", "/policies/rows", Some(policy)).await;
    assert_eq!(put.0, 201, "{}", put.1);
    let revocations = service.database.collection::<Document>("revocations");
    let revocation = doc! {"_id": "r", "tenant": "somebody"};
    revocations.insert_one(revocation).await.unwrap();
    let stored = json!({"filter": {}, "name": "old"});
    let put = send(
        &service,
        &admin,
        "PUT",
        "/subscriptions/stored",
        Some(stored),
    )
    .await;
    assert_eq!(put.0, 201, "{}", put.1);
    let before = everything(&service).await;
    let server = service.database.client().database("admin");
    let fail = async |mode: Bson, data: Document| {
        let fail = doc! {"configureFailPoint": "failCommand", "mode": mode, "data": data};
        server.run_command(fail).await.unwrap();
    };
    let audit = format!("{}.audit", service.config.database);
    let insert = doc! {"failCommands": ["insert"], "namespace": &audit, "appName": NAME};
    let path = format!("/keys/{id}");
    // An unknown failure; one of the transaction that never goes away; and a commit that fails.
    let commit = doc! {"failCommands": ["commitTransaction"], "appName": NAME, "errorCode": 251,
    "errorLabels": ["TransientTransactionError"]};
    let coded = |code: i32| {
        let mut data = insert.clone();
        data.insert("errorCode", code);
        data
    };
    for failure in [coded(2), coded(112), commit] {
        fail("alwaysOn".into(), failure.clone()).await;
        for (method, path, body) in writes(&path) {
            let refused = send(&service, &admin, method, path, body).await;
            assert_eq!(refused.0, 503, "{failure}: {method} {path}: {}", refused.1);
            assert_eq!(refused.1["type"], "/problems/database-unavailable");
        }
        fail("off".into(), doc! {}).await;
        assert_eq!(everything(&service).await, before, "{failure}");
    }
    // A conflict that passes is not noticed.
    let once: Bson = doc! {"times": 1}.into();
    fail(once, coded(112)).await;
    let patched = send(
        &service,
        &admin,
        "PATCH",
        &path,
        Some(json!({"name": "new"})),
    )
    .await;
    assert_eq!(patched.0, 200, "{}", patched.1);
    assert_eq!(
        acts(&entries(&service, &id).await),
        ["key.create", "key.update"]
    );
    service.stop().await;
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_read_the_audit_newest_first() {
    let (service, admin) = start().await;
    let (keeper, text) = make(
        &service,
        &admin,
        json!({"scopes": ["keys:write"], "tenant": "acme"}),
    )
    .await;
    let mut ids = vec![keeper.clone()];
    for _ in 0..4 {
        ids.push(
            make(&service, &text, json!({"scopes": ["keys:write"]}))
                .await
                .0,
        );
    }
    let list = async |query: &str| {
        let (status, page) = send(&service, &admin, "GET", &format!("/audit?{query}"), None).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let mut seen = Vec::new();
    let mut query = "tenant=acme&limit=2".to_owned();
    loop {
        let page = list(&query).await;
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["act"], "key.create", "{item}");
            seen.push(item["target"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        query = format!("tenant=acme&limit=2&cursor={next}");
    }
    ids.reverse();
    assert_eq!(seen, ids);
    for (query, number) in [
        (format!("actor={keeper}"), 4),
        (format!("target={keeper}"), 1),
        (format!("target={keeper}&act=key.delete"), 0),
        ("tenant=other".to_owned(), 0),
        ("tenant=acme&since=2100-01-01T00:00:00Z".to_owned(), 0),
        ("tenant=acme&until=2100-01-01T00:00:00Z".to_owned(), 5),
        ("tenant=acme&since=2000-01-01T00:00:00Z".to_owned(), 5),
    ] {
        let items = list(&query).await["items"].as_array().unwrap().len();
        assert_eq!(items, number, "{query}");
    }
    for (query, status) in [("since=yesterday", 400), ("cursor=a", 400), ("acts=a", 400)] {
        let path = format!("/audit?{query}");
        assert_eq!(
            send(&service, &admin, "GET", &path, None).await.0,
            status,
            "{query}"
        );
    }
    assert_eq!(send(&service, &text, "GET", "/audit", None).await.0, 403);
    assert_eq!(send(&service, "", "GET", "/audit", None).await.0, 401);
    service.stop().await;
}
