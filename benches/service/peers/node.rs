//! A mongod and nodes of the service, each a process.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mongodb::Database;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tidegate::{
    client::Client,
    mongod::{Mongod, Options},
};

use super::credentials::{self, client_with};
use crate::rig::{kernel, pin};

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
/// The database of a node that is given none.
const DATABASE: &str = "tidegate";
/// Subscriptions per request.
const BATCH: usize = 1_000;

/// A node's process; killed when dropped.
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) database: Database,
    pub(crate) client: Client,
    /// The administrator's key that the client presents, if the node asks for one.
    token: Option<SecretString>,
    uri: String,
    process: Child,
    /// The server under the first node. It stops with that node.
    mongod: Option<Mongod>,
}

impl Node {
    pub(crate) async fn start() -> Result<Self> {
        Self::on(mongod().await?).await
    }

    /// Starts a node on a server that may hold data already. Returns when it is ready.
    pub(crate) async fn on(mongod: Mongod) -> Result<Self> {
        Self::with(mongod, &[]).await
    }

    /// Kills the node, and starts one with these settings (variables) on the same server.
    pub(crate) async fn restart(mut self, settings: &[(&str, &str)]) -> Result<Self> {
        let mongod = self.mongod.take().context("the first node")?;
        drop(self);
        Self::with(mongod, settings).await
    }

    /// Starts a node with settings (variables) of its own.
    pub(crate) async fn with(mongod: Mongod, settings: &[(&str, &str)]) -> Result<Self> {
        let mut node = Self::serving(&mongod.uri(), settings).await?;
        node.mongod = Some(mongod);
        Ok(node)
    }

    /// Starts a second node on the same server. It must be stopped before the first.
    pub(crate) async fn sibling(&self) -> Result<Self> {
        Self::serving(&self.uri, &[]).await
    }

    /// Starts a node on a server that somebody else stops.
    pub(crate) async fn serving(uri: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::of_database(uri, DATABASE, settings).await
    }

    /// Starts a node on a database of a server that somebody else stops.
    pub(crate) async fn of_database(
        uri: &str,
        database: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let node = Self::spawn(uri, database, settings).await?;
        node.until_ready().await?;
        Ok(node)
    }

    /// Starts a node on a database that asks for credentials. Its client presents an administrator's key.
    pub(crate) async fn guarded(
        uri: &str,
        database: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let key = credentials::admin_key(uri, database)?;
        let settings = [credentials::SETTINGS, settings].concat();
        let node = Self::of_database(uri, database, &settings).await?;
        Ok(node.presenting(key))
    }

    /// Presents this key from now on.
    pub(crate) fn presenting(mut self, key: SecretString) -> Self {
        self.client = client_with(&self.client, &key);
        self.token = Some(key);
        self
    }

    /// Starts a node on both cores, to measure how soon it is ready while nothing else runs.
    pub(crate) async fn on_both_cores(
        uri: &str,
        database: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let node = Self::spawn(uri, database, settings).await?;
        pin::both(node.process.id())?;
        node.until_ready().await?;
        Ok(node)
    }

    async fn spawn(uri: &str, database: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let process = pin::server(BINARY)
            .args(["serve", "--mongodb-uri", uri, "--listen", &address])
            .args(["--database", database, "--log", "warn"])
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .context("the release binary")?;
        let mongodb = mongodb::Client::with_uri_str(uri).await?;
        Ok(Self {
            client: Client::new(Url::parse(&format!("http://{address}"))?)?,
            address,
            database: mongodb.database(database),
            token: None,
            uri: uri.to_owned(),
            process,
            mongod: None,
        })
    }

    async fn until_ready(&self) -> Result<()> {
        for _ in 0..12_000 {
            let request = self.client.request(Method::GET, &["ready"]);
            if self.client.call(request).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the service does not become ready")
    }

    /// Creates a subscription; returns its id.
    pub(crate) async fn subscribe(&self, filter: Value) -> Result<String> {
        let ids = self.subscribe_many(vec![filter]).await?;
        ids.into_iter().next().context("an id")
    }

    /// Creates a subscription for each filter. Returns their ids in order.
    pub(crate) async fn subscribe_many(&self, filters: Vec<Value>) -> Result<Vec<String>> {
        Self::subscribe_as(&self.client, filters).await
    }

    /// Does the same for whoever a client is.
    pub(crate) async fn subscribe_as(client: &Client, filters: Vec<Value>) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(filters.len());
        for part in filters.chunks(BATCH) {
            let items: Vec<Value> = part
                .iter()
                .map(|filter| json!({ "filter": filter }))
                .collect();
            let path = ["subscriptions", "batch"];
            let request = client.request(Method::POST, &path).json(&items);
            let made = client.call(request).await?.body;
            for item in made["items"].as_array().context("items")? {
                let id = item["subscription"]["id"].as_str().context("an id")?;
                ids.push(id.to_owned());
            }
        }
        Ok(ids)
    }

    /// Makes a second database on the same server, with the same collections, validators and indexes. No node reads it.
    pub(crate) fn bare_database(&self) -> Result<Database> {
        migrate(&self.uri, "bare")?;
        Ok(self.database.client().database("bare"))
    }

    /// Reads a metric, named with its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let mut request = reqwest::Client::new().get(format!("http://{}/metrics", self.address));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let text = request.send().await?.text().await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.context("a metric")?.parse()?)
    }

    /// Returns the CPU time of the service so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        kernel::cpu(self.process.id())
    }

    /// Returns the CPU time of the service and of the database so far.
    pub(crate) fn both_cpu(&self) -> Result<[Duration; 2]> {
        let mongod = self.mongod.as_ref().context("the first node")?;
        let mongod = mongod.id().context("mongod's process")?;
        Ok([self.cpu()?, kernel::cpu(mongod)?])
    }

    /// Tells what each of these events took of both since `before`.
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    pub(crate) fn cpu_each(&self, before: [Duration; 2], events: u64) -> Result<String> {
        let now = self.both_cpu()?;
        let [node, mongod] = [0, 1].map(|index| {
            let spent = now[index].saturating_sub(before[index]);
            spent.div_f64(events as f64)
        });
        Ok(format!(
            "{node:.2?} of the node's and {mongod:.2?} of mongod's CPU an event"
        ))
    }

    /// Returns the resident memory of the service, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        kernel::resident(self.process.id())
    }

    /// Sends the process a signal by its name.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status()?;
        ensure!(sent.success(), "no signal {name}");
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        let mongod = self.mongod.take();
        drop(self);
        if let Some(mongod) = mongod {
            mongod.stop().await;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process.kill().is_ok() && self.process.wait().is_err() {
            eprintln!("a node's process may be left");
        }
    }
}

/// Makes the collections of a database as the service does.
pub(crate) fn migrate(uri: &str, database: &str) -> Result<()> {
    let migrated = Command::new(BINARY)
        .args(["migrate", "--mongodb-uri", uri, "--database", database])
        .output()?;
    ensure!(migrated.status.success(), "{database} is not migrated");
    Ok(())
}

/// Starts a private server with an oplog of a useful size, on both cores.
pub(crate) async fn mongod() -> Result<Mongod> {
    let options = Options {
        oplog_size_mb: 1_024,
        ..Options::default()
    };
    let mongod = Mongod::start(options).await?;
    pin::both(mongod.id().context("mongod's process")?)?;
    Ok(mongod)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
