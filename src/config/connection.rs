//! Connection strings as other programs have them: what the driver cannot do is left out and named, or refused
//! before anything starts. No text here quotes more of one than the name of an option.

mod files;
mod options;

use futures_util::FutureExt as _;
use mongodb::{
    error::Error,
    options::{ClientOptions, ConnectionString},
};

use self::options::{Verdict, judge};
use super::{SYSTEM_DATABASES, uri};

const SCHEMES: [&str; 2] = ["mongodb://", "mongodb+srv://"];
const UNESCAPED: &str =
    "an option in it is not supported (a ? in a user or a password is written %3F)";

/// A connection string that the driver takes.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) uri: String,
    /// The database in its path. One of MongoDB's own stands there to say where the user is, and is none.
    pub(super) database: Option<String>,
    /// The names of options that have no effect here.
    pub(super) ignored: Vec<String>,
}

/// Reads a connection string; the error is what is wrong with it.
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
    let told = |error: Error| uri::fault(&uri, &error.kind.to_string());
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

/// The options for the driver, and the names of those that have no effect.
fn sorted(options: &str) -> Result<(String, Vec<String>), String> {
    // Behind an @ stands the address: what is before it may be a password with a ? of its own.
    let nameable = !options.contains('@');
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            return Err("an option in it is no NAME=VALUE".to_owned());
        };
        match judge(name, value) {
            Verdict::Keep => kept.push(option.to_owned()),
            // What is left out takes no address with it.
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

/// Checks what the driver says of all options together, without a network: where the addresses are in DNS,
/// the string is checked as if it had one.
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
