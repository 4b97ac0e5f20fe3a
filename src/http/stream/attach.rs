//! From a request to a connection: what the client wishes, and whether the registry takes it.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::{body::Body, extract::ConnectInfo, http::Request};
use tokio::sync::oneshot;

use super::resume::{self, Said};
use crate::{
    carrier::Carrier,
    extjson::read_time,
    http::edge::{
        AppState,
        problem::{Kind, Problem},
        query::{self, Query},
        read_your_writes::not_found,
    },
    position::{Cursor, Position},
    protocol::Dialect,
    router::AttachError,
    session,
};

/// Parameters of all streams.
pub(crate) const WISHES: [&str; 3] = ["after", "since", "onGap"];

/// So far may a place lie ahead of the database's clock: nodes and clocks differ by less.
const AHEAD_SECONDS: u32 = 60;

/// What a client wishes, and where it says from where it goes on.
pub(crate) struct Wish {
    pub(crate) request: session::Request,
    said: Said,
}

/// Reads what a client wishes.
pub(crate) fn wish(
    state: &AppState,
    id: String,
    dialect: Dialect,
    request: &Request<Body>,
) -> Result<Wish, Problem> {
    let (query, last) = if dialect == Dialect::Sse {
        let query = resume::query(request.uri(), &WISHES)?;
        let last = resume::last(request.headers(), &query)?;
        (query, last)
    } else {
        (Query::read(request.uri(), &WISHES)?, None)
    };
    let (mut said, mut after) = after(&query, state)?;
    if let Some(last) = last {
        after = Some(last.cursor()?);
        said = last.said;
    }
    let request = session::Request {
        subscription: id,
        dialect,
        after,
        close_on_gap: close_on_gap(&query)?,
        remote: remote(request),
    };
    Ok(Wish { request, said })
}

/// Starts the connection's task, and waits until the registry has taken it or refused.
pub(crate) async fn take(
    state: &AppState,
    Wish { request, said }: Wish,
    carrier: impl Future<Output = Option<Carrier>> + Send + 'static,
) -> Result<(), Problem> {
    if let Some(cursor) = request.after
        && is_far_ahead(state, cursor).await?
    {
        return Err(said.refuse("lies more than a minute ahead of the database's clock"));
    }
    let context = Arc::clone(&state.context);
    let (answer, taken) = oneshot::channel();
    let serving = session::serve(context, request, answer, carrier);
    state.tasks.spawn("connection", serving);
    match taken.await.unwrap_or(Err(AttachError::Stopping)) {
        Ok(()) => Ok(()),
        Err(AttachError::Unknown) => Err(not_found()),
        Err(error @ AttachError::Unavailable) => {
            Err(Problem::new(Kind::DatabaseUnavailable, error.to_string()))
        }
        Err(error @ AttachError::Stopping) => Err(Problem::new(Kind::NotReady, error.to_string())),
        Err(error) => Err(Problem::new(Kind::Overloaded, error.to_string())),
    }
}

/// Whether a place lies too far in the future. The database is asked only where this node's feed, which may be
/// behind, does not know better.
async fn is_far_ahead(state: &AppState, cursor: Cursor) -> Result<bool, Problem> {
    let seconds = cursor.position.cluster_time().time;
    let reached = state.router().progress().position.cluster_time().time;
    let ours = cursor.deployment == state.router().deployment();
    if !ours || seconds <= reached.saturating_add(AHEAD_SECONDS) {
        return Ok(false);
    }
    let now = state.store.server_time().await?.timestamp_millis() / 1_000;
    Ok(i64::from(seconds) > now + i64::from(AHEAD_SECONDS))
}

/// Where the client wants to go on from: `after`, else `since`.
fn after(query: &Query, state: &AppState) -> Result<(Said, Option<Cursor>), Problem> {
    let deployment = state.router().deployment();
    match (query.get("after"), query.get("since")) {
        (Some(_), Some(_)) => Err(query::bad("since", "cannot be combined with after")),
        (Some(text), None) => Cursor::parse(text)
            .map(|cursor| (Said::After, Some(cursor)))
            .map_err(|error| Said::After.refuse(error)),
        (None, Some(text)) => {
            let date = read_time(text)
                .ok_or_else(|| Said::Since.refuse("must be a time as in RFC 3339"))?;
            let seconds = u32::try_from(date.timestamp_millis().div_euclid(1_000))
                .map_err(|_| Said::Since.refuse("lies outside the range of cluster times"))?;
            let position = Position::at(bson::Timestamp {
                time: seconds,
                increment: 0,
            });
            let cursor = Cursor {
                deployment,
                position,
            };
            Ok((Said::Since, Some(cursor)))
        }
        (None, None) => Ok((Said::After, None)),
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
