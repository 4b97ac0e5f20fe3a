//! Connection strings as other programs write them.
//!
//! What the driver cannot do is left out and named, or refused before anything starts. No message quotes
//! more of a connection string than the name of an option.

mod files;
mod options;
mod redact;

use futures_util::FutureExt as _;
use mongodb::{
    error::Error,
    options::{ClientOptions, ConnectionString},
};

use self::options::{Verdict, judge};
pub(crate) use self::redact::redacted;

/// The databases that MongoDB keeps for itself.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "config", "local"];
const SCHEMES: [&str; 2] = ["mongodb://", "mongodb+srv://"];
const UNESCAPED: &str =
    "an option in it is not supported (write a ? in a user name or a password as %3F)";

/// A connection string that the driver accepts.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) uri: String,
    /// The database in its path, unless it is one of MongoDB's own: that only says where the user
    /// is defined.
    pub(super) database: Option<String>,
    /// Names of options that have no effect here.
    pub(super) ignored: Vec<String>,
}

/// Reads a connection string. The error says what is wrong with it.
pub(super) fn read(text: &str) -> Result<Connection, String> {
    if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
        return Err("must begin with mongodb:// or mongodb+srv://".to_owned());
    }
    let (uri, ignored) = match text.split_once('?') {
        None => (text.to_owned(), Vec::new()),
        Some((before, options)) => {
            let (kept, ignored) = sorted(options)?;
            (format!("{before}?{kept}"), ignored)
        }
    };
    let told = |error: Error| redacted(&uri, &error.kind.to_string());
    let parsed = ConnectionString::parse(&uri).map_err(told)?;
    let database = parsed.default_database.clone();
    check_together(parsed, &uri).map_err(told)?;
    Ok(Connection {
        database: database.filter(|name| !is_system(name)),
        uri,
        ignored,
    })
}

pub(super) fn is_system(database: &str) -> bool {
    SYSTEM_DATABASES.contains(&database.to_ascii_lowercase().as_str())
}

/// Splits the options into those for the driver and the names of those without effect.
fn sorted(options: &str) -> Result<(String, Vec<String>), String> {
    // The address follows an @. Text before that may be a password with a ? in it.
    let nameable = !options.contains('@');
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            return Err("an option in it is not NAME=VALUE".to_owned());
        };
        match judge(name, value) {
            Verdict::Keep => kept.push(option.to_owned()),
            // Leaving an option out must not remove an address.
            Verdict::Change(_) | Verdict::Ignore if value.contains('@') => {
                return Err(UNESCAPED.to_owned());
            }
            Verdict::Change(value) => {
                kept.push(format!("{name}={value}"));
                ignored.push(format!("{name}, in part"));
            }
            Verdict::Strange(_) | Verdict::Unknown if !nameable => {
                return Err(UNESCAPED.to_owned());
            }
            Verdict::Refuse(reason) | Verdict::Strange(reason) => return Err(reason),
            Verdict::Ignore | Verdict::Unknown => ignored.push(name.to_owned()),
        }
    }
    Ok((kept.join("&"), ignored))
}

/// Checks all options together as the driver does, without a network. If the addresses are in DNS,
/// the string is checked as if it named one itself.
fn check_together(mut parsed: ConnectionString, uri: &str) -> Result<(), Error> {
    if uri.starts_with(SCHEMES[1]) {
        let plain = uri.replacen(SCHEMES[1], SCHEMES[0], 1);
        let options = plain.split_once('?').map_or("", |(_, options)| options);
        let of_srv = |option: &&str| !option.to_ascii_lowercase().starts_with("srv");
        let options: Vec<_> = options.split('&').filter(of_srv).collect();
        let before = plain.split('?').next().unwrap_or_default();
        parsed = ConnectionString::parse(format!("{before}?{}", options.join("&")))?;
    }
    match ClientOptions::parse(parsed).into_future().now_or_never() {
        Some(outcome) => outcome.map(drop),
        None => Ok(()),
    }
}
