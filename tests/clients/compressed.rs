//! Proxies that compress: pages are compressed, and events arrive at once.

use reqwest::{
    Response,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING},
};
use serde_json::json;

use super::{
    front::Front,
    installed::{
        Program::{self, Nginx, Node},
        are_here,
    },
    support::{Events, Service},
};

async fn get(service: &Service, url: &str, accept: &str) -> Response {
    let request = service.http.get(url).header(ACCEPT, accept);
    // Only an answer that allows it may be compressed.
    request
        .header(ACCEPT_ENCODING, "gzip")
        .send()
        .await
        .unwrap()
}

async fn check(program: Program, front: impl AsyncFn(&Service) -> Front) {
    if !are_here(&[program]) {
        return;
    }
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let front = front(&service).await;
    service.publish("tick", json!({"n": 0})).await;
    let url = front.url(&format!("/subscriptions/{id}/events"));
    let page = get(&service, &url, "application/json").await;
    assert_eq!(page.headers()[CONTENT_ENCODING], "gzip", "{program:?}");

    let stream = get(&service, &url, "text/event-stream").await;
    assert_eq!(stream.status(), 200, "{program:?}");
    if program == Node {
        assert!(!stream.headers().contains_key(CONTENT_ENCODING));
    }
    if !stream.headers().contains_key(CONTENT_ENCODING) {
        let mut events = Events::of(stream);
        assert_eq!(events.next().await.unwrap().name, "connected");
        service.publish("tick", json!({"n": 1})).await;
        assert_eq!(events.next().await.unwrap().data["event"]["data"]["n"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_node_compresses_pages_and_passes_events_at_once() {
    let front = async |service: &Service| Front::compressing(service.address).await;
    check(Node, front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_compresses_pages_and_passes_events_at_once() {
    let front = async |service: &Service| Front::nginx(service.address).await;
    check(Nginx, front).await;
}
