//! Creating, reading, replacing, patching and deleting.

use bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{request, send, support::Service, with_json};

async fn stored(service: &Service, id: &str) -> Document {
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let found = subscriptions.find_one(doc! {"_id": id}).await.unwrap();
    found.unwrap()
}

#[tokio::test]
async fn what_is_created_can_be_read_and_is_in_the_database() {
    let service = Service::start().await;
    let body = json!({"name": "large", "filter": {"type": "t", "data.amount": {"$gte": 1000}},
        "metadata": {"team": "x"}, "owner": "o", "durable": true,
        "expiresAt": "2099-01-01T02:00:00+02:00"});

    let made = send(with_json(&service, Method::POST, "/subscriptions", &body)).await;

    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    let id = shown["id"].as_str().unwrap();
    assert!(id.starts_with("sub_"));
    assert_eq!(
        made.header("location"),
        format!("/api/v1/subscriptions/{id}")
    );
    assert_eq!(shown["filter"], body["filter"]);
    assert_eq!(shown["expiresAt"], "2099-01-01T00:00:00Z");
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["revision"], 1);
    assert_eq!(shown.get("warnings"), None);
    let read = send(service.http.get(format!(
        "http://{}{}",
        service.address,
        made.header("location")
    )))
    .await;
    // Read, one that is durable also shows how far its client is.
    let mut fields = read.json();
    for shown_of_durable in ["position", "lagSeconds", "lossInSeconds"] {
        let field = fields.as_object_mut().unwrap().remove(shown_of_durable);
        assert!(field.is_some(), "{shown_of_durable}");
    }
    assert_eq!(fields, shown);
    assert_eq!(read.header("etag"), made.header("etag"));
    assert_eq!(
        stored(&service, id).await.get_document("filter").unwrap(),
        &doc! {"type": "t", "data.amount": {"$gte": 1000}}
    );
}

#[tokio::test]
async fn every_fault_of_a_request_is_named_at_once() {
    let service = Service::start().await;
    let body = json!({"fliter": {}, "filter": {"a": {"$foo": 1}}, "status": "invalid", "name": 5,
        "expiresAt": "2001-01-01T00:00:00Z"});
    let answer = send(with_json(&service, Method::POST, "/subscriptions", &body)).await;
    assert_eq!(answer.status, 422);
    let mut places = answer.problem("invalid-request");
    places.sort();
    assert_eq!(
        places,
        [
            "#/expiresAt",
            "#/filter/a/$foo",
            "#/fliter",
            "#/name",
            "#/status"
        ]
    );
}

#[tokio::test]
async fn a_filter_that_cannot_match_is_created_with_a_warning() {
    let service = Service::start().await;
    let body = json!({"filter": {"a": {"$in": []}}});
    let answer = send(with_json(&service, Method::POST, "/subscriptions", &body)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["warnings"][0]["pointer"], "#/filter");
}

#[tokio::test]
async fn a_condition_on_what_is_shown_and_not_stored_is_created_with_a_warning() {
    let service = Service::start().await;
    let body = json!({"filter": {"specversion": "1.0", "time": {"$gt": "2026-01-01T00:00:00Z"}}});
    let told = |subscription: &Value| {
        let warnings = subscription["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 2, "{subscription}");
        for (warning, field) in warnings.iter().zip(["specversion", "time"]) {
            assert_eq!(warning["pointer"], "#/filter");
            let detail = warning["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("On \"{field}\": ")), "{detail}");
        }
    };
    let post = send(with_json(&service, Method::POST, "/subscriptions", &body)).await;
    assert_eq!(post.status, 201);
    told(&post.json());
    for (method, status) in [(Method::PUT, 201), (Method::PUT, 200), (Method::PATCH, 200)] {
        let written = send(with_json(&service, method, "/subscriptions/a", &body)).await;
        assert_eq!(written.status, status);
        told(&written.json());
    }
    let batch = send(with_json(
        &service,
        Method::POST,
        "/subscriptions/batch",
        &json!([body]),
    ))
    .await;
    told(&batch.json()["items"][0]["subscription"]);
}

#[tokio::test]
async fn put_creates_then_replaces_then_changes_nothing() {
    let service = Service::start().await;
    let path = "/subscriptions/my%20own%2Fid%20%C3%BC";
    let body = json!({"id": "my own/id ü", "filter": {"a": 1}, "name": "n"});

    let made = send(with_json(&service, Method::PUT, path, &body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("location"), format!("/api/v1{path}"));
    let again = send(with_json(&service, Method::PUT, path, &body)).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, made.header("etag"))
    );
    let other = json!({"filter": {"a": 2}});
    let replaced = send(with_json(&service, Method::PUT, path, &other)).await;
    assert_eq!(replaced.status, 200);
    let (before, after) = (made.json(), replaced.json());
    assert_eq!(after["id"], "my own/id ü");
    assert_eq!(after["name"], json!(null));
    assert_eq!(after["revision"], 2);
    assert_eq!(after["createdAt"], before["createdAt"]);
    assert_ne!(replaced.header("etag"), made.header("etag"));
}

/// Clients read a subscription, change some of it, and send all of it back.
#[tokio::test]
async fn what_get_gave_can_be_put_and_patched() {
    let service = Service::start().await;
    let path = "/subscriptions/a";
    let body = json!({"filter": {"a": 1}, "durable": true, "metadata": {"k": [1, null]},
        "expiresAt": "2100-01-02T03:04:05.678Z"});
    service.send("PUT", path, Some(body)).await;
    for method in ["PUT", "PATCH"] {
        let mut given = service.get(path).await;
        assert!(given["position"].is_string(), "{given}");
        given["name"] = json!(method);
        given["warnings"] = json!([{"pointer": "#/x", "detail": "old"}]);
        let (status, written) = service.send(method, path, Some(given.clone())).await;
        assert_eq!(
            (status, &written["name"]),
            (200, &json!(method)),
            "{written}"
        );
        // It says what is no more.
        for (field, other) in [
            ("revision", json!(1)),
            ("createdAt", json!("2020-01-01T00:00:00Z")),
            ("updatedAt", given["updatedAt"].clone()),
            ("id", json!("b")),
        ] {
            let mut stale = service.get(path).await;
            stale[field] = other;
            let (status, refused) = service.send(method, path, Some(stale)).await;
            let pointer = refused["errors"][0]["pointer"].clone();
            assert_eq!(
                (status, pointer),
                (422, json!(format!("#/{field}"))),
                "{refused}"
            );
        }
    }
    let mut copy = service.get(path).await;
    let (status, _) = service
        .send("POST", "/subscriptions", Some(copy.clone()))
        .await;
    assert_eq!(status, 422, "the service gives the id");
    service.send("DELETE", path, None).await;
    copy["name"] = json!("again");
    let (status, made) = service.send("PUT", path, Some(copy)).await;
    assert_eq!((status, &made["revision"]), (201, &json!(1)), "{made}");
}

#[tokio::test]
async fn an_id_of_a_callers_is_bounded_and_may_be_any_word() {
    let service = Service::start().await;
    let body = json!({"filter": {}});
    for path in ["/subscriptions/batch", "/subscriptions/a%252Fb"] {
        let made = send(with_json(&service, Method::PUT, path, &body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(service.status(path).await, 200);
    }
    assert_eq!(service.get("/subscriptions/a%252Fb").await["id"], "a%2Fb");
    for bad in ["a%0Ab", &"x".repeat(201)] {
        let path = format!("/subscriptions/{bad}");
        let answer = send(with_json(&service, Method::PUT, &path, &body)).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.problem("invalid-request"), ["id"]);
    }
}

#[tokio::test]
async fn documents_of_other_programs_are_reachable_under_any_id() {
    let service = Service::start().await;
    let ids = [
        "with space",
        "a/b",
        "ünï",
        "%41",
        "new\nline",
        &"long".repeat(100),
    ];
    let subscriptions = service.database.collection::<Document>("subscriptions");
    for id in ids {
        subscriptions
            .insert_one(doc! {"_id": id, "filter": {}})
            .await
            .unwrap();
        let encoded: Vec<_> = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/subscriptions/{}", encoded.concat());
        assert_eq!(service.get(&path).await["id"], id);
        let patched = service
            .send("PATCH", &path, Some(json!({"name": "n"})))
            .await;
        assert_eq!(patched.0, 200, "{}", patched.1);
        assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    }
}

#[tokio::test]
async fn a_patch_writes_what_it_names_and_no_more() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let old = doc! {"_id": "a", "filter": {"x": 1, "y": 2}, "name": "n", "theirs": {"k": 1},
    "metadata": {"a": 1, "b": 2}};
    subscriptions.insert_one(&old).await.unwrap();

    let patch = json!({"filter": {"x": 3}, "metadata": {"b": 3}, "name": null, "status": "paused"});
    let answer = request(&service, Method::PATCH, "/subscriptions/a")
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string());
    let answer = send(answer).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let mut document = stored(&service, "a").await;
    assert!(document.remove("updatedAt").is_some());
    assert_eq!(
        document,
        doc! {"_id": "a", "filter": {"x": 3}, "theirs": {"k": 1}, "metadata": {"b": 3},
        "revision": 2_i64, "status": "paused"}
    );
    let again = send(with_json(
        &service,
        Method::PATCH,
        "/subscriptions/a",
        &patch,
    ))
    .await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, answer.header("etag"))
    );
    assert_eq!(
        service
            .send("PATCH", "/subscriptions/none", Some(json!({})))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn parallel_patches_of_different_fields_all_count() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let path = format!("/subscriptions/{id}");
    let patches = [
        json!({"name": "n"}),
        json!({"owner": "o"}),
        json!({"durable": true}),
    ];
    let sent = patches.map(|patch| service.send("PATCH", &path, Some(patch)));
    for (status, body) in futures_util::future::join_all(sent).await {
        assert_eq!(status, 200, "{body}");
    }
    let after = service.get(&path).await;
    assert_eq!(
        (
            &after["name"],
            &after["owner"],
            &after["durable"],
            &after["revision"]
        ),
        (&json!("n"), &json!("o"), &json!(true), &json!(4))
    );
}

#[tokio::test]
async fn many_writers_of_one_field_all_get_through() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let path = format!("/subscriptions/{id}");
    let write = |n: i32| service.send("PATCH", &path, Some(json!({"metadata": {"n": n}})));
    for (status, body) in futures_util::future::join_all((0..20).map(write)).await {
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(service.get(&path).await["revision"], 21);
}

#[tokio::test]
async fn a_broken_document_is_shown_as_invalid_and_heals() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let broken = doc! {"_id": "bad", "filter": {"a": {"$nope": 1}}};
    subscriptions.insert_one(broken).await.unwrap();
    let shown = service.get("/subscriptions/bad").await;
    assert_eq!(shown["status"], "invalid");
    assert!(
        shown["error"].as_str().unwrap().contains("$nope"),
        "{shown}"
    );
    let patch = json!({"filter": {"a": 1}});
    let (_, healed) = service
        .send("PATCH", "/subscriptions/bad", Some(patch))
        .await;
    assert_eq!(healed["status"], "active");
    assert_eq!(healed.get("error"), None);
}

#[tokio::test]
async fn a_second_delete_is_404() {
    let service = Service::start().await;
    let path = format!("/subscriptions/{}", service.subscribe(json!({})).await);
    let gone = send(request(&service, Method::DELETE, &path)).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    for method in [Method::DELETE, Method::GET] {
        let answer = send(request(&service, method, &path)).await;
        assert_eq!(answer.status, 404);
        answer.problem("subscription-not-found");
    }
}

#[tokio::test]
async fn each_item_of_a_batch_stands_alone() {
    let service = Service::start().await;
    let items = json!([{"filter": {"a": 1}}, {"filter": {"a": {"$foo": 1}}, "nmae": 1}, 5, {"filter": {}, "name": "b"}]);
    let answer = send(with_json(
        &service,
        Method::POST,
        "/subscriptions/batch",
        &items,
    ))
    .await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let items = answer.json()["items"].as_array().unwrap().clone();
    let statuses: Vec<_> = items
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 422, 422, 201]);
    assert_eq!(items[3]["subscription"]["name"], "b");
    assert_eq!(items[1]["problem"]["errors"][0]["pointer"], "#/1/nmae");
    let id = items[0]["subscription"]["id"].as_str().unwrap();
    assert_eq!(service.status(&format!("/subscriptions/{id}")).await, 200);

    let all_good = service
        .send(
            "POST",
            "/subscriptions/batch",
            Some(json!([{"filter": {}}, {"filter": {}}])),
        )
        .await;
    assert_eq!(all_good.0, 200);
    let many = vec![json!({"filter": {}}); 1_001];
    let refused = send(with_json(
        &service,
        Method::POST,
        "/subscriptions/batch",
        &json!(many),
    ))
    .await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.problem("invalid-request"), ["#"]);
}

#[tokio::test]
async fn expiry_is_a_date_in_the_database() {
    let service = Service::start().await;
    let body = json!({"filter": {}, "expiresAt": "2099-06-01T00:00:00.5Z"});
    let made = service.post("/subscriptions", body).await;
    let id = made["id"].as_str().unwrap();
    let expected = DateTime::parse_rfc3339_str("2099-06-01T00:00:00.5Z").unwrap();
    assert_eq!(
        stored(&service, id)
            .await
            .get_datetime("expiresAt")
            .unwrap(),
        &expected
    );
    let path = format!("/subscriptions/{id}");
    let (_, never) = service
        .send("PATCH", &path, Some(json!({"expiresAt": null})))
        .await;
    assert_eq!(never["expiresAt"], json!(null));
}

#[tokio::test]
async fn a_filter_is_required_wherever_a_whole_subscription_is_given() {
    let service = Service::start().await;
    for body in [
        json!({"name": "n"}),
        json!({"filter": null}),
        json!({"filer": {}}),
    ] {
        for (method, path) in [
            (Method::POST, "/subscriptions"),
            (Method::PUT, "/subscriptions/a"),
        ] {
            let answer = send(with_json(&service, method, path, &body)).await;
            assert_eq!(answer.status, 422, "{body}");
            let places = answer.problem("invalid-request");
            assert!(places.contains(&"#/filter".to_owned()), "{places:?}");
        }
        let items = json!([body, {"filter": {}}]);
        let answer = send(with_json(
            &service,
            Method::POST,
            "/subscriptions/batch",
            &items,
        ))
        .await;
        let problem = &answer.json()["items"][0]["problem"];
        let errors = problem["errors"].as_array().unwrap().iter();
        let mut places = errors.map(|error| &error["pointer"]);
        assert!(places.any(|place| *place == "#/0/filter"), "{problem}");
    }
    let id = service.subscribe(json!({})).await;
    let path = format!("/subscriptions/{id}");
    for (body, status) in [(json!({"name": "n"}), 200), (json!({"filter": null}), 422)] {
        let answer = service.send("PATCH", &path, Some(body)).await;
        assert_eq!(answer.0, status, "{}", answer.1);
    }
}

#[tokio::test]
async fn a_stored_document_without_a_filter_is_invalid_until_it_has_one() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let misspelt = doc! {"_id": "oops", "filer": {"type": "t"}, "__v": 0};
    subscriptions.insert_one(misspelt).await.unwrap();
    let shown = service.get("/subscriptions/oops").await;
    assert_eq!(
        (&shown["status"], &shown["filter"]),
        (&json!("invalid"), &json!(null))
    );
    assert!(
        shown["error"].as_str().unwrap().starts_with("#/filter: "),
        "{shown}"
    );
    let warned = |shown: &Value| {
        let warnings = shown["warnings"].as_array().unwrap().iter();
        warnings.map(|w| w["pointer"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(warned(&shown), ["#/filer", "#/__v"]);
    let listed = service.get("/subscriptions").await;
    assert_eq!(warned(&listed["items"][0]), ["#/filer", "#/__v"]);
    let patch = json!({"filter": {"type": "t"}});
    let (status, healed) = service
        .send("PATCH", "/subscriptions/oops", Some(patch))
        .await;
    assert_eq!((status, &healed["status"]), (200, &json!("active")));
    let whole = json!({"filter": {"type": "t"}, "warnings": []});
    let (status, put) = service
        .send("PUT", "/subscriptions/oops", Some(whole))
        .await;
    let computed = json!(["#/filer", "#/__v"]);
    assert_eq!(
        (status, json!(warned(&put))),
        (200, computed),
        "it is not set"
    );
}

#[tokio::test]
async fn a_put_leaves_fields_that_are_not_ours_alone() {
    let service = Service::start().await;
    let subscriptions = service.database.collection::<Document>("subscriptions");
    let theirs = doc! {"_id": "y", "filter": {}, "name": "n", "$y": 1, "a.b": 2};
    subscriptions.insert_one(theirs).await.unwrap();
    let body = json!({"filter": {"a": 1}});
    let put = send(with_json(&service, Method::PUT, "/subscriptions/y", &body)).await;
    assert_eq!(put.status, 200, "{put:?}");
    let stored = subscriptions.find_one(doc! {"_id": "y"}).await.unwrap();
    let stored = stored.unwrap();
    assert_eq!(stored.get_document("filter").unwrap(), &doc! {"a": 1});
    assert_eq!(
        (stored.get("$y"), stored.get("a.b")),
        (Some(&1.into()), Some(&2.into()))
    );
    assert!(!stored.contains_key("name"), "{stored}");
    // A refusal of the database is told in our words.
    let large = "x".repeat(4 << 20);
    let full = doc! {"$set": {"theirs": &large[..large.len() - 500]}};
    subscriptions
        .update_one(doc! {"_id": "y"}, full)
        .await
        .unwrap();
    let body = json!({"filter": {}, "metadata": {"a": "x".repeat(1_000)}});
    let put = send(with_json(&service, Method::PUT, "/subscriptions/y", &body)).await;
    assert_eq!(put.status, 422, "{put:?}");
    put.problem("refused-by-database");
    assert!(
        put.text.contains("larger than this collection allows"),
        "{put:?}"
    );
    for words in ["caused by", "executor", "Document failed validation"] {
        assert!(!put.text.contains(words), "{put:?}");
    }
}
