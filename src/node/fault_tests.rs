//! A panic in the task of a connection ends that connection alone. A panic while a filter is matched concerns that
//! filter alone.

use std::{net::SocketAddr, time::Duration};

use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;
use tungstenite::{Error, Message};

use super::run;
use crate::{
    config::Config,
    filter::fault,
    mongod::{Mongod, Options},
    session::fault::{BEGINS_BADLY, CANNOT_BE_MATCHED, WORDS},
};

const DEADLINE: Duration = Duration::from_mins(1);

struct Node {
    address: SocketAddr,
    http: reqwest::Client,
}

impl Node {
    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.address)
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = self.http.post(self.url(path)).json(&body).send().await;
        let answer = answer.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Creates a subscription to one type of events, which is also its id.
    async fn subscribe(&self, kind: &str) {
        self.put(kind, json!({"type": kind})).await;
    }

    async fn put(&self, id: &str, filter: Value) {
        let url = self.url(&format!("/subscriptions/{id}"));
        let body = json!({"filter": filter});
        let answer = self.http.put(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn publish(&self, kind: &str, data: &str) {
        self.post("/events", json!({"type": kind, "data": data}))
            .await;
    }

    async fn upgraded(&self, id: &str) -> Result<WebSocketStream<TcpStream>, Error> {
        self.upgraded_with(id, "").await
    }

    async fn upgraded_with(
        &self,
        id: &str,
        query: &str,
    ) -> Result<WebSocketStream<TcpStream>, Error> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let url = format!(
            "ws://{}/api/v1/subscriptions/{id}/events{query}",
            self.address
        );
        client_async(url, tcp).await.map(|(socket, _)| socket)
    }

    async fn socket(&self, id: &str) -> WebSocketStream<TcpStream> {
        let mut socket = self.upgraded(id).await.unwrap();
        assert_eq!(said(&mut socket).await["type"], "connected");
        socket
    }

    /// Opens a stream of server-sent events, and returns its chunks.
    async fn events(&self, id: &str) -> impl Stream<Item = String> + Unpin {
        let url = self.url(&format!("/subscriptions/{id}/events"));
        let request = self.http.get(url).header("accept", "text/event-stream");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let chunks = answer.bytes_stream();
        Box::pin(chunks.map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap()))
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

async fn said(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let frame = timeout(DEADLINE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Message::Text(text) = frame {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Reads until these words have come, or to the end.
async fn read_until(events: &mut (impl Stream<Item = String> + Unpin), words: &str) -> String {
    let mut read = String::new();
    while !read.contains(words) {
        match timeout(DEADLINE, events.next()).await.unwrap() {
            Some(chunk) => read.push_str(&chunk),
            None => break,
        }
    }
    read
}

async fn start(mongod: &Mongod, stop: &CancellationToken) -> Node {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let node = Node {
        address: listener.local_addr().unwrap(),
        http: reqwest::Client::new(),
    };
    let config = Config {
        mongodb_uri: mongod.uri(),
        ..Config::default()
    };
    tokio::spawn(run(config, listener, stop.clone()));
    let ready = async {
        loop {
            let asked = node.http.get(node.url("/ready")).send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, ready).await.expect("ready in time");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_connection_ends_that_connection_alone() {
    let mongod = Mongod::start(Options::default()).await.unwrap();
    let stop = CancellationToken::new();
    let node = start(&mongod, &stop).await;
    for id in ["struck", "spared", BEGINS_BADLY] {
        node.subscribe(id).await;
    }
    let (mut struck, mut spared) = (node.socket("struck").await, node.socket("spared").await);
    let (mut struck_sse, mut spared_sse) =
        (node.events("struck").await, node.events("spared").await);
    read_until(&mut struck_sse, "connected").await;

    // The task should have sent the rest of the answer.
    assert!(node.upgraded(BEGINS_BADLY).await.is_err());

    node.publish("struck", WORDS).await;
    let ended = said(&mut struck).await;
    assert_eq!(
        (&ended["type"], &ended["code"]),
        (&json!("ended"), &json!(1011))
    );
    assert_eq!(ended["reason"], "internal_error");
    let Some(Ok(Message::Close(Some(close)))) = struck.next().await else {
        panic!("no close");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1011, "internal_error")
    );
    let last = read_until(&mut struck_sse, "never").await;
    assert!(last.contains("\"reason\":\"internal_error\""), "{last}");

    node.publish("spared", "still here").await;
    assert_eq!(said(&mut spared).await["event"]["data"], "still here");
    assert!(
        read_until(&mut spared_sse, "still here")
            .await
            .contains("still here")
    );
    let metrics = node.metrics().await;
    for line in [
        "tidegate_connections_opened_total 5",
        "tidegate_connections 2",
        "tidegate_connections_closed_total{reason=\"internal_error\"} 3",
        "tidegate_outbox_bytes 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    stop.cancel();
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_an_event_is_matched_makes_that_subscription_invalid_and_no_other() {
    let mongod = Mongod::start(Options::default()).await.unwrap();
    let stop = CancellationToken::new();
    let node = start(&mongod, &stop).await;
    let panics = json!({"type": "tick", "data": {"$ne": fault::TEXT}});
    node.put("struck", panics).await;
    node.subscribe("tick").await;
    let (mut struck, mut spared) = (node.socket("struck").await, node.socket("tick").await);
    for data in ["one", CANNOT_BE_MATCHED, "three"] {
        node.publish("tick", data).await;
        assert_eq!(said(&mut spared).await["event"]["data"], data);
    }
    let updated = said(&mut struck).await;
    assert_eq!(updated["type"], "updated");
    assert_eq!(updated["subscription"]["status"], "invalid");
    let error = updated["subscription"]["error"].as_str().unwrap();
    assert!(error.starts_with("#/filter: "), "{error}");

    // A replay that panics at an event reports that event alone, and blames no filter.
    let query = "?since=2020-01-01T00:00:00Z";
    let mut late = node.upgraded_with("tick", query).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&json!("three")) {
        let message = said(&mut late).await;
        let reason = &message["reason"];
        if message["type"] == "event" {
            heard.push(message["event"]["data"].clone());
        } else if *reason == "undecodable_change" {
            heard.push(reason.clone());
        }
    }
    assert_eq!(heard, ["one", "undecodable_change", "three"]);
    node.publish("tick", "four").await;
    for socket in [&mut spared, &mut late] {
        assert_eq!(said(socket).await["event"]["data"], "four");
    }
    let metrics = node.metrics().await;
    for line in [
        "tidegate_filters_blamed_total 1",
        "tidegate_subscriptions{status=\"invalid\"} 1",
        "tidegate_connections 3",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    stop.cancel();
    mongod.stop().await;
}
