//! A replica set of three on this machine, for tests of elections, crashes and restarts.

use std::env;
use std::fs;
use std::io;
use std::time::Duration;

use bson::doc;
use tokio::time::sleep;

use super::binary::Binary;
use super::data_dir::DataDir;
use super::error::{Error, Result};
use super::launch::launch;
use super::options::Options;
use super::process::Process;
use super::replica_set;
use super::scratch::Scratch;

const MEMBERS: usize = 3;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A set of three members, each a process that can be killed and started again. Timeouts are short: a lost primary
/// is replaced after about two seconds.
///
/// Dropping it, or any end of this process, kills all members and removes their data.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: first the processes, then the folder under them.
    members: Vec<Member>,
    scratch: Scratch,
    binary: Binary,
    options: Options,
}

#[derive(Debug)]
struct Member {
    process: Option<Process>,
    data_dir: DataDir,
    host: String,
    port: u16,
}

impl Cluster {
    /// Starts three members on free ports and in temporary folders, whatever the options say about these. Returns
    /// when one is the primary and the others follow it.
    pub async fn start(options: Options) -> Result<Self> {
        let binary = Binary::find(options.binary.clone()).await?;
        let scratch = Scratch::create_in(&env::temp_dir())
            .map_err(|source| Error::data_dir(&env::temp_dir(), source))?;
        let options = Options {
            port: None,
            ..options
        };
        let mut cluster = Self {
            members: Vec::new(),
            scratch,
            binary,
            options,
        };
        for number in 0..MEMBERS {
            let member = cluster.first_start(number).await?;
            cluster.members.push(member);
        }
        cluster.unite().await?;
        Ok(cluster)
    }

    /// Returns the connection string with all members.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self
            .members
            .iter()
            .map(|member| member.host.as_str())
            .collect();
        format!(
            "mongodb://{}/?replicaSet={}",
            hosts.join(","),
            self.options.replica_set
        )
    }

    /// Waits for a primary that takes writes, for as long as a start may take. Returns the number of the member.
    pub async fn primary(&self) -> Result<usize> {
        let search = async {
            loop {
                if let Some(number) = self.find_primary().await? {
                    return Ok(number);
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        let timeout = self.options.start_timeout;
        tokio::time::timeout(timeout, search)
            .await
            .unwrap_or_else(|_| {
                let running = self
                    .members
                    .iter()
                    .find_map(|member| member.process.as_ref());
                Err(Error::NotWritable {
                    seconds: timeout.as_secs(),
                    state: "no member is the primary".to_owned(),
                    log: running.map(Process::last_words).unwrap_or_default(),
                })
            })
    }

    /// Kills a member (SIGKILL) and waits until it is gone. Its data stays.
    pub async fn kill(&mut self, member: usize) {
        if let Some(process) = self.members[member].process.take() {
            process.kill().await;
        }
    }

    /// Starts a killed member again, on its data and its port. Returns when it takes connections.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        let Member { data_dir, port, .. } = &self.members[member];
        let options = Options {
            port: Some(*port),
            ..self.options.clone()
        };
        let process = launch(self.binary.path(), data_dir, &options).await?;
        self.members[member].process = Some(process);
        Ok(())
    }

    /// Pauses a member (SIGSTOP): its connections stay open and silent.
    pub fn pause(&self, member: usize) -> Result<()> {
        self.signal(member, "STOP")
    }

    /// Resumes a paused member (SIGCONT).
    pub fn resume(&self, member: usize) -> Result<()> {
        self.signal(member, "CONT")
    }

    /// Kills all members and waits until they and their data are gone.
    pub async fn stop(mut self) {
        for member in 0..self.members.len() {
            self.kill(member).await;
        }
        self.scratch.remove().await;
    }

    async fn first_start(&self, number: usize) -> Result<Member> {
        let path = self.scratch.path().join(number.to_string());
        fs::create_dir(&path).map_err(|source| Error::data_dir(&path, source))?;
        let data_dir = DataDir::open(Some(&path))?;
        let process = launch(self.binary.path(), &data_dir, &self.options).await?;
        let (host, port) = (process.host(), process.port());
        Ok(Member {
            process: Some(process),
            data_dir,
            host,
            port,
        })
    }

    /// Initiates the set of the members, through the first one.
    async fn unite(&self) -> Result<()> {
        let processes: Vec<_> = self
            .members
            .iter()
            .filter_map(|m| m.process.as_ref())
            .collect();
        let members: Vec<_> = (0..)
            .zip(&processes)
            .map(|(id, process)| replica_set::member(id, process))
            .collect();
        let config = doc! {
            "_id": &self.options.replica_set,
            "members": members,
            "settings": { "electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 250 },
        };
        replica_set::several(processes[0], config).await
    }

    async fn find_primary(&self) -> Result<Option<usize>> {
        for (number, member) in self.members.iter().enumerate() {
            let Some(process) = &member.process else {
                continue;
            };
            let client = replica_set::connect(process)?;
            // A paused or dying member does not answer, so it is not the primary.
            let is_primary = replica_set::is_writable(&client).await.unwrap_or(false);
            client.shutdown().immediate(true).await;
            if is_primary {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn signal(&self, member: usize, name: &str) -> Result<()> {
        match &self.members[member].process {
            Some(process) => Ok(process.signal(name)?),
            None => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }
}
