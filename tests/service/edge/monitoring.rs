//! The address for monitoring, and the gauges that say how a node is guarded.

use std::net::SocketAddr;

use tidegate::config::Auth;

use crate::{
    raw::Raw,
    support::{Service, free_port},
};

async fn asked(service: &Service, method: &str, path: &str) -> (u16, String) {
    let address = service.config.metrics_listen.unwrap();
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("http://{address}{path}");
    let answer = service.http.request(method, url).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_has_an_address_of_its_own_without_credentials() {
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.limits.tcp_connections = 2;
        config.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], free_port())));
    })
    .await;
    assert_eq!(service.send("GET", "/nodes", None).await.0, 401);
    // It has room when the node has none.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Raw::dial(service.address).await);
    }
    let (status, metrics) = asked(&service, "GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("\ntidegate_insecure 0\n"), "{metrics}");
    let (status, health) = asked(&service, "GET", "/health").await;
    assert_eq!(status, 200);
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["parts"]["feed"]["status"], "current");
    for (method, path, expected) in [
        ("GET", "/", 404),
        ("GET", "/api/v1/subscriptions", 404),
        ("GET", "/api/v1/health", 404),
        ("POST", "/metrics", 405),
        ("POST", "/api/v1/events", 404),
    ] {
        let (status, answer) = asked(&service, method, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(answer.contains("/problems/"), "{path}: {answer}");
    }
    // Its own room has an end.
    let address = service.config.metrics_listen.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(Raw::dial(address).await);
    }
    let mut last = crowd.pop().unwrap();
    assert!(!last.goes_on().await, "it is closed");
    drop((crowd, silent));
    let limited = "tidegate_limited_total{what=\"monitoring_connections\"}";
    let counted = async || {
        let url = format!("http://{address}/metrics");
        let Ok(answer) = service.http.get(url).send().await else {
            return false;
        };
        answer.text().await.is_ok_and(|text| text.contains(limited))
    };
    service.until("the closed ones are counted", counted).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_needs_the_word_insecure_says_so() {
    let service = Service::start_with(|config| {
        config.listen = SocketAddr::from(([0, 0, 0, 0], 8080));
        config.insecure = true;
    })
    .await;
    assert_eq!(service.count("tidegate_insecure").await, 1);
    service.stop().await;
}
