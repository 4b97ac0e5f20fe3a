//! A private mongod, for `tidegate dev` and the tests: a replica set of one on this machine.
//!
//! Owns the process, its port and its folder, and takes all of them down with the owner, however
//! that ends. Knows nothing of what is stored in it.

mod binary;
mod cluster;
mod error;
mod fetch;
mod home;
mod launch;
mod log;
mod options;
mod process;
mod replica_set;
mod scratch;
mod space;
mod tether;
mod trust;

use std::path::Path;
use std::time::Instant;

pub use binary::{Binary, Version};
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use options::Options;

use home::Home;
use process::Process;

/// A running server, a replica set of one that takes writes.
///
/// It belongs to no async runtime. [`Mongod::stop`] ends it cleanly; dropping it, or the end of this
/// process in any way, kills it. A temporary data folder goes with it.
#[derive(Debug)]
pub struct Mongod {
    // Fields are dropped in this order: first the process, then the folder under it.
    process: Process,
    home: Home,
    binary: Binary,
    replica_set: String,
}

impl Mongod {
    /// Finds (or fetches) a binary, starts it, and returns when it takes writes.
    pub async fn start(options: Options) -> Result<Self> {
        let binary = Binary::find(options.binary.clone()).await?;
        let began = Instant::now();
        let home = Home::open(options.data_dir.as_deref())?;
        space::check(&home.db())?;
        let process = launch::launch(binary.path(), &home, &options).await?;
        replica_set::single(&process, &options.replica_set).await?;
        home.remember_port(process.port())?;
        tracing::info!(
            version = %binary.version(),
            port = process.port(),
            data_dir = %home.path().display(),
            elapsed_ms = began.elapsed().as_millis(),
            "mongod is ready"
        );
        Ok(Self {
            process,
            home,
            binary,
            replica_set: options.replica_set,
        })
    }

    /// The connection string.
    pub fn uri(&self) -> String {
        format!(
            "mongodb://{}/?replicaSet={}",
            self.process.host(),
            self.replica_set
        )
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.process.port()
    }

    /// The process id; none once it has ended cleanly.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The binary that runs, and its version.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The folder that its data and its log are in.
    pub fn data_dir(&self) -> &Path {
        self.home.path()
    }

    /// Waits until the server has ended by itself: an owner that depends on it stops then. Returns the reason, as
    /// far as its log tells.
    pub async fn ended(&self) -> String {
        self.process.ended().await;
        self.process.reason()
    }

    /// Shuts the server down cleanly and waits until it, and a temporary data folder, are gone.
    pub async fn stop(self) {
        self.process.stop().await;
        self.home.close().await;
    }
}
