//! A mongod and a node of the service, each a process of its own.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use mongodb::{Client, Database};
use tidegate::mongod::{Mongod, Options};

pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) database: Database,
    pub(crate) http: reqwest::Client,
    process: Process,
    mongod: Mongod,
}

/// The service's process, which ends with this.
struct Process(Child);

impl Process {
    fn end(&mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the service did not end: {error}");
        }
    }
}

impl Node {
    pub(crate) async fn start() -> Result<Self> {
        Self::on(mongod().await?).await
    }

    /// A node on a server that may hold something already; returns when it is ready.
    pub(crate) async fn on(mongod: Mongod) -> Result<Self> {
        Self::with(mongod, &[]).await
    }

    /// Kills the node, and starts one with these settings (variables) on the same server.
    pub(crate) async fn restart(mut self, settings: &[(&str, &str)]) -> Result<Self> {
        self.process.end()?;
        Self::with(self.mongod, settings).await
    }

    /// A node with settings (variables) of its own.
    pub(crate) async fn with(mongod: Mongod, settings: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([
                "serve",
                "--mongodb-uri",
                &mongod.uri(),
                "--listen",
                &address,
                "--log",
                "warn",
            ])
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .context("the release binary")?;
        let client = Client::with_uri_str(mongod.uri()).await?;
        let node = Self {
            address,
            database: client.database("tidegate"),
            http: reqwest::Client::new(),
            process: Process(process),
            mongod,
        };
        node.until_ready().await?;
        Ok(node)
    }

    async fn until_ready(&self) -> Result<()> {
        for _ in 0..12_000 {
            let answer = self.http.get(self.url("/ready")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the service does not become ready")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.address)
    }

    /// Creates a subscription; returns its id.
    pub(crate) async fn subscribe(&self, filter: serde_json::Value) -> Result<String> {
        let body = serde_json::json!({ "filter": filter });
        let answer = self
            .http
            .post(self.url("/subscriptions"))
            .json(&body)
            .send()
            .await?;
        let made: serde_json::Value = answer.error_for_status()?.json().await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let url = format!("http://{}/metrics", self.address);
        let text = self.http.get(url).send().await?.text().await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.context("a metric")?.parse()?)
    }

    /// CPU time of the service so far, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        // User and system time are fields 14 and 15; the name in field 2 may hold blanks.
        const TICKS_PER_SECOND: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let after_name = stat.rsplit(')').next().context("stat")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// Resident memory of the service, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let kilobytes: u64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.end()?;
        self.mongod.stop().await;
        Ok(())
    }
}

/// A private server with an oplog of a useful size.
pub(crate) async fn mongod() -> Result<Mongod> {
    let options = Options {
        oplog_size_mb: 512,
        ..Options::default()
    };
    Ok(Mongod::start(options).await?)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
