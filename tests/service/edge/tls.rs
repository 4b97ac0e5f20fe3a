//! HTTPS spoken by the node itself: calls, sockets and server-sent events, slow clients, and the certificate's replacement.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::{
    config::{self, Config},
    server::{self, NodeError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tungstenite::Message;

use crate::{
    kit::insert_events,
    process::Process,
    support::{Closed, Service, Socket, database_name, shared_mongod},
};

const ALERT: &str = "tidegate_http_connections_failed_total{cause=\"tls\"}";

/// Makes a certificate for this machine, and writes it with its key. Returns the certificate.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn settings(folder: &Path) -> config::Tls {
    let path = |name| folder.join(name).to_str().unwrap().to_owned();
    config::Tls {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        ..config::Tls::default()
    }
}

/// Starts a node that speaks HTTPS. The folder holds its certificate.
async fn start(more: impl FnOnce(&mut Config)) -> (Service, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let service = Service::start_with(|config| {
        config.tls = settings(folder.path());
        more(config);
    })
    .await;
    (service, folder)
}

/// Makes the client's side of TLS, which trusts this certificate alone.
fn connector(root: CertificateDer<'static>, alpn: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

fn root(service: &Service) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&service.config.tls.certificate).unwrap()
}

async fn dial(
    service: &Service,
    tcp: TcpStream,
    alpn: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    connector(root(service), alpn).connect(name, tcp).await
}

async fn open(service: &Service, tcp: TcpStream, id: &str) -> Socket<TlsStream<TcpStream>> {
    let stream = dial(service, tcp, &["http/1.1"]).await.unwrap();
    let path = format!("/api/v1/subscriptions/{id}/events");
    let socket = Socket::over(stream, service.address, &path, None).await;
    let mut socket = socket.unwrap();
    assert_eq!(socket.message().await["type"], "connected");
    socket
}

async fn connect(service: &Service, id: &str) -> Socket<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(service.address).await.unwrap();
    open(service, tcp, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_sockets_and_streams_go_over_tls() {
    let (service, _folder) = start(|_| {}).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = connect(&service, &id).await;
    let stream = service
        .http
        .get(service.url(&format!("/subscriptions/{id}/events")));
    let stream = stream.header("Accept", "text/event-stream").send().await;
    let mut stream = stream.unwrap().bytes_stream();
    let mut text = String::new();
    let until = async |stream: &mut (
                                dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>>
                                    + Unpin
                                    + Send
                            ),
                       text: &mut String,
                       end: &str| {
        while !text.contains(end) {
            let chunk = stream.next().await.expect("more").unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    until(&mut stream, &mut text, "event: connected").await;
    // Both directions in one and in many records.
    for (n, data) in [json!("small"), json!("x".repeat(300_000)), json!(null)]
        .into_iter()
        .enumerate()
    {
        service.publish("a", json!({"n": n, "data": data})).await;
        assert_eq!(socket.event().await, json!({"n": n, "data": data}));
        until(&mut stream, &mut text, &format!("\"n\":{n}")).await;
    }
    let (status, _) = service
        .send("DELETE", &format!("/subscriptions/{id}"), None)
        .await;
    assert_eq!(status, 204);
    socket.assert_ends(4500, "deleted").await;
    until(&mut stream, &mut text, "event: ended").await;
    assert!(stream.next().await.is_none(), "the answer ends");
    service.stop().await;
}

/// Encrypted bytes are written once, and nothing gets between them, whatever the client asks meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_gets_every_event_and_its_pongs() {
    const EVENTS: i32 = 40;
    let (service, _folder) = start(|config| {
        config.socket.send_buffer_bytes = 4 * 1024;
        config.socket.outbox_bytes = 64 << 20;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(4 * 1024).unwrap();
    let tcp = tcp.connect(service.address).await.unwrap();
    let mut socket = open(&service, tcp, &id).await;
    let filler = "x".repeat(50_000);
    for n in 0..EVENTS {
        service.publish("a", json!({"n": n, "x": filler})).await;
    }
    for _ in 0..5 {
        let ping = Message::Ping("p".into());
        futures_util::SinkExt::send(&mut socket.stream, ping)
            .await
            .unwrap();
    }
    let (mut events, mut pongs) = (0, 0);
    while events < EVENTS || pongs < 5 {
        match socket.frame().await.unwrap().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(message["event"]["data"]["n"], events);
                assert_eq!(message["event"]["data"]["x"], filler);
                events += 1;
            }
            Message::Pong(_) => pongs += 1,
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    socket.leave().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_closed_as_slow() {
    let (service, _folder) = start(|config| {
        config.socket.send_buffer_bytes = 4 * 1024;
        config.socket.outbox_bytes = 64 * 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(4 * 1024).unwrap();
    let tcp = tcp.connect(service.address).await.unwrap();
    let mut slow = open(&service, tcp, &id).await;
    let mut quick = connect(&service, &id).await;
    let filler = "x".repeat(20_000);
    let closed = async || service.count_closed("slow_consumer").await == 1;
    let mut sent = 0;
    while !closed().await {
        service.publish("a", json!({"n": sent, "x": filler})).await;
        assert_eq!(quick.event().await["n"], sent);
        sent += 1;
        assert!(sent < 1_000, "a client that takes nothing gets everything");
    }
    let (messages, end) = slow.rest().await;
    assert_eq!(end.code, 4000, "{end:?}");
    let (ended, events) = messages.split_last().unwrap();
    assert_eq!(ended["reason"], "slow_consumer");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["event"]["data"]["n"], n);
    }
    quick.leave().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_farewell_over_tls() {
    let (service, _folder) = start(|_| {}).await;
    let id = service.subscribe(json!({})).await;
    let mut socket = connect(&service, &id).await;
    service.begin_stop();
    let (_, end) = socket.rest().await;
    let text = "shutdown".to_owned();
    assert_eq!(end, Closed { code: 1001, text });
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_cannot_succeed_end_alone() {
    let (service, _folder) = start(|config| {
        config.limits.header_timeout = Duration::from_millis(1_500);
    })
    .await;
    let dial_tcp = async || TcpStream::connect(service.address).await.unwrap();
    // A client that says nothing.
    let mut silent = dial_tcp().await;
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    let timeouts = "tidegate_http_connections_failed_total{cause=\"header_timeout\"}";
    let counted = async || service.count(timeouts).await >= 1;
    service.until("the silent one is counted", counted).await;
    // One that speaks HTTP, and one that speaks only a later version.
    let mut plain = dial_tcp().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(plain.read_to_end(&mut rest).await.is_err() || !rest.starts_with(b"HTTP"));
    dial(&service, dial_tcp().await, &["h2"]).await.unwrap_err();
    let counted = async || service.count(ALERT).await == 2;
    service.until("both are counted", counted).await;
    let stream = dial(&service, dial_tcp().await, &["h2", "http/1.1"]).await;
    let chosen = stream
        .unwrap()
        .get_ref()
        .1
        .alpn_protocol()
        .map(<[u8]>::to_vec);
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));
    // A request that is none gets its answer inside TLS.
    let mut stream = dial(&service, dial_tcp().await, &[]).await.unwrap();
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("/problems/malformed-request"), "{answer}");
    let expiry = service.count("tidegate_certificate_expiry_seconds").await;
    assert!(expiry > 1_000_000, "{expiry}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_slot_is_told_so_over_tls() {
    let (service, _folder) = start(|config| config.limits.tcp_connections = 4).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        let tcp = TcpStream::connect(service.address).await.unwrap();
        streams.push(dial(&service, tcp, &[]).await.unwrap());
    }
    let mut last = streams.pop().unwrap();
    let nodes = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n";
    last.write_all(nodes).await.unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(streams);
    let free = async || service.status("/nodes").await == 200;
    service.until("there are slots again", free).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_replaced_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let tls = settings(folder.path());
    let config = Config {
        mongodb_uri: shared_mongod().await.uri(),
        database: database_name(),
        tls: tls.clone(),
        ..Config::default()
    };
    let process = Process::on(
        config,
        &format!(
            "export TIDEGATE_TLS__CERTIFICATE={} TIDEGATE_TLS__KEY={}",
            tls.certificate, tls.key
        ),
    )
    .await;
    let service = &process.service;
    let id = service.subscribe(json!({})).await;
    let mut old = connect(service, &id).await;
    let shown = async |root: &CertificateDer<'static>| {
        let tcp = TcpStream::connect(service.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector(root.clone(), &[]).connect(name, tcp).await;
        stream.is_ok()
    };
    // A certificate whose key is another's.
    let key = fs::read(&tls.key).unwrap();
    let second = certify(folder.path());
    let second_key = fs::read(&tls.key).unwrap();
    fs::write(&tls.key, key).unwrap();
    process.signal("HUP").await;
    let refused = async || !process.logged(&["the old one stays"]).is_empty();
    service.until("the new pair is refused", refused).await;
    let refusal = process.logged(&["the old one stays"]).remove(0);
    assert!(
        refusal.contains("tls.key: is not the certificate's"),
        "{refusal}"
    );
    assert!(shown(&first).await && !shown(&second).await);
    fs::write(&tls.key, second_key).unwrap();
    process.signal("HUP").await;
    let replaced = async || shown(&second).await;
    service.until("the new pair is in use", replaced).await;
    assert!(!shown(&first).await);
    // Whoever is connected stays so.
    insert_events(service, "x", 0..1).await;
    assert_eq!(old.message().await["event"]["type"], "x");
    process.signal("TERM").await;
    assert_eq!(old.rest().await.1.code, 1001);
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_with_a_certificate_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let good = settings(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("broken"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(path("nonsense"), nonsense).unwrap();
    for (certificate, key, client_ca, told) in [
        (
            path("none"),
            good.key.clone(),
            String::new(),
            "tls.certificate: the file cannot be read: entity not found",
        ),
        (
            path("empty"),
            good.key.clone(),
            String::new(),
            "tls.certificate: the file has no certificate",
        ),
        (
            path("broken"),
            good.key.clone(),
            String::new(),
            "tls.certificate: the file is not PEM",
        ),
        (
            good.key.clone(),
            good.key.clone(),
            String::new(),
            "tls.certificate: the file has no certificate",
        ),
        (
            good.certificate.clone(),
            path("none"),
            String::new(),
            "tls.key: the file cannot be read: entity not found",
        ),
        (
            good.certificate.clone(),
            good.certificate.clone(),
            String::new(),
            "tls.key: the file has no private key in the clear",
        ),
        (
            good.certificate.clone(),
            good.key.clone(),
            path("none"),
            "tls.client_ca: the file cannot be read: entity not found",
        ),
        (
            good.certificate.clone(),
            good.key.clone(),
            path("empty"),
            "tls.client_ca: the file has no certificate",
        ),
        (
            good.certificate.clone(),
            good.key.clone(),
            good.key.clone(),
            "tls.client_ca: the file has no certificate",
        ),
        (
            good.certificate.clone(),
            good.key.clone(),
            path("broken"),
            "tls.client_ca: the file is not PEM",
        ),
        (
            good.certificate.clone(),
            good.key.clone(),
            path("nonsense"),
            "tls.client_ca: the file has a certificate that cannot sign others",
        ),
    ] {
        let config = Config {
            tls: config::Tls {
                certificate,
                key,
                client_ca,
            },
            ..Config::default()
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stop = CancellationToken::new();
        let error = server::run(config, listener, stop).await.unwrap_err();
        assert!(matches!(error, NodeError::Certificate(_)), "{error}");
        assert_eq!(error.to_string(), told);
    }
}
