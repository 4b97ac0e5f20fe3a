//! From the file, the variables and the flags to one configuration. No message quotes a value: it may
//! be a password, or what stands beside one.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, connection, settings::Setting};

const PREFIX: &str = "TIDEGATE_";
/// Variables with the prefix that belong to commands.
const NOT_SETTINGS: [&str; 4] = ["CONFIG", "SERVER", "MONGOD", "CACHE"];
/// A name that is longer than this is none.
const NAME_BYTES: usize = 64;

/// Why a configuration was refused: which setting, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such setting, or it may not be this.
    #[error("{setting}: {reason}")]
    Refused {
        /// The setting, as in the file (`limits.body_bytes`).
        setting: String,
        /// What is wrong.
        reason: String,
    },
}

impl ConfigError {
    /// The refusal of a setting.
    pub(crate) fn refused(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused {
            setting: setting.into(),
            reason: reason.into(),
        }
    }
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    /// The names of options of the connection string that have no effect here.
    pub ignored: Vec<String>,
}

/// A variable of the environment. Space at its ends is none of it, and an empty one is none.
pub fn variable(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    let value = match value.to_str() {
        Some(text) => text.trim().into(),
        None => value,
    };
    Some(value).filter(|value| !value.is_empty())
}

impl Config {
    /// Reads the file (if any), then the variables, then `flags` (setting and value, as given on
    /// the command line), and checks the whole.
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
        let given = connection::read(&config.mongodb_uri)
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

/// What was given so far. Every value is checked where it is given, also one that a later layer replaces.
#[derive(Default)]
struct Layers(BTreeMap<&'static str, Value>);

impl Layers {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        // Editors of one system put a mark of the encoding first.
        let text = text.trim_start_matches('\u{feff}');
        let table: Table = text
            .parse()
            .map_err(|error| unreadable(fault(&error, text)))?;
        for (name, value) in table {
            match value {
                Value::Table(section) => {
                    for (inner, value) in section {
                        self.put(&format!("{name}.{inner}"), value)?;
                    }
                }
                value => self.put(&name, value)?,
            }
        }
        Ok(())
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
        checked.map_err(|reason| ConfigError::refused(setting.name, reason))?;
        self.0.insert(setting.name, value);
        Ok(())
    }

    fn build(self) -> Result<Config, ConfigError> {
        let mut whole = Table::new();
        for (name, value) in self.0 {
            match name.split_once('.') {
                None => {
                    whole.insert(name.to_owned(), value);
                }
                Some((section, inner)) => {
                    let section = whole
                        .entry(section)
                        .or_insert_with(|| Table::new().into())
                        .as_table_mut();
                    section.map(|section| section.insert(inner.to_owned(), value));
                }
            }
        }
        let refused = |_| {
            let reason = "the table of settings and their types are at odds";
            ConfigError::refused("configuration", reason)
        };
        whole.try_into().map_err(refused)
    }
}

/// Without the space at the ends of texts: a line break that came along with a value is none of it.
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

/// What stands where a setting's name should, if it can be one: else it may be a value that got there.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() <= NAME_BYTES && name.chars().all(plain) {
        name
    } else {
        "a name in the file or the variables"
    }
}

/// The parser's reason, which is made of fixed texts, and the place. Its whole text has the line too; and
/// of a value without a type it says the value.
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

/// What Kubernetes puts into every container beside a service named `tidegate`, such as
/// `TIDEGATE_SERVICE_HOST` and `TIDEGATE_PORT_8080_TCP`: not settings, and no spelling errors either.
fn is_service_link(name: &str) -> bool {
    name.starts_with("SERVICE_") || name == "PORT" || name.starts_with("PORT_")
}
