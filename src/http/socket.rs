//! `GET /subscriptions/{id}/events`: the WebSocket upgrade.
//!
//! A refusal comes before the upgrade, as a problem. Once the registry has taken the connection, its
//! task owns everything; this handler only answers 101.

use std::{future::Future, net::SocketAddr};

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, Request, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::oneshot};
use tungstenite::handshake::server::create_response_with_body;

use super::{
    AppState,
    extract::Id,
    problem::{Kind, Problem},
    query::{self, Query},
};
use crate::{
    connection::{self, Host, Upgraded},
    position::{Cursor, Position},
    protocol::Dialect,
    router::AttachError,
};

/// Upgrades, or says why not.
pub(super) async fn open(
    State(state): State<AppState>,
    Id(id): Id,
    mut request: Request<Body>,
) -> Result<Response, Problem> {
    let query = Query::read(request.uri(), &["after", "since", "onGap"])?;
    let after = after(&query, &state)?;
    let close_on_gap = close_on_gap(&query)?;
    let mut response = handshake(&request)?;
    same_origin(request.headers(), &state.config.cors.origins)?;
    let dialect = choose_dialect(request.headers());
    known(&state, &id).await?;
    let wish = connection::Request {
        subscription: id,
        dialect: dialect.unwrap_or(Dialect::Tidegate),
        after,
        close_on_gap,
        remote: remote(&request),
    };
    take(&state, wish, upgrade(&mut request)).await?;
    if let Some(dialect) = dialect {
        let name = HeaderValue::from_static(dialect.name());
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// Starts the connection's task, and waits until the registry has taken it or refused.
async fn take(
    state: &AppState,
    wish: connection::Request,
    upgrade: impl Future<Output = Option<Upgraded>> + Send + 'static,
) -> Result<(), Problem> {
    let host = Host {
        router: state.router.clone(),
        config: state.config.clone(),
        metrics: state.metrics.clone(),
        replays: state.replays.clone(),
        wording: state.wording.clone(),
    };
    let (answer, taken) = oneshot::channel();
    let serving = connection::serve(host, wish, answer, upgrade);
    let cut = state.cut.clone();
    state.tasks.spawn(cut.run_until_cancelled_owned(serving));
    match taken.await.unwrap_or(Err(AttachError::Stopping)) {
        Ok(()) => Ok(()),
        Err(AttachError::Unknown) => Err(not_found()),
        Err(error @ AttachError::Stopping) => Err(Problem::new(Kind::NotReady, error.to_string())),
        Err(error) => Err(Problem::new(Kind::Overloaded, error.to_string())),
    }
}

/// A subscription that the router does not know may have been made a moment ago through another
/// node: the database is asked, and the feed waited for, before this says 404.
async fn known(state: &AppState, id: &str) -> Result<(), Problem> {
    if state.router.has(id).await {
        return Ok(());
    }
    let read = state.store.find_subscription(id).await?;
    if read.document.is_none() {
        return Err(not_found());
    }
    let patience = state.config.limits.applied_timeout;
    if state.router.applied(read.operation_time, patience).await {
        return Ok(());
    }
    Err(Problem::new(
        Kind::NotReady,
        "this node has not seen the subscription yet",
    ))
}

fn not_found() -> Problem {
    Problem::new(Kind::SubscriptionNotFound, "no subscription has this id")
}

/// Checks the opening handshake (RFC 6455, section 4.2.1) and words the answer.
fn handshake(request: &Request<Body>) -> Result<Response, Problem> {
    let headers = request.headers();
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    if !upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(upgrade_required("connect with a WebSocket client"));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_some_and(|version| version != "13") {
        return Err(upgrade_required(
            "only version 13 of the WebSocket protocol is spoken here",
        ));
    }
    if !headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(is_nonce) {
        return Err(Problem::header(
            Kind::BadHeader,
            "Sec-WebSocket-Key",
            "must be 16 bytes in base64",
        ));
    }
    let mut head = Request::builder()
        .method(request.method())
        .version(request.version());
    if let Some(of_head) = head.headers_mut() {
        of_head.clone_from(headers);
    }
    let bare = head
        .body(())
        .map_err(|error| Problem::new(Kind::MalformedRequest, error.to_string()))?;
    create_response_with_body(&bare, Body::empty).map_err(|error| {
        Problem::new(
            Kind::BadHeader,
            format!("not a WebSocket handshake: {error}"),
        )
    })
}

/// Whether it is what RFC 6455, section 4.1, asks of a client's key.
fn is_nonce(key: &HeaderValue) -> bool {
    const NONCE_BYTES: usize = 16;
    BASE64_STANDARD
        .decode(key.as_bytes())
        .is_ok_and(|nonce| nonce.len() == NONCE_BYTES)
}

fn upgrade_required(detail: &str) -> Problem {
    Problem::new(Kind::UpgradeRequired, detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        )
}

/// Browsers let any page open a socket to any host: a page of another origin must be allowed by
/// configuration, like any other cross-origin request.
fn same_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let Some(origin) = text(header::ORIGIN) else {
        return Ok(());
    };
    let own = text(header::HOST).is_some_and(|host| {
        origin
            .split_once("://")
            .is_some_and(|(_, of_origin)| of_origin.eq_ignore_ascii_case(host))
    });
    if own
        || allowed
            .iter()
            .any(|allowed| allowed == "*" || allowed == origin)
    {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        "pages of this origin may not connect; see [cors] origins",
    ))
}

/// The first subprotocol that the client offers and this service speaks.
fn choose_dialect(headers: &HeaderMap) -> Option<Dialect> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| Dialect::from_subprotocol(name.trim()))
}

/// Where the client wants to go on from: `after`, else `since`.
fn after(query: &Query, state: &AppState) -> Result<Option<Cursor>, Problem> {
    let deployment = state.router.deployment();
    match (query.get("after"), query.get("since")) {
        (Some(_), Some(_)) => Err(query::bad("since", "cannot be combined with after")),
        (Some(text), None) => Cursor::parse(text)
            .map(Some)
            .map_err(|error| Problem::parameter(Kind::BadCursor, "after", error.to_string())),
        (None, Some(text)) => {
            let date = bson::DateTime::parse_rfc3339_str(text)
                .map_err(|_| query::bad("since", "must be a time as in RFC 3339"))?;
            let seconds = u32::try_from(date.timestamp_millis().div_euclid(1_000))
                .map_err(|_| query::bad("since", "lies outside the range of cluster times"))?;
            let position = Position::at(bson::Timestamp {
                time: seconds,
                increment: 0,
            });
            Ok(Some(Cursor {
                deployment,
                position,
            }))
        }
        (None, None) => Ok(None),
    }
}

fn close_on_gap(query: &Query) -> Result<bool, Problem> {
    match query.get("onGap") {
        None => Ok(false),
        Some("close") => Ok(true),
        Some(_) => Err(query::bad("onGap", "must be close")),
    }
}

fn remote(request: &Request<Body>) -> String {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map(|ConnectInfo(address)| address.to_string())
        .unwrap_or_default()
}

/// The socket, once hyper has written the 101.
fn upgrade(request: &mut Request<Body>) -> impl Future<Output = Option<Upgraded>> + Send + use<> {
    let upgrading = request.extensions_mut().remove::<OnUpgrade>();
    async move {
        let parts = upgrading?
            .await
            .ok()?
            .downcast::<TokioIo<TcpStream>>()
            .ok()?;
        Some(Upgraded {
            tcp: parts.io.into_inner(),
            read_already: parts.read_buf.to_vec(),
        })
    }
}
