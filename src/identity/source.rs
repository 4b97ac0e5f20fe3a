//! The places that an issuer's keys come from.

use std::{error::Error, io, path::PathBuf, time::Duration};

use reqwest::{StatusCode, Url, header::CACHE_CONTROL, redirect::Policy};
use tokio::{fs::File, io::AsyncReadExt as _};

use crate::{
    access::{KeySet, KeySetFault, MOST_SET_BYTES},
    config::{self, ConfigError},
};

/// The longest time that a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The bounds of the time for which an answer says that it is fresh.
const FRESH: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(1)];

/// The place that an issuer's keys come from.
#[derive(Debug)]
pub(super) enum Source {
    /// An address of a JWK set.
    Address { http: reqwest::Client, url: Url },
    /// A file with public keys.
    Keys(PathBuf),
    /// A file with a secret.
    Secret(PathBuf),
}

/// The keys that were read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) keys: KeySet,
    /// The time until the next read, if the answer says so.
    pub(super) fresh_for: Option<Duration>,
}

/// The reason why keys cannot be read. No message quotes the address or the content.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceFault {
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("the answer has status {0}, and redirects are not followed")]
    Status(StatusCode),
    #[error("cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("the content {0}")]
    Content(#[from] KeySetFault),
}

impl SourceFault {
    /// Returns the outcome as metrics name it.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::File(_) => "unreachable",
            Self::Status(_) => "status",
            Self::Content(_) => "invalid",
        }
    }
}

impl From<reqwest::Error> for SourceFault {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Unreachable("it took longer than 5 s".to_owned());
        }
        let mut cause: &dyn Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable(cause.to_string())
    }
}

impl Source {
    /// Returns the source of an issuer. The settings must have been checked.
    pub(super) fn new(name: &str, settings: &config::Issuer) -> Result<Self, ConfigError> {
        let refuse =
            |reason: &str| ConfigError::refused(format!("issuers.{name}.jwks_url"), reason);
        if !settings.keys_file.is_empty() {
            return Ok(Self::Keys(settings.keys_file.as_str().into()));
        }
        if !settings.secret_file.is_empty() {
            return Ok(Self::Secret(settings.secret_file.as_str().into()));
        }
        let url = Url::parse(&settings.jwks_url).map_err(|_| refuse("is not an address"))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(TIMEOUT);
        http = if url.scheme() == "https" {
            http.https_only(true)
        } else {
            // It is on this machine.
            http.no_proxy()
        };
        let http = http
            .build()
            .map_err(|_| refuse("cannot be asked: TLS does not start"))?;
        Ok(Self::Address { http, url })
    }

    /// Returns the setting of a file, which must be readable at the start.
    pub(super) const fn file_setting(&self) -> Option<&'static str> {
        match self {
            Self::Address { .. } => None,
            Self::Keys(_) => Some("keys_file"),
            Self::Secret(_) => Some("secret_file"),
        }
    }

    /// Reads the keys.
    pub(super) async fn read(&self) -> Result<Read, SourceFault> {
        let keys = match self {
            Self::Address { http, url } => return fetch(http, url).await,
            Self::Keys(path) => KeySet::read_file(&read_file(path).await?)?,
            Self::Secret(path) => KeySet::of_secret(&read_file(path).await?)?,
        };
        let fresh_for = None;
        Ok(Read { keys, fresh_for })
    }
}

async fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than may be: whoever reads it refuses it.
    let most = MOST_SET_BYTES as u64 + 1;
    File::open(path)
        .await?
        .take(most)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

async fn fetch(http: &reqwest::Client, url: &Url) -> Result<Read, SourceFault> {
    let mut answer = http.get(url.clone()).send().await?;
    if answer.status() != StatusCode::OK {
        return Err(SourceFault::Status(answer.status()));
    }
    let fresh_for = answer.headers().get(CACHE_CONTROL);
    let fresh_for = fresh_for.and_then(|value| max_age(value.to_str().ok()?));
    let announced = answer.content_length().unwrap_or(0);
    if announced > MOST_SET_BYTES as u64 {
        return Err(KeySetFault::TooLarge.into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST_SET_BYTES {
            return Err(KeySetFault::TooLarge.into());
        }
    }
    let keys = KeySet::read_jwks(&bytes)?;
    Ok(Read { keys, fresh_for })
}

/// Returns the time for which an answer says that it is fresh (RFC 9111, 5.2.2.1), within bounds.
fn max_age(cache_control: &str) -> Option<Duration> {
    let directives = cache_control.split(',').map(str::trim);
    let ages = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then_some(value)
    });
    let seconds = ages
        .map(|age| age.trim_matches('"').parse().ok())
        .next()??;
    let [least, most] = FRESH;
    Some(Duration::from_secs(seconds).clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_for_a_minute_to_an_hour() {
        let minutes = |text: &str| max_age(text).map(|age| age.as_secs_f64() / 60.0);
        for (text, expected) in [
            ("max-age=600", Some(10.0)),
            ("public, Max-Age=\"600\", must-revalidate", Some(10.0)),
            ("max-age=0", Some(1.0)),
            ("max-age=86400", Some(60.0)),
            ("no-store", None),
            ("s-maxage=600", None),
            ("max-age=soon", None),
            ("max-age=-1", None),
            ("", None),
        ] {
            assert_eq!(minutes(text), expected, "{text}");
        }
    }
}
