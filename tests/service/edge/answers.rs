//! The headers of answers that belong to somebody, and the end of connections whose upgrade was refused.

use serde_json::json;
use tidegate::config::Auth;

use crate::{
    access::subscribe,
    raw::{Raw, upgrade_request},
    support::{Service, admin_key},
};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_the_answer_to_a_caller() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let key = admin_key(&service.config);
    let id = subscribe(&service, &key).await;
    let path = format!("/subscriptions/{id}");
    for (path, key, expected) in [
        (&*path, Some(&key), "no-store"),
        ("/subscriptions", Some(&key), "no-store"),
        ("/openapi.json", Some(&key), "no-store"),
        (&*path, None, "no-store"),
    ] {
        let mut request = service.http.get(service.url(path));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers["cache-control"], expected, "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let varies = headers.get_all("vary").iter();
        let varies: Vec<_> = varies.map(|value| value.to_str().unwrap()).collect();
        assert!(varies.contains(&"Authorization, Origin"), "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_is_the_last_request_of_its_connection() {
    // With credentials the host is not judged.
    let service = Service::start_open(|_| {}).await;
    let id = service.subscribe(json!({})).await;
    let version = upgrade_request(&id, "").replace("Version: 13", "Version: 12");
    for (request, status) in [
        (upgrade_request("nobody", ""), 404),
        (upgrade_request(&id, "Origin: http://evil.example\r\n"), 403),
        (
            upgrade_request(&id, "").replace("localhost", "evil.example"),
            421,
        ),
        (version, 426),
        (upgrade_request(&id, "").replace("/events", "/nothing"), 404),
    ] {
        let mut raw = Raw::dial(service.address).await;
        let second = "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        raw.send(format!("{request}{second}").as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        assert!(!raw.goes_on().await, "{answer:?}");
    }
    service.stop().await;
}
