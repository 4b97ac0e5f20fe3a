//! Talking to a running service over HTTP: addresses, requests, and why they failed.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde_json::Value;

use super::{failure::Failure, problem::Problem, style};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Where the service is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The service's address
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEGATE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_parser = server_url
    )]
    server: Url,
}

/// Reads a service's address. `ws` and `wss` are taken for what they run on.
fn server_url(text: &str) -> Result<Url, String> {
    let text = match text.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => text.to_owned(),
    };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("expected an address such as http://127.0.0.1:8080".to_owned()),
    }
}

/// What an id needs escapes for in a path. The rest stays as people read it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Reads an id that can stand in a path: `.` and `..` would mean other resources.
pub(crate) fn path_id(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("an id cannot be empty, \".\" or \"..\"".to_owned()),
        text if text.contains(char::is_control) => {
            Err("an id cannot have control characters, such as line breaks".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The connection could not be opened, or broke.
    #[error("cannot reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    /// The service said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer makes no sense.
    #[error("{server} gave an answer that cannot be read: {reason}")]
    Unreadable { server: String, reason: String },
}

impl ClientError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Unreadable { .. } => false,
        }
    }

    /// How long the service asked to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Unreachable { .. } => {
                "\n  Is the service running? `tidegate dev` starts one; \
                 --server or TIDEGATE_SERVER names another."
            }
            _ => "",
        };
        Self::Failed(format!("{error}{hint}"))
    }
}

/// A service, by its address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: Url,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&args.server) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::Failed(format!("no HTTP client: {}", reason(&error))))?;
        Ok(Self {
            http,
            server: args.server.clone(),
        })
    }

    /// A request on `/api/v1/…`; the path's components are escaped here.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, api_url(&self.server, path))
    }

    /// Host and port, as they stand in a request's head.
    pub(crate) fn host(&self) -> String {
        let host = self.server.host_str().unwrap_or_default();
        let port = self.server.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }

    /// The path of `/api/v1/…`, as it stands in a request's first line.
    pub(crate) fn path(&self, path: &[&str]) -> String {
        api_url(&self.server, path).path().to_owned()
    }

    /// Refuses TLS, for a command that does without it.
    pub(crate) fn must_be_plain(&self, command: &str) -> Result<(), Failure> {
        match self.server.scheme() {
            "http" => Ok(()),
            _ => Err(Failure::Usage(format!(
                "{command} does not speak TLS; give it the address of the node itself"
            ))),
        }
    }

    /// Sends a request and gives back a good answer, whose body is still to be read.
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

    /// Sends a request that is answered by JSON, or by nothing (then `null`).
    pub(crate) async fn call(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Value), ClientError> {
        let response = self.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let status = response.status();
        warn_if_not_applied(&response);
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if body.is_empty() {
            return Ok((status, Value::Null));
        }
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((status, value)),
            Err(error) => Err(self.unreadable(&error.to_string())),
        }
    }

    /// The address as people write it.
    fn address(&self) -> String {
        self.server.as_str().trim_end_matches('/').to_owned()
    }

    /// The connection is of no use.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            server: self.address(),
            reason: reason(error),
        }
    }

    /// No answer came in time.
    pub(crate) fn silent(&self) -> ClientError {
        ClientError::Unreachable {
            server: self.address(),
            reason: "no answer in time".to_owned(),
        }
    }

    /// The answer is none that this service gives.
    pub(crate) fn unreadable(&self, reason: &str) -> ClientError {
        ClientError::Unreadable {
            server: self.address(),
            reason: reason.to_owned(),
        }
    }
}

/// The path is put together here: the library's own ways leave out what it takes for no part of a path,
/// so that `a` with a line break in it would be `a`.
fn api_url(server: &Url, path: &[&str]) -> Url {
    let mut url = server.clone();
    let mut whole = format!("{}/api/v1", url.path().trim_end_matches('/'));
    for part in path {
        whole.push('/');
        whole.extend(utf8_percent_encode(part, ESCAPED));
    }
    url.set_query(None);
    url.set_path(&whole);
    url
}

/// The service says so when its own feed has not passed a write yet.
fn warn_if_not_applied(response: &Response) {
    let applied = response.headers().get("Tidegate-Applied");
    if applied.is_some_and(|value| value == "false") {
        style::warn("written, but this node has not seen it yet; it will");
    }
}

/// The time in `Retry-After`, where it is given in seconds.
pub(crate) fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// A proxy is of no use for a service on this machine, whatever the environment says.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// The innermost cause: what is around it says that something went wrong, not what.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
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
        let built = api_url(&server_url(server).unwrap(), path);
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
            assert!(server_url(text).is_err(), "{text}");
        }
        for id in ["", ".", "..", "n\nb", "a\u{7f}", "\u{9b}"] {
            assert!(path_id(id).is_err(), "{id:?}");
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
