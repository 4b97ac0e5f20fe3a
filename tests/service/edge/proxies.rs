//! Proxies that say for whom they ask, and are believed only if they are known.

use serde_json::json;
use tidegate::config::{Auth, ForwardedHeader};

use crate::{
    access::make,
    raw::{Raw, upgrade_request},
    support::{Service, admin_key},
};

const UNUSABLE: &str = "tidegate_forwarded_unusable_total";

/// Asks who a key is, with these header lines. Returns the status.
async fn asked(service: &Service, key: &str, lines: &[(&str, &str)]) -> u16 {
    let mut request = service.http.get(service.url("/whoami")).bearer_auth(key);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_the_networks_of_clients_whom_a_trusted_proxy_names() {
    const NAME: &str = "X-Forwarded-For";
    let service = Service::start_with(|config| {
        config.auth = Auth::Required;
        config.proxy.trusted = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    let admin = admin_key(&service.config);
    let body = json!({"scopes": ["metrics"], "networks": ["192.0.2.0/24"]});
    let (_, key) = make(&service, &admin, body).await;
    let body = json!({"scopes": ["metrics"], "networks": ["127.0.0.0/8"]});
    let (_, of_proxy) = make(&service, &admin, body).await;
    for (lines, client, proxy) in [
        (&[][..], 403, 200),
        (&[(NAME, "192.0.2.7")], 200, 403),
        (&[(NAME, "198.51.100.1, 192.0.2.7")], 200, 403),
        (&[(NAME, "192.0.2.7"), (NAME, "127.0.0.2")], 200, 403),
        (&[(NAME, "198.51.100.1")], 403, 403),
        (&[(NAME, "192.0.2.7, 198.51.100.1")], 403, 403),
        // Neither the client's address nor its proxy's.
        (&[(NAME, "192.0.2.7, unknown")], 403, 403),
        (&[("Forwarded", "for=192.0.2.7")], 403, 200),
    ] {
        assert_eq!(asked(&service, &key, lines).await, client, "{lines:?}");
        assert_eq!(asked(&service, &of_proxy, lines).await, proxy, "{lines:?}");
    }
    let metrics = service
        .http
        .get(format!("http://{}/metrics", service.address));
    let metrics = metrics.bearer_auth(&admin).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("{UNUSABLE} 2\n")), "{metrics}");
    let mut config = service.config.clone();
    config.proxy.header = ForwardedHeader::Forwarded;
    let other = Service::on(config.clone()).await;
    let lines = [("Forwarded", "for=\"192.0.2.7:4711\"")];
    assert_eq!(asked(&other, &key, &lines).await, 200);
    assert_eq!(asked(&other, &key, &[(NAME, "192.0.2.7")]).await, 403);
    other.stop().await;
    // This one knows no proxy at its client's address.
    config.proxy.trusted = vec!["127.0.0.2".to_owned()];
    let stranger = Service::on(config).await;
    assert_eq!(asked(&stranger, &key, &lines).await, 403);
    stranger.stop().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_shows_the_client_behind_the_proxy() {
    let service = Service::start_with(|config| {
        config.proxy.trusted = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut sockets = Vec::new();
    for (lines, shown) in [
        ("", "127.0.0.1:"),
        ("X-Forwarded-For: 10.0.0.1, 2001:db8::7\r\n", "2001:db8::7"),
        ("X-Forwarded-For: nobody\r\n", "127.0.0.1:"),
    ] {
        let mut raw = Raw::dial(service.address).await;
        raw.send(upgrade_request(&id, lines).as_bytes()).await;
        assert_eq!(raw.answer().await.status, 101);
        sockets.push(raw);
        let path = format!("/subscriptions/{id}/connections");
        let items = service.get(&path).await["items"].clone();
        let remote = items[sockets.len() - 1]["remote"].as_str().unwrap();
        assert!(remote.starts_with(shown), "{items}");
    }
    assert_eq!(service.count(UNUSABLE).await, 1);
    drop(sockets);
    service.stop().await;
}

/// Its clients are many, and have one address.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_not_held_to_the_share_of_one_address() {
    let service = Service::start_with(|config| {
        config.proxy.trusted = vec!["127.0.0.1".to_owned()];
        config.limits.tcp_connections = 12;
        config.limits.tcp_connections_per_address = 2;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Raw::dial(service.address).await);
    }
    assert_eq!(service.status("/nodes").await, 200);
    let limited = |what| format!("tidegate_limited_total{{what=\"{what}\"}}");
    let of_address = limited("tcp_connections_per_address");
    assert_eq!(service.count(&of_address).await, 0);
    for _ in 0..12 {
        silent.push(Raw::dial(service.address).await);
    }
    let mut last = Raw::dial(service.address).await;
    let nodes = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n";
    last.send(nodes).await;
    assert_eq!(last.answer().await.status, 503);
    drop(silent);
    let free = async || service.status("/nodes").await == 200;
    service.until("there are places again", free).await;
    assert!(service.count(&limited("tcp_connections")).await > 0);
    assert_eq!(service.count(&of_address).await, 0);
    service.stop().await;
}
