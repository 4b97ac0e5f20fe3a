//! `GET /subscriptions/{id}/events` as a WebSocket: the upgrade.
//!
//! A refusal is a problem and comes before the upgrade. Once the registry has accepted the connection, its task owns
//! everything, and sends even the 101 that this handler returns.

use std::{future::Future, sync::Arc};

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, HeaderValue, Request, header},
    response::Response,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tungstenite::handshake::server::create_response_with_body;

use super::attach;
use crate::{
    access::Caller,
    carrier::{Carrier, GaugedTcp, Upgraded},
    http::edge::{
        AppState,
        accept::{lists, upgrades_to_websocket},
        arrival::Arrival,
        framing::refuse_and_close,
        origin,
        problem::{Kind, Problem},
    },
    protocol::Dialect,
};

/// Whether a request asks for a WebSocket, well-formed or not. Other upgrades that a client may offer (HTTP/2) are not
/// taken up.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    upgrades_to_websocket(headers)
        || headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
}

/// Upgrades the request, or refuses it.
pub(crate) async fn open(
    state: &AppState,
    id: String,
    caller: Arc<Caller>,
    mut request: Request<Body>,
) -> Result<Response, Problem> {
    let dialect = choose_dialect(request.headers());
    let asked = dialect.unwrap_or(Dialect::Tidegate);
    let attach_request = attach::read_request(state, id, caller, asked, &request)?;
    let mut response = handshake(&request)?;
    origin::check(request.extensions())?;
    attach_request.ensure_visible(state).await?;
    let gauge = Arrival::gauge_of(request.extensions());
    attach::attach(state, attach_request, upgrade(&mut request)).await?;
    if let Some(gauge) = gauge {
        // The connection's task sends it first, together with the first messages.
        gauge.hold();
    }
    if let Some(dialect) = dialect {
        let name = HeaderValue::from_static(dialect.name());
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// Checks the opening handshake (RFC 6455, section 4.2.1) and returns the answer to it.
pub(crate) fn handshake(request: &Request<Body>) -> Result<Response, Problem> {
    let headers = request.headers();
    if !request.body().is_end_stream() {
        // Nobody could tell where the body ends and the first frame begins.
        return Err(refuse_and_close(
            "Upgrade",
            "cannot be requested together with a body",
        ));
    }
    if !upgrades_to_websocket(headers) {
        return Err(upgrade_required("connect with a WebSocket client"));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_some_and(|version| version != "13") {
        return Err(upgrade_required(
            "only version 13 of the WebSocket protocol is supported",
        ));
    }
    let mut head = Request::builder()
        .method(request.method())
        .version(request.version());
    if let Some(of_head) = head.headers_mut() {
        of_head.clone_from(headers);
        // Both headers are lists, but the library reads only single values.
        for (name, member) in [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
        ] {
            if lists(headers, &name, member) {
                of_head.insert(name, HeaderValue::from_static(member));
            }
        }
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

fn upgrade_required(detail: &str) -> Problem {
    Problem::new(Kind::UpgradeRequired, detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        )
}

/// Returns the first subprotocol in the client's offer that this service speaks.
fn choose_dialect(headers: &HeaderMap) -> Option<Dialect> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| Dialect::from_subprotocol(name.trim()))
}

/// Returns the socket, once hyper has handed it over.
pub(crate) fn upgrade(
    request: &mut Request<Body>,
) -> impl Future<Output = Option<Carrier>> + Send + use<> {
    let upgrading = request.extensions_mut().remove::<OnUpgrade>();
    async move {
        let parts = upgrading?
            .await
            .ok()?
            .downcast::<TokioIo<GaugedTcp>>()
            .ok()?;
        let (tcp, tls, permit, answer) = parts.io.into_inner().into_parts();
        Some(Carrier::Socket(Upgraded {
            tcp,
            tls,
            permit,
            answer,
            read_already: parts.read_buf.to_vec(),
        }))
    }
}
