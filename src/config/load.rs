//! Loading: from the file, the variables and the flags to one configuration.
//!
//! No message quotes a value, because it may be a password or stand beside one.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, connection_string, settings::Setting};

const PREFIX: &str = "TIDEGATE_";
/// Variables with the prefix that belong to commands.
const NOT_SETTINGS: [&str; 5] = ["CONFIG", "SERVER", "TOKEN", "MONGOD", "CACHE"];
/// Names of settings are shorter than this.
const NAME_BYTES: usize = 64;

/// The refusal of a configuration: the setting, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// There is no such setting, or it may not have this value.
    #[error("{setting}: {reason}")]
    Refused {
        /// The setting, as in the file (`limits.body_bytes`).
        setting: String,
        /// The fault.
        reason: String,
    },
}

impl ConfigError {
    /// Refuses a setting.
    pub(crate) fn refused(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused {
            setting: setting.into(),
            reason: reason.into(),
        }
    }
}

/// A configuration that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Names of options of the connection string that have no effect here.
    pub ignored: Vec<String>,
}

/// Reads an environment variable without the space at its ends. An empty one counts as unset.
pub fn variable(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    let value = match value.to_str() {
        Some(text) => text.trim().into(),
        None => value,
    };
    Some(value).filter(|value| !value.is_empty())
}

impl Config {
    /// Reads the file (if any), then the variables, then `flags` (setting and value, as on the
    /// command line), and checks the whole.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.file(path)?;
        }
        layers.variables()?;
        for (name, text) in flags {
            layers.text(name, text)?;
        }
        let named = layers.0.contains_key("database");
        let mut config = layers.build()?;
        let given = connection_string::read(&config.mongodb_uri)
            .map_err(|reason| ConfigError::refused("mongodb_uri", reason))?;
        config.mongodb_uri = given.uri;
        if let Some(database) = given.database.filter(|_| !named) {
            config.database = database;
        }
        config.check()?;
        Ok(Loaded {
            config,
            ignored: given.ignored,
        })
    }
}

/// The values given so far. Each is checked when it is given, even if a later layer replaces it.
#[derive(Default)]
struct Layers(BTreeMap<String, Value>);

impl Layers {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        // Some editors write a byte order mark first.
        let text = text.trim_start_matches('\u{feff}');
        let table: Table = text
            .parse()
            .map_err(|error| unreadable(fault(&error, text)))?;
        for (name, value) in table {
            match value {
                Value::Table(section) => {
                    for (inner, value) in section {
                        self.inner(&name, &inner, value)?;
                    }
                }
                value => self.put(&name, value)?,
            }
        }
        Ok(())
    }

    /// Takes a value of a section. Issuers have a section each, in one for all.
    fn inner(&mut self, section: &str, name: &str, value: Value) -> Result<(), ConfigError> {
        let name = format!("{section}.{name}");
        match value {
            Value::Table(issuer) if section == "issuers" => {
                if issuer.is_empty() {
                    let reason = "says nothing: docs/configuration.md lists what is needed";
                    return Err(ConfigError::refused(shown(&name), reason));
                }
                for (inner, value) in issuer {
                    self.put(&format!("{name}.{inner}"), value)?;
                }
                Ok(())
            }
            value => self.put(&name, value),
        }
    }

    fn variables(&mut self) -> Result<(), ConfigError> {
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if NOT_SETTINGS.contains(&name) || is_service_link(name) {
                continue;
            }
            let name = name.replace("__", ".").to_lowercase();
            match value.to_str() {
                Some(text) if text.trim().is_empty() => {}
                Some(text) => self.text(&name, text)?,
                None => return Err(ConfigError::refused(shown(&name), "must be UTF-8")),
            }
        }
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let setting = find(name)?;
        self.put(name, setting.read(text.trim()))
    }

    fn put(&mut self, name: &str, value: Value) -> Result<(), ConfigError> {
        let setting = find(name)?;
        let value = trimmed(value);
        let checked = setting.check(&value);
        checked.map_err(|reason| ConfigError::refused(shown(name), reason))?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    fn build(self) -> Result<Config, ConfigError> {
        let mut whole = Table::new();
        for (name, value) in self.0 {
            // No name of a setting is the beginning of another one's.
            let (path, inner) = match name.rsplit_once('.') {
                Some((path, inner)) => (Some(path), inner),
                None => (None, &*name),
            };
            let sections = path.into_iter().flat_map(|path| path.split('.'));
            let mut table = Some(&mut whole);
            for section in sections {
                let section = table.map(|table| table.entry(section));
                let section = section.map(|entry| entry.or_insert_with(|| Table::new().into()));
                table = section.and_then(Value::as_table_mut);
            }
            table.map(|table| table.insert(inner.to_owned(), value));
        }
        let refused = |_| {
            let reason = "the table of settings and the types disagree";
            ConfigError::refused("configuration", reason)
        };
        whole.try_into().map_err(refused)
    }
}

/// Removes the space at the ends of texts: a line break that came along with a value is not part of
/// it.
fn trimmed(value: Value) -> Value {
    match value {
        Value::String(text) => text.trim().into(),
        Value::Array(items) => items.into_iter().map(trimmed).collect::<Vec<_>>().into(),
        value => value,
    }
}

fn find(name: &str) -> Result<&'static Setting, ConfigError> {
    let unknown = || {
        let reason = "there is no such setting; docs/configuration.md lists them";
        ConfigError::refused(shown(name), reason)
    };
    Setting::find(name).ok_or_else(unknown)
}

/// Returns the name of a setting for a message, unless it cannot be one: it may be a value in the
/// wrong place.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() <= NAME_BYTES && name.chars().all(plain) {
        name
    } else {
        "a name in the file or the variables"
    }
}

/// Describes a TOML error by its place and the parser's reason, which is a fixed text. The parser's
/// whole message quotes the line.
fn fault(error: &toml::de::Error, text: &str) -> String {
    let reason = match error.message() {
        reason if reason.starts_with("invalid type") => "a number is too large",
        reason => reason,
    };
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line} is not TOML: {reason}")
        }
        None => format!("is not TOML: {reason}"),
    }
}

/// Whether Kubernetes sets this variable in every container beside a service named `tidegate`, as
/// it does with `TIDEGATE_SERVICE_HOST` and `TIDEGATE_PORT_8080_TCP`. It is neither a setting nor a
/// spelling error.
fn is_service_link(name: &str) -> bool {
    name.starts_with("SERVICE_") || name == "PORT" || name.starts_with("PORT_")
}
