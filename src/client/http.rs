//! Calls of the service over HTTP.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{error::ClientError, problem::Problem};

/// Time for a connection to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one request in all.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// The header that says `false` where a node has not applied a write yet.
const APPLIED: &str = "Tidegate-Applied";
const NO_ANSWER: &str = "no answer in time";

/// Characters that are escaped in a path. The rest stays as people read it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Reads a service's address. `ws` and `wss` stand for `http` and `https`.
pub(crate) fn parse_address(text: &str) -> Result<Url, String> {
    let text = match text.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => text.to_owned(),
    };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("expected an address like http://127.0.0.1:8080".to_owned()),
    }
}

/// A service, by its address. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: Url,
    /// The key or token that every request presents.
    token: Option<SecretString>,
}

/// A good answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body; null where there is none.
    pub body: Value,
    /// False where the service has made a write durable, and the answering node has not applied it yet.
    pub applied: bool,
}

impl Client {
    /// Makes a client of the service at `address` (`http://127.0.0.1:8080`). The process must have chosen a TLS
    /// provider before (rustls). Proxies are those of the environment, and never used for this machine.
    pub fn new(address: Url) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&address) {
            builder = builder.no_proxy();
        }
        match builder.build() {
            Ok(http) => Ok(Self {
                http,
                address,
                token: None,
            }),
            Err(error) => Err(ClientError::NoClient(innermost_cause(&error))),
        }
    }

    /// Presents a key or token with every request.
    #[must_use]
    pub fn with_token(mut self, token: Option<SecretString>) -> Self {
        self.token = token;
        self
    }

    /// Returns the key or token that every request presents, if there is one.
    pub(crate) fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// Begins a request on `/api/v1/…`. The parts of the path are escaped here.
    pub fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let request = self.http.request(method, api_url(&self.address, path));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Returns host and port, as they stand in a request's head.
    pub(crate) fn host(&self) -> String {
        let host = self.address.host_str().unwrap_or_default();
        let port = self.address.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }

    /// Returns the path of `/api/v1/…`, as it stands in a request's first line.
    pub(crate) fn path(&self, path: &[&str]) -> String {
        api_url(&self.address, path).path().to_owned()
    }

    /// Whether the service is behind TLS.
    pub(crate) fn uses_tls(&self) -> bool {
        self.address.scheme() == "https"
    }

    /// Sends a request. Returns a good answer, whose body is still to be read.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            Ok(response)
        } else {
            let problem = Problem::read(response).await;
            Err(ClientError::Refused(Box::new(problem)))
        }
    }

    /// Sends a request that is answered by JSON or by nothing. One attempt, a minute at most.
    pub async fn call(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let response = self.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let status = response.status();
        let applied = response.headers().get(APPLIED);
        let applied = applied.is_none_or(|value| value != "false");
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        let body = match serde_json::from_slice(&body) {
            _ if body.is_empty() => Value::Null,
            Ok(body) => body,
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        Ok(Answer {
            status,
            body,
            applied,
        })
    }

    /// Returns the address as people write it.
    fn written_address(&self) -> String {
        self.address.as_str().trim_end_matches('/').to_owned()
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            server: self.written_address(),
            reason: innermost_cause(error),
        }
    }

    /// Makes the error of a request that was not answered in time.
    pub(super) fn unanswered(&self) -> ClientError {
        ClientError::Unreachable {
            server: self.written_address(),
            reason: NO_ANSWER.to_owned(),
        }
    }

    pub(super) fn unreadable(&self, reason: &str) -> ClientError {
        ClientError::Unreadable {
            server: self.written_address(),
            reason: reason.to_owned(),
        }
    }
}

/// Builds the URL of `/api/v1/…`. The path is put together here, because the library drops characters that it takes
/// for no part of a path: `a` with a line break in it would become `a`.
fn api_url(address: &Url, path: &[&str]) -> Url {
    let mut url = address.clone();
    let mut whole = format!("{}/api/v1", url.path().trim_end_matches('/'));
    for part in path {
        whole.push('/');
        whole.extend(utf8_percent_encode(part, ESCAPED));
    }
    url.set_query(None);
    url.set_path(&whole);
    url
}

/// Whether the service is on this machine, where a proxy is of no use, whatever the environment says.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Returns the text of the innermost cause. Those around it say that something went wrong, and not what.
fn innermost_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return NO_ANSWER.to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(server: &str, path: &[&str], expected: &str) {
        let built = api_url(&parse_address(server).unwrap(), path);
        assert_eq!(built.as_str(), expected);
    }

    #[test]
    fn paths_are_escaped_and_prefixes_kept() {
        check("http://h:1", &["events"], "http://h:1/api/v1/events");
        check(
            "wss://h/edge/",
            &["a b/c"],
            "https://h/edge/api/v1/a%20b%2Fc",
        );
        check(
            "http://h",
            &["n\nb\t\r", "a.b%2e", "%2e%2e", "?#ä"],
            "http://h/api/v1/n%0Ab%09%0D/a.b%252e/%252e%252e/%3F%23%C3%A4",
        );
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for text in ["", "localhost:8080", "ftp://h", "http://"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
