//! Tokens of configured issuers: who is let in with one, and until when.

pub(crate) mod idp;
mod revoking;

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::Auth;

use self::idp::{Idp, Key, now};
use super::{admin_key, connect, open, publish, refusal, send, store_policy};
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
    let types: Vec<_> = messages.iter().map(|message| &message["type"]).collect();
    assert_eq!(types, ["expiring", "event", "ended"], "{messages:?}");
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
async fn a_socket_goes_on_with_a_later_token_of_the_same_subject_and_issuer_alone() {
    let world = World::start().await;
    let short = world.staff(&json!({"exp": now() + 20}));
    let id = world.subscribe(&short).await;
    let refresh = |token: &str| json!({"type": "refresh", "token": token}).to_string();
    let mut socket = connect(&world.service, &short, &id).await;
    assert_eq!(socket.message().await["type"], "expiring");
    // By another key, with another id, for longer.
    let later = world.keys[1].sign(&world.staff.claims(&json!({"jti": "later"})));
    for (token, answer) in [
        (&later, "refreshed"),
        (&world.staff(&json!({"exp": now() - 60})), "refused"),
        (&world.main(&json!({"iss": world.staff.issuer})), "refused"),
        (&later, "refreshed"),
    ] {
        socket.say(&refresh(token)).await;
        let told = socket.message().await;
        assert_eq!(told["type"], answer, "{told}");
    }
    publish(&world.service, &world.admin, 1).await;
    assert_eq!(socket.event().await["n"], 1);
    let (status, made) = world.revoke(json!({"jti": "later"})).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(socket.rest().await.1.code, 4511);
    for other in [
        world.staff(&json!({"sub": "43"})),
        world.main(&json!({"tenant": "acme"})),
        world.staff(&json!({"scope": "events:read"})),
    ] {
        let mut socket = connect(&world.service, &world.staff(&json!({})), &id).await;
        socket.say(&refresh(&other)).await;
        assert_eq!(socket.rest().await.1.code, 4511);
    }
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reads_the_claims_of_a_token() {
    let world = World::start().await;
    let policy = bson::doc! {
        "read": {"tenant": "$claims.tenant", "data.region": {"$in": "$claims.regions"}},
    };
    store_policy(&world.service, "default", policy).await;
    let of = |regions: Value| world.main(&json!({"tenant": "acme", "regions": regions}));
    let token = of(json!(["eu", "us"]));
    let id = world.subscribe(&token).await;
    let mut socket = connect(&world.service, &token, &id).await;
    let events = world
        .service
        .database
        .collection::<bson::Document>("events");
    let mut stored = Vec::new();
    for (n, tenant, region) in [
        (1, "acme", "eu"),
        (2, "acme", "cn"),
        (3, "other", "eu"),
        (4, "acme", "us"),
    ] {
        let data = bson::doc! {"n": n, "region": region};
        stored.push(bson::doc! {"type": "a", "tenant": tenant, "data": data});
    }
    events.insert_many(stored).await.unwrap();
    for n in [1, 4] {
        assert_eq!(socket.event().await["n"], n);
    }
    // The subscription is bound to the claims that it was made with.
    assert_eq!(
        refusal(open(&world.service, &of(json!(["eu"])), &id).await),
        403
    );
    for regions in [json!(null), json!({"$gt": ""}), json!([["eu"]])] {
        let other = of(regions);
        let (status, problem) = world.send(&other, "GET", "/events").await;
        let told = (status, &problem["claim"]);
        assert_eq!(told, (403, &json!("regions")), "{problem}");
    }
    let (status, made) = world.revoke(json!({"tenant": "acme"})).await;
    assert_eq!(status, 201, "{made}");
    let (_, closed) = socket.rest().await;
    assert_eq!((closed.code, &*closed.text), (4511, "forbidden"));
    world.service.stop().await;
}
