//! Tokens of configured issuers: who is let in with one, and until when.

pub(super) mod idp;

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::Auth;

use self::idp::{Idp, Key, now};
use super::{admin_key, connect, make, open, publish, refusal, send};
use crate::support::Service;

const ISSUER: &str = "https://id.example.com/";

/// A node, its administrator's key, and the issuers that it trusts.
struct World {
    service: Service,
    admin: String,
    /// An issuer of operators, named `staff`, with two keys.
    staff: Idp,
    keys: [Key; 2],
    /// An issuer with tenants, named `main`.
    main: Idp,
    key: Key,
}

impl World {
    async fn start() -> Self {
        let keys = [Key::ed25519("d1"), Key::p256("e1")];
        let staff = Idp::start("https://staff.example.com/", &[&keys[0], &keys[1]]).await;
        // The id of another issuer's key.
        let key = Key::ed25519("d1");
        let main = Idp::start(ISSUER, &[&key]).await;
        let service = Service::start_with(|config| {
            config.auth = Auth::Required;
            let staff = tidegate::config::Issuer {
                leeway: Duration::ZERO,
                ..staff.operators()
            };
            config.issuers.insert("staff".to_owned(), staff);
            config.issuers.insert("main".to_owned(), main.settings());
        })
        .await;
        let admin = admin_key(&service.config);
        Self {
            service,
            admin,
            staff,
            keys,
            main,
            key,
        }
    }

    /// Makes a token of an operator.
    fn staff(&self, change: &Value) -> String {
        self.keys[0].sign(&self.staff.claims(change))
    }

    /// Makes a token of somebody of a tenant.
    fn main(&self, change: &Value) -> String {
        self.key.sign(&self.main.claims(change))
    }

    async fn send(&self, token: &str, method: &str, path: &str) -> (u16, Value) {
        send(&self.service, token, method, path, None).await
    }

    async fn subscribe(&self, token: &str) -> String {
        let body = Some(json!({"filter": {}}));
        let (status, made) = send(&self.service, token, "POST", "/subscriptions", body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn revoke(&self, body: Value) -> (u16, Value) {
        send(
            &self.service,
            &self.admin,
            "POST",
            "/revocations",
            Some(body),
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_calls_sockets_and_streams() {
    let world = World::start().await;
    let token = world.staff(&json!({}));
    let (status, who) = world.send(&token, "GET", "/whoami").await;
    assert_eq!(status, 200, "{who}");
    assert_eq!((&who["kind"], &who["id"]), (&json!("jwt"), &json!("42")));
    assert_eq!(who["owner"], "staff:42");
    assert_eq!(who["scopes"], json!(["subscriptions:own", "events:read"]));
    assert_eq!(
        (&who["tenant"], &who["policy"]),
        (&Value::Null, &Value::Null)
    );
    assert!(who["expiresAt"].is_string(), "{who}");
    let id = world.subscribe(&token).await;
    let (_, subscription) = world
        .send(&token, "GET", &format!("/subscriptions/{id}"))
        .await;
    assert_eq!(subscription["owner"], "staff:42");
    let by_other_key = world.keys[1].sign(&world.staff.claims(&json!({})));
    let mut sockets = [
        connect(&world.service, &token, &id).await,
        connect(&world.service, &by_other_key, &id).await,
    ];
    let url = world.service.url(&format!("/subscriptions/{id}/events"));
    let stream = world.service.http.get(url).bearer_auth(&token);
    let stream = stream.header("accept", "text/event-stream").send().await;
    let mut stream = stream.unwrap();
    assert_eq!(stream.status(), 200);
    publish(&world.service, &world.admin, 1).await;
    for socket in &mut sockets {
        assert_eq!(socket.event().await["n"], 1);
    }
    let mut text = String::new();
    while !text.contains(r#""n":1"#) {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text += std::str::from_utf8(&chunk).unwrap();
    }
    drop(stream);
    // Another person sees nothing of it.
    let other = world.staff(&json!({"sub": "43"}));
    assert_eq!(refusal(open(&world.service, &other, &id).await), 404);
    let publishing = json!({"type": "a"});
    let (status, problem) = send(&world.service, &token, "POST", "/events", Some(publishing)).await;
    assert_eq!((status, &problem["scope"]), (403, &json!("events:publish")));
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refused_with_as_much_as_its_holder_may_know() {
    let world = World::start().await;
    let good = world.main(&json!({"tenant": "acme"}));
    assert_eq!(world.send(&good, "GET", "/whoami").await.0, 200);
    let mut forged = good.clone();
    forged.truncate(good.len() - 4);
    forged.push_str("AAAA");
    let of = |change: Value| world.main(&change);
    for (token, detail) in [
        (
            of(json!({"exp": now() - 60})),
            "the token has expired (exp)",
        ),
        (
            of(json!({"exp": now() + 90_000})),
            "the token is valid for longer",
        ),
        (of(json!({"exp": "soon"})), "the claim exp is not a number"),
        (
            of(json!({"nbf": now() + 60})),
            "the token is not valid yet (nbf)",
        ),
        (
            of(json!({"aud": "https://other.example"})),
            "the token is for another audience",
        ),
        (of(json!({"aud": null})), "the claim aud is missing"),
        (of(json!({"sub": null})), "the claim sub is missing"),
        (
            of(json!({"iss": "https://evil.example/"})),
            "the credential is not valid",
        ),
        (of(json!({"iss": [ISSUER]})), "the credential is not valid"),
        (
            of(json!({"iss": world.staff.issuer})),
            "the credential is not valid",
        ),
        (
            world.staff(&json!({"iss": ISSUER})),
            "the credential is not valid",
        ),
        (forged, "the credential is not valid"),
        ("a.b.c".to_owned(), "the credential is not valid"),
        (format!("{good}.{good}"), "the credential is not valid"),
    ] {
        let request = world.service.http.get(world.service.url("/whoami"));
        let answer = request.bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{detail}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{challenge}"
        );
        let problem: Value = answer.json().await.unwrap();
        let told = problem["detail"].as_str().unwrap();
        assert!(told.starts_with(detail), "{told}, not {detail}");
    }
    let url = format!("http://{}/metrics", world.service.address);
    let shown = world.service.http.get(url).bearer_auth(&world.admin);
    let shown = shown.send().await.unwrap().text().await.unwrap();
    for (outcome, count) in [
        ("ok", 1),
        ("expired", 1),
        ("audience", 1),
        ("not_yet", 1),
        ("issuer", 1),
        // Two are by a key of the other issuer under the same id.
        ("bad_signature", 3),
        ("malformed", 7),
    ] {
        let line = format!(r#"tidegate_auth_total{{kind="jwt",outcome="{outcome}"}} {count}"#);
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    for name in [
        "tidegate_jwks_age_seconds{issuer=\"main\"}",
        "tidegate_jwks_keys{",
    ] {
        assert!(shown.contains(name), "{shown}");
    }
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_its_tenant_says_who_it_is_and_opens_nothing() {
    let world = World::start().await;
    let bound = world.main(&json!({"tenant": "acme"}));
    let (_, who) = world.send(&bound, "GET", "/whoami").await;
    assert_eq!(
        (&who["tenant"], &who["policy"]),
        (&json!("acme"), &json!("default"))
    );
    assert_eq!(who["owner"], "main:42");
    let id = world.subscribe(&bound).await;
    let other = world.main(&json!({"tenant": "other"}));
    let path = format!("/subscriptions/{id}");
    assert_eq!(world.send(&bound, "GET", &path).await.0, 200);
    assert_eq!(world.send(&other, "GET", &path).await.0, 404);
    for tenant in [
        Value::Null,
        json!(""),
        json!("a:b"),
        json!(5),
        json!(["acme"]),
        json!({}),
    ] {
        let token = world.main(&json!({"tenant": tenant, "scope": "admin events:read"}));
        let (status, who) = world.send(&token, "GET", "/whoami").await;
        assert_eq!((status, &who["scopes"]), (200, &json!([])), "{who}");
        for (method, path) in [
            ("GET", "/subscriptions"),
            ("GET", &*path),
            ("DELETE", &path),
            ("GET", "/events"),
            ("GET", "/keys"),
            ("GET", "/health"),
        ] {
            let (status, problem) = world.send(&token, method, path).await;
            let told = (status, &problem["type"], &problem["claim"]);
            let expected = (
                403,
                &json!("/problems/policy-unsatisfied"),
                &json!("tenant"),
            );
            assert_eq!(told, expected, "{method} {path}");
        }
        assert_eq!(refusal(open(&world.service, &token, &id).await), 403);
        assert_eq!(world.send(&token, "GET", "/live").await.0, 200);
    }
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token_and_gets_what_was_committed_before() {
    let world = World::start().await;
    let long = world.staff(&json!({}));
    let id = world.subscribe(&long).await;
    let short = world.staff(&json!({"exp": now() + 3}));
    let mut ends = connect(&world.service, &short, &id).await;
    let mut stays = connect(&world.service, &long, &id).await;
    publish(&world.service, &world.admin, 1).await;
    let (messages, closed) = ends.rest().await;
    assert_eq!((closed.code, &*closed.text), (4510, "credential_expired"));
    assert_eq!(messages[0]["type"], "expiring", "{messages:?}");
    assert_eq!(messages[1]["event"]["data"]["n"], 1, "{messages:?}");
    assert!(messages[2]["cursor"].is_string(), "{messages:?}");
    assert_eq!(refusal(open(&world.service, &short, &id).await), 401);
    publish(&world.service, &world.admin, 2).await;
    for n in [1, 2] {
        assert_eq!(stays.event().await["n"], n);
    }
    world.service.stop().await;
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
        let path = format!("/revocations/{}", made["id"].as_str().unwrap());
        assert_eq!(world.send(&world.admin, "DELETE", &path).await.0, 204);
        assert_eq!(world.send(&gone, "GET", "/whoami").await.0, 200, "{named}");
        assert_eq!(world.send(&world.admin, "DELETE", &path).await.0, 404);
    }
    world.service.stop().await;
    sibling.stop().await;
}

/// Returns bodies that make no revocation of the tenant acme, each with the status of the refusal.
fn refused_bodies() -> Vec<(Value, u16)> {
    vec![
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
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_revokes_its_own_and_sees_no_others_revocations() {
    let world = World::start().await;
    let of = |tenant: &str, sub: &str| {
        world.main(&json!({"tenant": tenant, "sub": sub, "scope": "keys:write"}))
    };
    let (ours, theirs, keeper) = (of("acme", "1"), of("other", "1"), of("acme", "2"));
    let create = async |token: &str, body: Value| {
        send(&world.service, token, "POST", "/revocations", Some(body)).await
    };
    for (body, status) in refused_bodies() {
        let (found, problem) = create(&keeper, body.clone()).await;
        assert_eq!(found, status, "{body}: {problem}");
    }
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
    let scopes = json!({"scopes": ["metrics"], "tenant": "acme"});
    let (_, key) = make(&world.service, &world.admin, scopes).await;
    let (status, made) = create(&keeper, json!({"tenant": "acme"})).await;
    assert_eq!(status, 201, "{made}");
    for gone in [&keeper, &key] {
        assert_eq!(world.send(gone, "GET", "/whoami").await.0, 401);
    }
    assert_eq!(world.send(&theirs, "GET", "/whoami").await.0, 200);
    let nobody = world.staff(&json!({}));
    assert_eq!(world.send(&nobody, "GET", "/revocations").await.0, 403);
    world.service.stop().await;
}
