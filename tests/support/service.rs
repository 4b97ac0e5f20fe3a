//! A node of the service in this process, on a database of its own.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mongodb::{Client, Database};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::Value;
use tidegate::{
    config::{self, Config},
    server::{self, NodeError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Socket, credentials, database_name, described, leave_open, shared_mongod};

/// The time after which a test fails if what must happen has not happened.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A running node.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), NodeError>>>,
}

impl Service {
    /// Starts a node on a fresh database of the shared mongod. Returns when it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a node like [`Service::start`], with settings of the test's choice.
    pub(crate) async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        let uri = shared_mongod().await.uri();
        let mut config = Config {
            mongodb_uri: uri,
            database: database_name(),
            shutdown_timeout: Duration::from_secs(5),
            socket: config::Socket {
                drain: Duration::ZERO,
                ..config::Socket::default()
            },
            ..Config::default()
        };
        settings(&mut config);
        Self::on(config).await
    }

    /// Starts a node like [`Service::start_with`] that asks for no credentials in any case.
    pub(crate) async fn start_open(settings: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(|config| {
            leave_open(config);
            settings(config);
        })
        .await
    }

    /// Starts a second node on the same database.
    pub(crate) async fn sibling(&self) -> Self {
        Self::on(self.config.clone()).await
    }

    /// Starts a node with exactly these settings, but on a free port.
    pub(crate) async fn on(mut config: Config) -> Self {
        // A node that fetches the keys of issuers needs it at once.
        drop(rustls::crypto::ring::default_provider().install_default());
        let asks = credentials::require(&mut config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server::run(config.clone(), listener, stop.clone()));
        let mut service = Self::at(address, config).await;
        service.stop = stop;
        service.task = Some(task);
        if asks {
            let key = credentials::make(address, &service.config);
            service.http = http_client(&service.config, Some(&key));
        }
        service
    }

    /// Makes a handle on a node that runs elsewhere, with these settings.
    pub(crate) async fn at(address: SocketAddr, config: Config) -> Self {
        let client = Client::with_uri_str(&config.mongodb_uri).await.unwrap();
        let service = Self {
            address,
            database: client.database(&config.database),
            http: http_client(&config, None),
            config,
            stop: CancellationToken::new(),
            task: None,
        };
        service
            .until("ready", async || service.status("/ready").await == 200)
            .await;
        described::learn(&service.http, &service.base()).await;
        service
    }

    /// Makes the URL of a path below `/api/v1`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base())
    }

    /// Returns the URL without a path.
    fn base(&self) -> String {
        let tls = self.config.tls.is_on();
        format!("{}://{}", if tls { "https" } else { "http" }, self.address)
    }

    /// Sends a GET. Returns the status of the answer; 0 while nothing answers.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let answer = self.http.get(self.url(path)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// Sends a request with a JSON body. Returns the status and the JSON of the answer (null if it has none).
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, self.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends a GET that must succeed. Returns its JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Sends a POST that must succeed. Returns its JSON.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.send("POST", path, Some(body)).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {body}");
        body
    }

    /// Creates a subscription with this filter. Returns its id.
    pub(crate) async fn subscribe(&self, filter: Value) -> String {
        let made = self
            .post("/subscriptions", serde_json::json!({"filter": filter}))
            .await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the node has applied what was committed before. With credentials it shows no event sooner.
    pub(crate) async fn catch_up(&self) {
        let id = self.subscribe(serde_json::json!({})).await;
        let path = format!("/subscriptions/{id}");
        assert_eq!(self.send("DELETE", &path, None).await.0, 204);
    }

    /// Publishes one event of this type and data.
    pub(crate) async fn publish(&self, kind: &str, data: Value) {
        self.post("/events", serde_json::json!({"type": kind, "data": data}))
            .await;
    }

    /// Opens a socket on a subscription and reads its `connected` message.
    pub(crate) async fn connect(&self, id: &str) -> Socket {
        let mut socket = self.open(id, "").await;
        let connected = socket.message().await;
        assert_eq!(connected["type"], "connected", "{connected}");
        socket
    }

    /// Opens a socket with a query (`?after=…`), and reads nothing.
    pub(crate) async fn open(&self, id: &str, query: &str) -> Socket {
        Socket::open(
            self.address,
            &format!("/api/v1/subscriptions/{id}/events{query}"),
            None,
        )
        .await
        .unwrap()
    }

    /// Reads a metric by its name and labels, for example `tidegate_connections_closed_total{reason="deleted"}`; 0 if
    /// it does not exist.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let value = self.metric_text(name).await;
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Reads a metric like [`Service::metric`], as a whole number.
    pub(crate) async fn count(&self, name: &str) -> i64 {
        let value = self.metric_text(name).await;
        value.map_or(0, |value| value.parse().unwrap())
    }

    async fn metric_text(&self, name: &str) -> Option<String> {
        let text = self.metrics().await;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(str::to_owned)
    }

    /// Reads all metrics as text.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.base());
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// Counts the connections closed for a reason, as a whole number.
    pub(crate) async fn count_closed(&self, reason: &str) -> i64 {
        self.count(&format!(
            "tidegate_connections_closed_total{{reason=\"{reason}\"}}"
        ))
        .await
    }

    /// Counts the connections closed for a reason.
    pub(crate) async fn closed(&self, reason: &str) -> f64 {
        self.metric(&format!(
            "tidegate_connections_closed_total{{reason=\"{reason}\"}}"
        ))
        .await
    }

    /// Asserts, in one reading of the metrics, that every connection that was opened is open or was closed for one
    /// reason.
    pub(crate) async fn assert_books_balance(&self) {
        let text = self.metrics().await;
        let sum = |prefix: &str| -> f64 {
            text.lines()
                .filter(|line| line.starts_with(prefix))
                .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
                .sum()
        };
        let opened = sum("tidegate_connections_opened_total ");
        let open = sum("tidegate_connections ");
        let closed = sum("tidegate_connections_closed_total{");
        assert!(
            (opened - open - closed).abs() < f64::EPSILON,
            "{opened} {open} {closed}"
        );
    }

    /// Waits until `reached` is true, or fails after [`DEADLINE`].
    pub(crate) async fn until(&self, what: &str, reached: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !reached().await {
            assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Begins the orderly stop and returns at once.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops in order. Panics if the node ends with an error.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(DEADLINE, task)
            .await
            .expect("stops in time")
            .unwrap()
            .unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Makes a client that keeps no connection open between requests, so that a stopping node need not wait for it. It presents
/// a key, if there is one. Of a node that speaks HTTPS it knows the certificate as a root, and no other.
fn http_client(config: &Config, key: Option<&str>) -> reqwest::Client {
    // The client needs a TLS provider although it does not use TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        headers.insert(AUTHORIZATION, value);
    }
    let mut client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .default_headers(headers)
        .timeout(DEADLINE);
    if config.tls.is_on() {
        let root = std::fs::read(&config.tls.certificate).unwrap();
        let root = reqwest::Certificate::from_pem(&root).unwrap();
        client = client.tls_certs_only([root]);
    }
    client.build().unwrap()
}
