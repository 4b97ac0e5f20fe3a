//! Clients that are cut off, sent away by a stopping node, or refused: each reconnects by itself, and gets every event
//! once.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tidegate::{config::Config, server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    door::Door,
    front::Front,
    installed::Program::{self, Chromium, Nginx, Node, Python},
    support::{Service, free_port},
};

/// Events between two interruptions.
const SOME: i64 = 3;

/// A client of other people's making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// From npm.
    EventSource,
    /// For Python.
    HttpxSse,
    Websockets,
    /// In a page.
    InBrowser(&'static str),
}

impl Kind {
    fn programs(self) -> &'static [Program] {
        match self {
            Self::EventSource => &[Node],
            Self::HttpxSse | Self::Websockets => &[Python],
            Self::InBrowser(_) => &[Node, Chromium],
        }
    }

    fn start(self, url: &str, page: u16) -> Client {
        let mut command = match self {
            Self::EventSource => Node.script("eventsource.mjs"),
            Self::HttpxSse => Python.script("events.py"),
            Self::Websockets => Python.script("socket_client.py"),
            Self::InBrowser(_) => Node.script("browser.mjs"),
        };
        if let Self::InBrowser(kind) = self {
            command.arg(kind).arg(page.to_string());
        }
        command.arg(url);
        Client::start(command)
    }

    fn is_socket(self) -> bool {
        matches!(self, Self::Websockets | Self::InBrowser("WebSocket"))
    }
}

/// The proxy before the node.
#[derive(Clone, Copy)]
enum Behind {
    Nothing,
    Nginx,
    Compressing,
}

impl Behind {
    fn programs(self) -> &'static [Program] {
        match self {
            Self::Nothing => &[],
            Self::Nginx => &[Nginx],
            Self::Compressing => &[Node],
        }
    }

    async fn start(self, kind: Kind, node: SocketAddr) -> Front {
        match self {
            Self::Nothing => Front::none(node),
            Self::Nginx if kind.is_socket() => Front::upgrading_nginx(node).await,
            Self::Nginx => Front::nginx(node).await,
            Self::Compressing => Front::compressing(node).await,
        }
    }
}

/// Publishes the next events, and waits until the client has them.
async fn publish(service: &Service, client: &mut Client, next: &mut i64) {
    let events = (*next..*next + SOME).map(|n| json!({"type": "tick", "data": {"n": n}}));
    service.post("/events", events.collect()).await;
    *next += SOME;
    client.until_event(*next - 1).await;
}

/// Starts a node that waits for its database.
async fn not_ready(config: &Config) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config {
        mongodb_uri: format!("mongodb://127.0.0.1:{}/?replicaSet=r", free_port()),
        ..config.clone()
    };
    let stop = CancellationToken::new();
    tokio::spawn(server::run(config, listener, stop.clone()));
    (address, stop)
}

/// Refuses the client there, more than once.
async fn refuse(door: &Door, service: &Service, node: SocketAddr) {
    door.lead_to(node);
    door.cut();
    // The answers have passed. An attempt that is cut would be a 502 of nginx, after which an EventSource gives up.
    service.until("refused", async || door.ended() > 1).await;
}

async fn comes_back(kind: Kind, behind: Behind) {
    if !super::installed::are_here(&[kind.programs(), behind.programs()].concat()) {
        return;
    }
    let page = free_port();
    let service = Service::start_with(|config| {
        config.cors.origins = vec![format!("http://127.0.0.1:{page}")];
        config.socket.drain = Duration::from_millis(200);
    })
    .await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let door = Door::to(service.address).await;
    let front = behind.start(kind, door.address).await;
    let url = front.url(&format!("/subscriptions/{id}/events"));
    let mut client = kind.start(&url, page);
    let mut next = 0;
    client
        .until("connected", |line| line["saw"] == "connected")
        .await;
    publish(&service, &mut client, &mut next).await;

    door.cut();
    publish(&service, &mut client, &mut next).await;

    let other = service.sibling().await;
    door.lead_to(other.address);
    service.stop().await;
    publish(&other, &mut client, &mut next).await;
    assert!(client.saw("ended", "shutdown"), "{client:?}");

    let mut config = other.config.clone();
    config.limits.connections = 0;
    let full = Service::on(config).await;
    let (starting, stop) = not_ready(&other.config).await;
    refuse(&door, &other, full.address).await;
    refuse(&door, &other, starting).await;
    door.lead_to(other.address);
    publish(&other, &mut client, &mut next).await;
    if !kind.is_socket() {
        assert!(client.saw("ended", "overloaded"), "{client:?}");
    }

    let all: Vec<_> = (0..next).collect();
    assert_eq!(client.numbers(), all, "{client:?}");
    client.finish().await;
    stop.cancel();
}

/// Runs all at once, because they wait most of the time.
async fn come_back(behind: Behind, kinds: &[Kind]) {
    join_all(kinds.iter().map(|kind| comes_back(*kind, behind))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_by_themselves() {
    let kinds = [
        Kind::EventSource,
        Kind::HttpxSse,
        Kind::Websockets,
        Kind::InBrowser("EventSource"),
        Kind::InBrowser("EventSourcePolyfill"),
        Kind::InBrowser("WebSocket"),
    ];
    come_back(Behind::Nothing, &kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_behind_nginx() {
    let kinds = [Kind::Websockets, Kind::InBrowser("EventSource")];
    come_back(Behind::Nginx, &kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_behind_a_compressing_proxy() {
    let kinds = [
        Kind::HttpxSse,
        Kind::InBrowser("EventSource"),
        Kind::InBrowser("WebSocket"),
    ];
    come_back(Behind::Compressing, &kinds).await;
}
