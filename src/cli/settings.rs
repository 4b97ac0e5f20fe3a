//! The settings of a node as flags.

use std::{net::SocketAddr, path::PathBuf};

use clap::ValueEnum;

use super::failure::Failure;
use crate::{
    config::{Auth, Config, Loaded, LogFormat, variable},
    store::COLLECTIONS,
    telemetry,
};

/// The flags for settings. Flags win over `TIDEGATE_…` variables, those over the file, and the file over defaults.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Settings {
    #[arg(
        long,
        value_name = "FILE",
        help = "A TOML file with settings [env: TIDEGATE_CONFIG]"
    )]
    config: Option<PathBuf>,
    #[arg(long, value_name = "URI", help = help("The connection string", "MONGODB_URI", "mongodb://127.0.0.1:27017"))]
    mongodb_uri: Option<String>,
    #[arg(long, value_name = "NAME", help = help("The database for everything", "DATABASE", "the one in the connection string, else tidegate"))]
    database: Option<String>,
    #[arg(
        long,
        value_name = "COLLECTION",
        help = "Take over an existing collection of another program; its documents are then validated and expire (repeatable) [env: TIDEGATE_ADOPT]"
    )]
    adopt: Vec<String>,
    #[arg(long, value_name = "IP:PORT", help = help("The address to listen on", "LISTEN", "127.0.0.1:8080"))]
    listen: Option<SocketAddr>,
    #[arg(long, value_enum, hide_possible_values = true, help = help("Who may call: none (everyone) or required (those with a key)", "AUTH", "none"))]
    auth: Option<Auth>,
    #[arg(
        long,
        help = "Allow `--auth none`, or keys in the clear, on an address that others can reach [env: TIDEGATE_INSECURE]"
    )]
    insecure: bool,
    #[arg(long, value_name = "FILTER", help = help("What to log: error, warn, info, debug, or by module", "LOG", "info"))]
    log: Option<String>,
    #[arg(long, value_enum, hide_possible_values = true, help = help("How to log: text or json", "LOG_FORMAT", "text"))]
    log_format: Option<LogFormat>,
}

/// Writes the help of a setting. clap does not know the variables and defaults: a wrong variable is bad configuration
/// and not wrong usage, and a default must not hide the file.
fn help(what: &str, variable: &str, default: &str) -> String {
    format!("{what} [env: TIDEGATE_{variable}] [default: {default}]")
}

impl Settings {
    /// Loads and checks the whole configuration, and begins to log as it says. `more` has flags of one command.
    pub(crate) fn load(&self, more: &[(&'static str, String)]) -> Result<Config, Failure> {
        Self::begin(self.read(more)?)
    }

    /// Loads and checks the whole configuration.
    pub(crate) fn read(&self, more: &[(&'static str, String)]) -> Result<Loaded, Failure> {
        let flags = [&self.flags()[..], more].concat();
        let file = self
            .config
            .clone()
            .or_else(|| variable("TIDEGATE_CONFIG").map(PathBuf::from));
        let loaded = Config::load(file.as_deref(), &flags)?;
        let unknown = |name: &String| !COLLECTIONS.contains(&name.as_str());
        if loaded.config.adopt.iter().any(unknown) {
            let names = COLLECTIONS.join(", ");
            let reason = format!("each must be a collection of this service: {names}");
            return Err(Failure::setting("adopt", &reason));
        }
        Ok(loaded)
    }

    /// Begins to log as the configuration says.
    pub(crate) fn begin(loaded: Loaded) -> Result<Config, Failure> {
        let Loaded { config, ignored } = loaded;
        telemetry::start_logging(&config.log, config.log_format)
            .map_err(|reason| Failure::setting("log", &reason))?;
        for option in ignored {
            tracing::warn!(
                option,
                "an option of the connection string has no effect here"
            );
        }
        Ok(config)
    }

    /// Whether a flag, a variable or the file names a database.
    pub(crate) fn names_a_database(&self, config: &Config) -> bool {
        self.mongodb_uri.is_some()
            || variable("TIDEGATE_MONGODB_URI").is_some()
            || config.mongodb_uri != Config::default().mongodb_uri
    }

    fn flags(&self) -> Vec<(&'static str, String)> {
        let name =
            |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned());
        [
            ("mongodb_uri", self.mongodb_uri.clone()),
            ("database", self.database.clone()),
            (
                "adopt",
                (!self.adopt.is_empty()).then(|| self.adopt.join(",")),
            ),
            ("listen", self.listen.map(|listen| listen.to_string())),
            (
                "auth",
                name(self.auth.and_then(|auth| auth.to_possible_value())),
            ),
            ("insecure", self.insecure.then(|| true.to_string())),
            ("log", self.log.clone()),
            (
                "log_format",
                name(
                    self.log_format
                        .and_then(|format| format.to_possible_value()),
                ),
            ),
        ]
        .into_iter()
        .filter_map(|(setting, value)| Some((setting, value?)))
        .collect()
    }
}
