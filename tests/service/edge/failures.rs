//! Too many credentials that do not stand, from one address.

use serde_json::json;
use tidegate::config::{Auth, Config};

use crate::{
    access::{make, subscribe},
    raw::{Raw, upgrade_request},
    support::{Service, admin_key},
};

const LIMITED: &str = "tidegate_limited_total{what=\"failures_per_minute\"}";

fn settings(config: &mut Config) {
    config.auth = Auth::Required;
    config.proxy.trusted = vec!["127.0.0.0/8".to_owned()];
    config.quotas.failures_per_minute = 3;
}

/// Asks who a key is, from an address. Returns the status, the problem and when to come back.
async fn asked(service: &Service, key: Option<&str>, from: &str) -> (u16, String, Option<u64>) {
    let mut request = service.http.get(service.url("/whoami"));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.header("X-Forwarded-For", from).send().await;
    let answer = answer.unwrap();
    let status = answer.status().as_u16();
    let after = answer.headers().get("retry-after");
    let after = after.map(|after| after.to_str().unwrap().parse().unwrap());
    let body: serde_json::Value = answer.json().await.unwrap();
    let problem = body["type"].as_str().unwrap_or_default().to_owned();
    (status, problem, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_too_many_failures_waits_and_locks_no_key() {
    let service = Service::start_with(settings).await;
    let admin = admin_key(&service.config);
    let (revoked, gone) = make(&service, &admin, json!({"scopes": ["admin"]})).await;
    let id = subscribe(&service, &admin).await;
    let path = service.url(&format!("/keys/{revoked}"));
    let deleted = service.http.delete(path).bearer_auth(&admin).send().await;
    assert_eq!(deleted.unwrap().status().as_u16(), 204);
    let (bad, other) = ("192.0.2.1", "192.0.2.2");
    // Nothing presented is no failure, nor is a key that stands.
    for _ in 0..5 {
        assert_eq!(asked(&service, None, bad).await.0, 401);
        assert_eq!(asked(&service, Some(&admin), bad).await.0, 200);
    }
    // A text that is no key; a key that was revoked; and one that nobody made, on an upgrade.
    assert_eq!(asked(&service, Some("nonsense"), bad).await.0, 401);
    assert_eq!(asked(&service, Some(&gone), bad).await.0, 401);
    let upgrade = async |key: &str, from: &str| {
        let lines = format!(
            "X-Forwarded-For: {from}\r\nSec-WebSocket-Protocol: tidegate.v1, tidegate.bearer.{key}\r\n"
        );
        let mut raw = Raw::dial(service.address).await;
        raw.send(upgrade_request(&id, &lines).as_bytes()).await;
        raw.answer().await.status
    };
    assert_eq!(upgrade(&gone, bad).await, 401);
    // Whatever is presented now is not looked at. It takes 20 s until the next try.
    let (status, problem, after) = asked(&service, Some(&admin), bad).await;
    assert_eq!((status, &*problem), (429, "/problems/too-many-requests"));
    assert!((1..=20).contains(&after.unwrap()), "{after:?}");
    assert_eq!(upgrade(&admin, bad).await, 429);
    assert_eq!(asked(&service, None, bad).await.0, 401);
    // The same key, from elsewhere: also on the node itself, which is not counted.
    assert_eq!(asked(&service, Some(&admin), other).await.0, 200);
    assert_eq!(upgrade(&admin, other).await, 101);
    for _ in 0..5 {
        assert_eq!(asked(&service, Some("nonsense"), "127.0.0.1").await.0, 401);
    }
    let metrics = service
        .http
        .get(format!("http://{}/metrics", service.address));
    let metrics = metrics.bearer_auth(&admin).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(&format!("{LIMITED} 2\n")), "{metrics}");
    service.stop().await;
}
