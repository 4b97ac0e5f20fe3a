//! A private mongod, for `tidegate dev` and the tests: a replica set of one on this machine.
//!
//! It owns the process, its port and its folder, and ends all of them with its owner, however that ends. It
//! knows nothing of the stored data.

mod binary;
mod cluster;
mod data_dir;
mod disk_space;
mod error;
mod fetch;
mod integrity;
mod launch;
mod log;
mod options;
mod process;
mod replica_set;
mod scratch;
mod search;
mod tether;

use std::path::Path;
use std::time::Instant;

pub use binary::{Binary, Version};
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use options::Options;

use data_dir::DataDir;
use process::Process;

/// A running server, a replica set of one that takes writes.
///
/// It belongs to no async runtime. [`Mongod::stop`] ends it cleanly. Dropping it, or any end of this process,
/// kills it. A temporary data folder is removed with it.
#[derive(Debug)]
pub struct Mongod {
    // Fields are dropped in this order: first the process, then the folder under it.
    process: Process,
    data_dir: DataDir,
    binary: Binary,
    replica_set: String,
}

impl Mongod {
    /// Finds or fetches a binary, starts it, and returns when it takes writes.
    pub async fn start(options: Options) -> Result<Self> {
        let binary = Binary::find(options.binary.clone()).await?;
        let began = Instant::now();
        let data_dir = DataDir::open(options.data_dir.as_deref())?;
        disk_space::check(&data_dir.db())?;
        let process = launch::launch(binary.path(), &data_dir, &options).await?;
        replica_set::single(&process, &options.replica_set).await?;
        data_dir.remember_port(process.port())?;
        tracing::info!(
            version = %binary.version(),
            port = process.port(),
            data_dir = %data_dir.path().display(),
            elapsed_ms = began.elapsed().as_millis(),
            "mongod is ready"
        );
        Ok(Self {
            process,
            data_dir,
            binary,
            replica_set: options.replica_set,
        })
    }

    /// Returns the connection string.
    pub fn uri(&self) -> String {
        format!(
            "mongodb://{}/?replicaSet={}",
            self.process.host(),
            self.replica_set
        )
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.process.port()
    }

    /// Returns the process id, unless the process has ended cleanly.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Returns the running binary.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Returns the folder of its data and its log.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Waits until the server has ended by itself, so that an owner that depends on it can stop. Returns the reason,
    /// as far as the log tells.
    pub async fn ended(&self) -> String {
        self.process.ended().await;
        self.process.reason()
    }

    /// Shuts the server down cleanly. Waits until it and a temporary data folder are gone.
    pub async fn stop(self) {
        self.process.stop().await;
        self.data_dir.close().await;
    }
}
