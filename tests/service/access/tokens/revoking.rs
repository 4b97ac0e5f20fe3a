//! Taking tokens away.

use serde_json::{Value, json};

use super::{World, idp::Key, now};
use crate::access::{connect, make, publish, send};

async fn create(world: &World, token: &str, body: Value) -> (u16, Value) {
    send(&world.service, token, "POST", "/revocations", Some(body)).await
}

/// Waits until both nodes have proved that the one socket of what is revoked is closed.
async fn check_teardown(world: &World, path: &str, id: &Value) {
    let shown = async || world.send(&world.admin, "GET", path).await.1;
    let complete = async || shown().await["complete"] == true;
    world
        .service
        .until("the teardown is complete", complete)
        .await;
    let shown = shown().await;
    assert_eq!((&shown["revocation"], &shown["reason"]), (id, &Value::Null));
    let nodes = shown["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{shown}");
    for node in nodes {
        let found = (&node["state"], &node["connections"], &node["closed"]);
        assert_eq!(found, (&json!("closed"), &json!(1), &json!(1)), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_the_sockets_that_it_names_on_every_node_and_no_others() {
    let world = World::start().await;
    let sibling = world.service.sibling().await;
    let operator = world.staff(&json!({}));
    let id = world.subscribe(&operator).await;
    let token = |key: &Key, change: Value| key.sign(&world.staff.claims(&change));
    let [ed, ec] = &world.keys;
    let old = now() - 100;
    let before = bson::DateTime::from_millis(i64::try_from(old).unwrap() * 1_000 + 1_000);
    let before = before.try_to_rfc3339_string().unwrap();
    for (named, gone, left) in [
        (
            json!({"jti": "a"}),
            token(ed, json!({"jti": "a"})),
            token(ed, json!({"jti": "b"})),
        ),
        (
            json!({"jti": "c", "issuer": "staff"}),
            token(ed, json!({"jti": "c"})),
            token(ed, json!({})),
        ),
        (
            json!({"sub": "42", "issuedBefore": before}),
            token(ed, json!({"iat": old})),
            token(ed, json!({})),
        ),
        (
            json!({"sub": "42", "issuedBefore": before}),
            token(ed, json!({"iat": null})),
            token(ed, json!({})),
        ),
        (
            json!({"kid": "e1", "issuer": "staff"}),
            token(ec, json!({})),
            token(ed, json!({})),
        ),
    ] {
        let mut ended = [
            connect(&world.service, &gone, &id).await,
            connect(&sibling, &gone, &id).await,
        ];
        let mut open_ones = [
            connect(&world.service, &left, &id).await,
            connect(&sibling, &left, &id).await,
        ];
        let (status, made) = world.revoke(named.clone()).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(world.send(&gone, "GET", "/whoami").await.0, 401, "{named}");
        publish(&world.service, &world.admin, 7).await;
        for socket in &mut ended {
            let (messages, closed) = socket.rest().await;
            assert_eq!((closed.code, &*closed.text), (4511, "forbidden"), "{named}");
            assert_eq!(messages.len(), 1, "{named}: {messages:?}");
        }
        for socket in &mut open_ones {
            assert_eq!(socket.event().await["n"], 7, "{named}");
        }
        let (_, problem) = world.send(&gone, "GET", "/whoami").await;
        assert_eq!(problem["detail"], "the credential is revoked");
        drop(ended);
        let path = format!("/revocations/{}", made["id"].as_str().unwrap());
        check_teardown(&world, &format!("{path}/teardown"), &made["id"]).await;
        assert_eq!(world.send(&world.admin, "DELETE", &path).await.0, 204);
        assert_eq!(world.send(&gone, "GET", "/whoami").await.0, 200, "{named}");
        assert_eq!(world.send(&world.admin, "DELETE", &path).await.0, 404);
    }
    world.service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_has_no_tokens_left_that_leave_its_name_out() {
    let world = World::start().await;
    let id = world.subscribe(&world.staff(&json!({}))).await;
    let [ed, ec] = &world.keys;
    let unnamed = |key: &Key| key.sign_unnamed(&world.staff.claims(&json!({})));
    let (gone, left) = (unnamed(ec), unnamed(ed));
    let mut ended = connect(&world.service, &gone, &id).await;
    let mut open = connect(&world.service, &left, &id).await;
    let (status, made) = world.revoke(json!({"kid": "e1"})).await;
    assert_eq!(status, 201, "{made}");
    let (status, problem) = world.send(&gone, "GET", "/whoami").await;
    assert_eq!(
        (status, &problem["detail"]),
        (401, &json!("the credential is revoked"))
    );
    assert_eq!(ended.rest().await.1.code, 4511);
    publish(&world.service, &world.admin, 7).await;
    assert_eq!(open.event().await["n"], 7);
    assert_eq!(world.send(&left, "GET", "/whoami").await.0, 200);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_nobody_or_of_others_is_refused() {
    let world = World::start().await;
    let keeper = world.main(&json!({"tenant": "acme", "scope": "keys:write"}));
    for (body, status) in [
        (json!({"sub": "1", "tenant": "other"}), 403),
        (json!({"tenant": "other"}), 403),
        (json!({}), 422),
        (json!({"sub": "1", "jti": "2"}), 422),
        (json!({"sub": ""}), 422),
        (json!({"subject": "1"}), 422),
        (json!({"sub": "1", "issuer": "mian"}), 422),
        (json!({"sub": "1", "tenant": "a:b"}), 422),
        (
            json!({"sub": "1", "expiresAt": "2001-01-01T00:00:00Z"}),
            422,
        ),
        (json!({"sub": "1", "issuedBefore": "soon"}), 422),
        (json!([]), 422),
    ] {
        let (found, problem) = create(&world, &keeper, body.clone()).await;
        assert_eq!(found, status, "{body}: {problem}");
    }
    let nobody = world.staff(&json!({}));
    assert_eq!(create(&world, &nobody, json!({"sub": "1"})).await.0, 403);
    world.service.stop().await;
}

/// Returns a key with every scope that one of a tenant can have.
fn all_of(tenant: &str) -> Value {
    let scopes = [
        "subscriptions:own",
        "subscriptions:read",
        "subscriptions:write",
        "events:read",
        "events:publish",
        "keys:write",
        "metrics",
    ];
    json!({"scopes": scopes, "tenant": tenant})
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_away_or_gives_back_more_than_they_have() {
    let world = World::start().await;
    let keeping = |tenant: Value| json!({"scopes": ["keys:write"], "tenant": tenant});
    let (_, weak) = make(&world.service, &world.admin, keeping("acme".into())).await;
    let (_, strong) = make(&world.service, &world.admin, all_of("acme")).await;
    let (_, operator) = make(&world.service, &world.admin, keeping(Value::Null)).await;
    for (key, body, pointer) in [
        (&weak, json!({"tenant": "acme"}), "tenant"),
        (&weak, json!({"kid": "d1"}), "kid"),
        (&operator, json!({"tenant": "acme"}), "tenant"),
        (&operator, json!({"kid": "d1"}), "kid"),
        (&operator, json!({"sub": "42"}), "sub"),
        (&operator, json!({"jti": "a"}), "jti"),
    ] {
        let (status, problem) = create(&world, key, body.clone()).await;
        assert_eq!(status, 403, "{body}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("#/{pointer}: ")), "{detail}");
    }
    for key in [&strong, &world.admin, &operator, &weak] {
        assert_eq!(world.send(key, "GET", "/whoami").await.0, 200);
    }
    for (key, body) in [
        (&weak, json!({"sub": "1"})),
        (&weak, json!({"jti": "a"})),
        (&operator, json!({"sub": "2", "tenant": "acme"})),
        (&strong, json!({"kid": "d9"})),
    ] {
        let (status, made) = create(&world, key, body.clone()).await;
        assert_eq!(status, 201, "{body}: {made}");
    }
    // It is not taken back either by those who could not have made it.
    let stolen = json!({"kid": "d8", "tenant": "acme"});
    let (_, made) = world.revoke(stolen).await;
    let path = format!("/revocations/{}", made["id"].as_str().unwrap());
    for key in [&weak, &operator] {
        assert_eq!(world.send(key, "DELETE", &path).await.0, 403);
    }
    assert_eq!(world.send(&strong, "DELETE", &path).await.0, 204);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_of_other_tenants_are_not_told() {
    let world = World::start().await;
    let keeper = world.main(&json!({"tenant": "acme", "scope": "keys:write"}));
    let misspelt = json!({"sub": "1", "issuer": "stuff"});
    let (status, problem) = create(&world, &keeper, misspelt.clone()).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["errors"][0]["detail"], "is not configured");
    assert!(!problem.to_string().contains("staff"), "{problem}");
    let (status, problem) = create(&world, &world.admin, misspelt).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(
        problem["errors"][0]["detail"],
        "is not configured; the issuers are main, staff"
    );
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_revokes_its_own_and_sees_no_others_revocations() {
    let world = World::start().await;
    let of = |tenant: &str, sub: &str| {
        world.main(&json!({"tenant": tenant, "sub": sub, "scope": "keys:write"}))
    };
    let (ours, theirs, keeper) = (of("acme", "1"), of("other", "1"), of("acme", "2"));
    let create = async |token: &str, body: Value| create(&world, token, body).await;
    let at = |hours: i64| {
        let then = bson::DateTime::now().timestamp_millis() + hours * 3_600_000;
        bson::DateTime::from_millis(then)
            .try_to_rfc3339_string()
            .unwrap()
    };
    // Tokens live for a day at most.
    let (status, problem) = create(&keeper, json!({"sub": "1", "expiresAt": at(23)})).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &json!("#/expiresAt"))
    );
    let body = json!({"sub": "1", "expiresAt": at(25), "reason": "has left"});
    let (status, made) = create(&keeper, body).await;
    assert_eq!((status, &made["tenant"]), (201, &json!("acme")), "{made}");
    assert_eq!(
        (&made["createdBy"], &made["reason"]),
        (&json!("main:2"), &json!("has left"))
    );
    assert_eq!(world.send(&ours, "GET", "/whoami").await.0, 401);
    assert_eq!(world.send(&theirs, "GET", "/whoami").await.0, 200);
    let (status, of_all) = world.revoke(json!({"kid": "d9"})).await;
    assert_eq!(status, 201, "{of_all}");
    let ids = async |token: &str, query: &str| -> Vec<String> {
        let (status, page) = world
            .send(token, "GET", &format!("/revocations{query}"))
            .await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&keeper, "").await, [id(&made)]);
    assert_eq!(ids(&theirs, "").await, [""; 0]);
    assert_eq!(ids(&world.admin, "?tenant=acme").await, [id(&made)]);
    // As a shell stores it.
    let stored = world
        .service
        .database
        .collection::<bson::Document>("revocations");
    let inserted = stored
        .insert_one(bson::doc! {"tenant": "gone"})
        .await
        .unwrap();
    let by_shell = inserted.inserted_id.as_object_id().unwrap().to_hex();
    let mut all = ids(&world.admin, "?limit=2").await;
    let (_, page) = world
        .send(&world.admin, "GET", "/revocations?limit=2")
        .await;
    let next = page["nextCursor"].as_str().unwrap();
    all.extend(ids(&world.admin, &format!("?cursor={next}")).await);
    all.sort();
    let mut expected = vec![id(&made), id(&of_all), by_shell.clone()];
    expected.sort();
    assert_eq!(all, expected);
    let path = |id: &str| format!("/revocations/{id}");
    assert_eq!(
        world.send(&theirs, "DELETE", &path(&id(&made))).await.0,
        404
    );
    assert_eq!(
        world.send(&keeper, "DELETE", &path(&id(&of_all))).await.0,
        404
    );
    assert_eq!(
        world.send(&world.admin, "DELETE", &path(&by_shell)).await.0,
        204
    );
    // A whole tenant, its keys too.
    let (_, key) = make(&world.service, &world.admin, all_of("acme")).await;
    let (status, made) = create(&key, json!({"tenant": "acme"})).await;
    assert_eq!(status, 201, "{made}");
    for gone in [&keeper, &key] {
        assert_eq!(world.send(gone, "GET", "/whoami").await.0, 401);
    }
    assert_eq!(world.send(&theirs, "GET", "/whoami").await.0, 200);
    let nobody = world.staff(&json!({}));
    assert_eq!(world.send(&nobody, "GET", "/revocations").await.0, 403);
    world.service.stop().await;
}
