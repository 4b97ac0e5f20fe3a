//! A node of the service: the binary as a process, behind proxies on both sides.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    keyring::Keyring,
    proxy::{Cut, Proxy, Weather},
};

/// Time for a node to become ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(90);
/// The lines of the log that are kept for finding out what went wrong.
const LOG_LINES: usize = 100;

/// The program and the settings of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The binary.
    pub(crate) path: PathBuf,
    /// Settings of all nodes, as variables.
    pub(crate) settings: Vec<(String, String)>,
}

/// A node, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    /// The number of the node.
    pub(crate) number: usize,
    /// The node's own address. Only the suite's own readings use it.
    pub(crate) address: SocketAddr,
    /// The proxy that clients dial.
    pub(crate) front: Proxy,
    /// The proxies that the node dials instead of the database's members.
    backs: Vec<Proxy>,
    program: Program,
    uri: String,
    database: String,
    process: Option<Child>,
    log: Log,
    reading: Option<JoinHandle<()>>,
    /// The folder of the file that makes its tasks panic.
    folder: TempDir,
    /// The keys of its callers.
    pub(crate) keyring: Keyring,
}

impl Node {
    /// Starts a node on a database at `hosts`, perhaps through `backs`. Returns when it is ready.
    pub(crate) async fn start(
        number: usize,
        program: Program,
        hosts: &[SocketAddr],
        backs: Vec<Proxy>,
        database: &str,
        uri_options: &str,
    ) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut node = Self {
            number,
            address,
            front: Proxy::start(address).await?,
            backs,
            program,
            uri: format!("mongodb://{}/?{uri_options}", hosts.join(",")),
            database: database.to_owned(),
            process: None,
            log: Log::default(),
            reading: None,
            folder: tempfile::tempdir()?,
            keyring: Keyring::default(),
        };
        node.launch()?;
        node.until_ready().await?;
        Ok(node)
    }

    /// Starts the process.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program.path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE_") {
                command.env_remove(&name);
            }
        }
        let mut process = command
            .args(["serve", "--listen", &self.address.to_string()])
            .args(["--mongodb-uri", &self.uri, "--database", &self.database])
            .envs(self.program.settings.iter().cloned())
            .env("TEST_TIDEGATE_STRIKES", self.strikes())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the node's binary")?;
        let log = process.stderr.take().context("its log")?;
        self.reading = Some(tokio::spawn(self.log.clone().read(log)));
        self.process = Some(process);
        Ok(())
    }

    /// Waits until the node is ready.
    pub(crate) async fn until_ready(&self) -> Result<()> {
        let http = http_client()?;
        let url = format!("http://{}/api/v1/ready", self.address);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let answer = http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "node {} is not ready in time:\n{}",
            self.number,
            self.log.text()
        )
    }

    /// Sends the process a signal by its name.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let id = self.id()?.to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await?;
        ensure!(sent.success(), "signal {name} was not delivered");
        Ok(())
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> Result<u32> {
        let process = self.process.as_ref().context("it does not run")?;
        process.id().context("it has ended")
    }

    /// Kills the process, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    fn strikes(&self) -> PathBuf {
        self.folder.path().join("strikes")
    }

    /// Makes one of its tasks panic, and waits until the process has ended with an error for that. Only builds with
    /// debug assertions can be struck.
    pub(crate) async fn strike(&mut self, task: &str) -> Result<()> {
        std::fs::write(self.strikes(), format!("{task} panic"))?;
        let mut process = self.process.take().context("it does not run")?;
        let ended = timeout(PATIENCE, process.wait()).await;
        std::fs::remove_file(self.strikes())?;
        let status = ended.with_context(|| format!("it does not end:\n{}", self.log.text()))??;
        ensure!(status.code() == Some(1), "it ended with {status}");
        Ok(())
    }

    /// Sends SIGTERM, after which the process must end by itself, in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal("TERM").await?;
        let mut process = self.process.take().context("it does not run")?;
        let status = timeout(PATIENCE, process.wait()).await;
        let status =
            status.with_context(|| format!("it does not stop:\n{}", self.log.text()))??;
        ensure!(
            status.success(),
            "it ended with {status}:\n{}",
            self.log.text()
        );
        if let Some(reading) = self.reading.take() {
            reading.await?;
        }
        Ok(())
    }

    /// Changes the weather between the node and the database.
    pub(crate) fn set_backs(&self, weather: Weather) {
        for back in &self.backs {
            back.set(weather);
        }
    }

    /// Cuts the node's connections to the database.
    pub(crate) fn cut_backs(&self, cut: Cut) {
        for back in &self.backs {
            back.cut(cut);
        }
    }

    /// Reads all metrics as text.
    pub(crate) async fn metrics(&self) -> Result<String> {
        let url = format!("http://{}/metrics", self.address);
        let request = self.keyring.authorize(http_client()?.get(url));
        let answer = request.send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Returns the process's lines about panics, in all its lives.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.log.with(|lines| lines.panics.clone())
    }

    /// Returns the last lines of its log.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }
}

/// The log of a process: the last lines, and every line about a panic.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    panics: Vec<String>,
}

impl Log {
    fn with<T>(&self, f: impl FnOnce(&mut Lines) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read(self, log: ChildStderr) {
        let mut lines = BufReader::new(log).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.with(|lines| {
                if line.contains("panicked at") && !line.contains("node/fault_injection.rs") {
                    lines.panics.push(line.clone());
                }
                lines.last.push_back(line);
                if lines.last.len() > LOG_LINES {
                    lines.last.pop_front();
                }
            });
        }
    }

    fn text(&self) -> String {
        self.with(|lines| {
            lines
                .last
                .iter()
                .fold(String::new(), |text, line| text + line + "\n")
        })
    }
}

/// Chooses a TLS provider. A client needs one although it does not use TLS.
pub(crate) fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Makes a client that keeps no connection: a request meets what is there now.
pub(crate) fn http_client() -> Result<reqwest::Client> {
    install_tls();
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0);
    Ok(builder.timeout(Duration::from_secs(30)).build()?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
