//! The place where keys are made: the database, or a running service.

use std::path::PathBuf;

use reqwest::Url;

use crate::{
    cli::{failure::Failure, server::client_of, settings::Settings},
    client::{Client, parse_address},
    store::Store,
};

/// The place of the keys. `TIDEGATE_SERVER` is not asked: a variable must not turn a command on the database into one on
/// a service.
#[derive(clap::Args, Debug)]
pub(super) struct Place {
    /// Ask the running service at this address, and leave the database alone
    #[arg(
        long,
        value_name = "URL",
        value_parser = parse_address,
        conflicts_with_all = ["config", "mongodb_uri", "database", "adopt"]
    )]
    server: Option<Url>,
    /// With --server: a file with the key or token to present; `TIDEGATE_TOKEN` has it itself
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Place {
    /// Makes a client of the service, if one is to be asked.
    pub(super) fn service(&self) -> Result<Option<Client>, Failure> {
        let address = self.server.clone();
        let client = address.map(|address| client_of(address, self.token_file.as_deref()));
        client.transpose()
    }

    /// Connects to the database.
    pub(super) async fn database(&self) -> Result<Store, Failure> {
        let config = self.settings.load(&[])?;
        let store = Store::connect(&config).await;
        store.map_err(|error| Failure::store(&error))
    }
}
