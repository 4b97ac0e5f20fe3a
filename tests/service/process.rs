//! The real binary, for tests of the process itself.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use tidegate::config::Config;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{DEADLINE, Service, database_name, shared_mongod};

/// A running `tidegate serve`. It is killed when dropped.
pub(crate) struct Process {
    pub(crate) service: Service,
    child: Child,
    /// The log since it listens.
    log: Arc<Mutex<Vec<String>>>,
    logging: JoinHandle<()>,
}

impl Process {
    /// Starts it on a database of its own, from a shell that has run `preparation` before.
    pub(crate) async fn serve(preparation: &str) -> Self {
        let config = Config {
            mongodb_uri: shared_mongod().await.uri(),
            database: database_name(),
            ..Config::default()
        };
        Self::on(config, preparation).await
    }

    /// Starts it on the database of these settings.
    pub(crate) async fn on(config: Config, preparation: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{preparation}\nexec \"$@\""), "sh"])
            .args([env!("CARGO_BIN_EXE_tidegate"), "serve"])
            .args(["--listen", "127.0.0.1:0"])
            .args(["--mongodb-uri", &config.mongodb_uri])
            .args(["--database", &config.database])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = timeout(DEADLINE, address_in(&mut log)).await.unwrap();
        // The process must never wait for a full pipe.
        let kept = Arc::<Mutex<Vec<String>>>::default();
        let keeping = Arc::clone(&kept);
        let logging = tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                keeping.lock().unwrap().push(line);
            }
        });
        let service = Service::at(address, config).await;
        Self {
            service,
            child,
            log: kept,
            logging,
        }
    }

    /// Returns the lines of the log so far that contain one of these words.
    pub(crate) fn logged(&self, texts: &[&str]) -> Vec<String> {
        let lines = self.log.lock().unwrap();
        let wanted = |line: &&String| texts.iter().any(|text| line.contains(text));
        lines.iter().filter(wanted).cloned().collect()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits for the end. Returns the exit code and the whole log.
    pub(crate) async fn end_with_log(mut self) -> (Option<i32>, Vec<String>) {
        let ended = timeout(DEADLINE, self.child.wait()).await;
        let code = ended.expect("it ends in time").unwrap().code();
        self.logging.await.unwrap();
        let log = self.log.lock().unwrap().clone();
        (code, log)
    }

    /// Waits for the end. Returns the exit code, if no signal ended it.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let ended = timeout(DEADLINE, self.child.wait()).await;
        ended.expect("it ends in time").unwrap().code()
    }
}

async fn address_in(log: &mut Lines<BufReader<ChildStderr>>) -> SocketAddr {
    while let Some(line) = log.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once("http://").or(line.split_once("https://")) {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
            return rest[..end.unwrap_or(rest.len())].parse().unwrap();
        }
    }
    panic!("it ended before it listened");
}
