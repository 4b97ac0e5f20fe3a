//! Every call, bare, with each single scope, and with credentials that do not stand.

use std::collections::BTreeSet;

use bson::doc;
use reqwest::header;
use serde_json::{Value, json};

use super::{make, open, refusal, send, start};
use crate::support::{Service, Socket};

const SCOPES: [&str; 7] = [
    "subscriptions:own",
    "subscriptions:read",
    "subscriptions:write",
    "events:read",
    "events:publish",
    "keys:write",
    "metrics",
];

/// A call of the description.
struct Call {
    method: String,
    path: String,
    /// The scopes of which one is needed.
    scopes: BTreeSet<String>,
    /// True if it is open without a credential.
    open: bool,
}

async fn calls(service: &Service) -> Vec<Call> {
    let description = service.get("/openapi.json").await;
    let mut all = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let security = operation["security"].as_array();
            let security = security.unwrap_or_else(|| panic!("{method} {path} declares nothing"));
            let scopes = operation["x-scopes"].as_array().into_iter().flatten();
            all.push(Call {
                method: method.to_uppercase(),
                path: path.replace("{id}", "none"),
                scopes: scopes.map(|s| s.as_str().unwrap().to_owned()).collect(),
                open: security.is_empty() || security.contains(&json!({})),
            });
        }
    }
    assert!(all.len() > 25, "{}", all.len());
    all
}

/// Sends a call. Returns the status, the problem's type and the challenge.
async fn status(service: &Service, call: &Call, key: Option<&str>) -> (u16, String, String) {
    let url = format!("http://{}{}", service.address, call.path);
    let method = reqwest::Method::from_bytes(call.method.as_bytes()).unwrap();
    let mut request = service.http.request(method, url);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    let kind = problem["type"].as_str().unwrap_or_default().to_owned();
    (status, kind, challenge.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_open_by_mistake() {
    let (service, _) = start().await;
    for call in calls(&service).await {
        let (status, kind, challenge) = status(&service, &call, None).await;
        let what = format!("{} {}: {status} {kind}", call.method, call.path);
        if call.open {
            assert!(status < 400, "{what}");
        } else {
            assert_eq!(
                (status, &*kind),
                (401, "/problems/unauthenticated"),
                "{what}"
            );
            assert_eq!(challenge, r#"Bearer realm="tidegate""#, "{what}");
        }
    }
    let open: Vec<_> = calls(&service)
        .await
        .into_iter()
        .filter(|c| c.open)
        .collect();
    let mut open: Vec<_> = open.iter().map(|call| call.path.as_str()).collect();
    open.sort_unstable();
    let expected = [
        "",
        "/asyncapi.json",
        "/docs",
        "/health",
        "/live",
        "/openapi.json",
        "/ready",
    ];
    assert_eq!(open, expected.map(|path| format!("/api/v1{path}")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_opens_exactly_the_calls_that_name_it() {
    let (service, admin) = start().await;
    let calls = calls(&service).await;
    for scope in SCOPES {
        let (_, key) = make(&service, &admin, json!({"scopes": [scope]})).await;
        for call in calls.iter().filter(|call| !call.open) {
            let (status, kind, challenge) = status(&service, call, Some(&key)).await;
            let what = format!(
                "{} {} with {scope}: {status} {kind}",
                call.method, call.path
            );
            if call.scopes.is_empty() || call.scopes.contains(scope) {
                assert!(![401, 403].contains(&status), "{what}");
            } else {
                assert_eq!((status, &*kind), (403, "/problems/forbidden"), "{what}");
                assert!(
                    challenge.contains("insufficient_scope"),
                    "{what}: {challenge}"
                );
            }
        }
    }
    let (_, none) = make(&service, &admin, json!({"scopes": []})).await;
    for call in calls.iter().filter(|call| !call.scopes.is_empty()) {
        assert_eq!(status(&service, call, Some(&none)).await.0, 403);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_does_not_stand_opens_nothing() {
    let (service, admin) = start().await;
    let everything = json!({"scopes": ["admin"]});
    let (revoked, gone) = make(&service, &admin, everything.clone()).await;
    let path = format!("/keys/{revoked}");
    assert_eq!(send(&service, &admin, "DELETE", &path, None).await.0, 204);
    let (expired, ended) = make(&service, &admin, everything).await;
    let past = doc! {"$set": {"expiresAt": bson::DateTime::from_millis(1)}};
    let keys = service.database.collection::<bson::Document>("keys");
    keys.update_one(doc! {"_id": expired}, past).await.unwrap();
    let refused = async || send(&service, &ended, "GET", "/whoami", None).await.0 == 401;
    service.until("the end is applied", refused).await;
    let hash = keys.find_one(doc! {}).await.unwrap().unwrap();
    let hash = hash.get_binary_generic("hash").unwrap();
    let hash = data_encoding::HEXLOWER.encode(hash);
    let mut changed = admin.clone();
    changed.replace_range(20..21, if &admin[20..21] == "x" { "y" } else { "x" });
    let wrong = [&*gone, &ended, &hash, &changed, &admin[..40], "", "a.b.c"];
    for call in calls(&service).await.iter().filter(|call| !call.open) {
        for key in wrong {
            let (status, kind, challenge) = status(&service, call, Some(key)).await;
            let what = format!("{} {} with {key}: {status} {kind}", call.method, call.path);
            assert_eq!(
                (status, &*kind),
                (401, "/problems/unauthenticated"),
                "{what}"
            );
            assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
        }
    }
    for key in wrong.iter().filter(|key| !key.is_empty()) {
        assert_eq!(refusal(open(&service, key, "none").await), 401, "{key}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upgrade_and_the_stream_ask_for_what_the_page_asks() {
    let (service, admin) = start().await;
    let id = super::subscribe(&service, &admin).await;
    let (_, publisher) = make(&service, &admin, json!({"scopes": ["events:publish"]})).await;
    let (_, reader) = make(
        &service,
        &admin,
        json!({"scopes": ["events:read", "subscriptions:read"]}),
    )
    .await;
    let path = format!("/subscriptions/{id}/events");
    let stream = async |key: &str| {
        let request = service
            .http
            .get(service.url(&path))
            .header(header::ACCEPT, "text/event-stream");
        let request = if key.is_empty() {
            request
        } else {
            request.bearer_auth(key)
        };
        request.send().await.unwrap().status().as_u16()
    };
    let bare = Socket::open(service.address, &format!("/api/v1{path}"), None).await;
    assert_eq!(refusal(bare), 401);
    for (key, page, socket) in [("", 401, 401), (&publisher, 403, 403), (&reader, 200, 101)] {
        assert_eq!(
            send(&service, key, "GET", &path, None).await.0,
            page,
            "{key}"
        );
        assert_eq!(stream(key).await, page, "{key}");
        if !key.is_empty() {
            assert_eq!(refusal(open(&service, key, &id).await), socket, "{key}");
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_one_too_many() {
    let (service, admin) = start().await;
    let id = super::subscribe(&service, &admin).await;
    let path = format!("/subscriptions/{id}/events");
    let request = service
        .http
        .get(service.url(&path))
        .bearer_auth(&admin)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header(
            "sec-websocket-protocol",
            format!("tidegate.v1, tidegate.bearer.{admin}"),
        );
    assert_eq!(request.send().await.unwrap().status(), 400);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_its_parts_to_those_who_may_know() {
    let (service, admin) = start().await;
    let (_, other) = make(&service, &admin, json!({"scopes": ["events:read"]})).await;
    for (key, parts) in [("", false), (&other, false), (&admin, true)] {
        let (status, health) = send(&service, key, "GET", "/health", None).await;
        assert_eq!((status, &health["status"]), (200, &json!("up")));
        assert_eq!(health.get("parts").is_some(), parts, "{health}");
    }
    let (_, who) = send(&service, &other, "GET", "/whoami", None).await;
    assert_eq!(who["kind"], "key");
    assert_eq!(who["scopes"], json!(["events:read"]));
    assert_eq!(
        who["owner"],
        json!(format!("key:{}", who["id"].as_str().unwrap()))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_held_to_its_limits() {
    let (service, admin) = start().await;
    let (own, other) = (
        super::subscribe(&service, &admin).await,
        super::subscribe(&service, &admin).await,
    );
    let limited = json!({"scopes": ["events:read"], "subscriptions": [own]});
    let (_, limited) = make(&service, &admin, limited).await;
    for (id, page, socket) in [(&own, 200, 101), (&other, 404, 404)] {
        let path = format!("/subscriptions/{id}/events");
        assert_eq!(send(&service, &limited, "GET", &path, None).await.0, page);
        assert_eq!(refusal(open(&service, &limited, id).await), socket);
    }
    for path in ["/events", "/events/none"] {
        assert_eq!(send(&service, &limited, "GET", path, None).await.0, 403);
    }
    for (limits, status) in [
        (json!({"networks": ["127.0.0.0/8", "::1/128"]}), 200),
        (json!({"networks": ["10.0.0.0/8"]}), 403),
        (json!({"networks": []}), 403),
        (json!({"origins": ["https://example.com"]}), 403),
    ] {
        let mut body = limits.clone();
        body["scopes"] = json!(["metrics"]);
        let (_, key) = make(&service, &admin, body).await;
        let answered = send(&service, &key, "GET", "/whoami", None).await.0;
        assert_eq!(answered, status, "{limits}");
    }
    let body = json!({"scopes": ["metrics"], "origins": ["https://example.com"]});
    let (_, key) = make(&service, &admin, body).await;
    for (origin, status) in [("https://example.com", 200), ("https://example.org", 403)] {
        let request = service.http.get(service.url("/whoami")).bearer_auth(&key);
        let answer = request.header("origin", origin).send().await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }
    service.stop().await;
}
