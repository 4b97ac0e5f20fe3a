//! Attaching a client: reading its request, and starting the connection's task, which the registry accepts or refuses.

use std::{future::Future, sync::Arc};

use axum::{body::Body, http::Request};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::resume::{self, StartField};
use crate::{
    access::{Caller, Quota},
    carrier::Carrier,
    extjson::read_time,
    http::edge::{
        AppState, caller,
        client_address::ClientAddress,
        problem::{Kind, Problem},
        query::{self, Query},
        quotas,
        read_your_writes::ensure_visible,
        ticket::TICKET,
    },
    position::{Cursor, Position},
    protocol::Dialect,
    router::AttachError,
    session::{self, SessionRequest},
};

/// The parameters of all streams.
pub(super) const PARAMETERS: [&str; 4] = ["after", "since", "onGap", TICKET];

/// The distance by which a cursor may lie ahead of the database's clock. Nodes and clocks differ by less.
const MAX_AHEAD_SECONDS: u32 = 60;

pub(super) struct AttachRequest {
    pub(super) session: SessionRequest,
    /// The part of the request that names the start.
    start: StartField,
}

impl AttachRequest {
    /// Ensures that this node's router knows the subscription, and that the caller sees it.
    pub(super) async fn ensure_visible(&self, state: &AppState) -> Result<(), Problem> {
        let SessionRequest {
            subscription,
            caller,
            ..
        } = &self.session;
        ensure_visible(state, subscription, &caller.sight()).await
    }
}

/// Reads a request to attach to the subscription `id`.
pub(super) fn read_request(
    state: &AppState,
    id: String,
    caller: Arc<Caller>,
    dialect: Dialect,
    request: &Request<Body>,
) -> Result<AttachRequest, Problem> {
    let (query, last) = if dialect == Dialect::Sse {
        let query = resume::query(request.uri(), &PARAMETERS)?;
        let last = resume::last_event_id(request.headers(), &query)?;
        (query, last)
    } else {
        (Query::read(request.uri(), &PARAMETERS)?, None)
    };
    let (mut start, mut after) = start(&query, state)?;
    if let Some(last) = last {
        after = Some(last.cursor()?);
        start = last.field;
    }
    let session = SessionRequest {
        subscription: id,
        caller,
        refresher: state.shared(),
        dialect,
        after,
        close_on_gap: close_on_gap(&query)?,
        remote: remote(request),
    };
    Ok(AttachRequest { session, start })
}

/// Starts the connection's task, and waits until the registry has accepted or refused it.
pub(super) async fn attach(
    state: &AppState,
    AttachRequest { session, start }: AttachRequest,
    carrier: impl Future<Output = Option<Carrier>> + Send + 'static,
) -> Result<(), Problem> {
    if let Some(cursor) = session.after
        && is_far_ahead(state, cursor).await?
    {
        return Err(start.refuse("is more than a minute ahead of the database's clock"));
    }
    let id = session.subscription.clone();
    let context = Arc::clone(&state.context);
    let (answer, taken) = oneshot::channel();
    // At `debug`, like nearly all lines of a connection: a span takes memory for as long as the connection lasts.
    let span = tracing::debug_span!("connection", subscription = session.subscription);
    let serving = session::serve(context, session, answer, carrier);
    state.tasks.spawn("connection", serving.instrument(span));
    let taken = taken.await.unwrap_or(Err(AttachError::Stopping));
    taken.map_err(|error| refusal(state, &id, error))
}

/// Returns the refusal of a session, or of a channel on the subscription `id`.
pub(super) fn refusal(state: &AppState, id: &str, error: AttachError) -> Problem {
    match error {
        AttachError::Unknown => Problem::no_subscription(id),
        AttachError::BoundOtherwise => Problem::new(Kind::Forbidden, error.to_string()),
        AttachError::TenantFull(most) | AttachError::KeyFull(most) => {
            quotas::exceeded(state, error, Quota::Connections, most)
        }
        AttachError::TenantChannelsFull(most) | AttachError::KeyChannelsFull(most) => {
            quotas::exceeded(state, error, Quota::Handles, most)
        }
        AttachError::Refused(refusal) => caller::refused(refusal),
        AttachError::Unavailable => Problem::new(Kind::DatabaseUnavailable, error.to_string()),
        AttachError::Stopping => Problem::new(Kind::NotReady, error.to_string()),
        AttachError::NodeFull
        | AttachError::SubscriptionFull
        | AttachError::NoRoom
        | AttachError::ReplaysFull
        | AttachError::ChannelsFull
        | AttachError::AdHocFull
        | AttachError::Busy(_) => Problem::new(Kind::Overloaded, error.to_string()),
    }
}

/// Whether a cursor lies too far in the future. This node's feed may be behind, so the database is asked unless the feed
/// is past the cursor already.
pub(super) async fn is_far_ahead(state: &AppState, cursor: Cursor) -> Result<bool, Problem> {
    let seconds = cursor.position.cluster_time().time;
    let reached = state.router().progress().position.cluster_time().time;
    let ours = cursor.deployment == state.router().deployment();
    if !ours || seconds <= reached.saturating_add(MAX_AHEAD_SECONDS) {
        return Ok(false);
    }
    // Boxed: it is large and seldom needed.
    let now = Box::pin(state.store.server_time()).await?;
    let now = now.timestamp_millis() / 1_000;
    Ok(i64::from(seconds) > now + i64::from(MAX_AHEAD_SECONDS))
}

/// Reads the start in the query: `after` or `since`.
fn start(query: &Query, state: &AppState) -> Result<(StartField, Option<Cursor>), Problem> {
    match (query.get("after"), query.get("since")) {
        (Some(_), Some(_)) => Err(query::bad("since", "cannot be combined with after")),
        (Some(text), None) => Cursor::parse(text)
            .map(|cursor| (StartField::After, Some(cursor)))
            .map_err(|error| StartField::After.refuse(error)),
        (None, Some(text)) => {
            let date = read_time(text)
                .ok_or_else(|| StartField::Since.refuse("must be an RFC 3339 time"))?;
            let cursor = since_cursor(state, date)
                .ok_or_else(|| StartField::Since.refuse("is outside the range of cluster times"))?;
            Ok((StartField::Since, Some(cursor)))
        }
        (None, None) => Ok((StartField::After, None)),
    }
}

/// Returns the cursor at a time; `None` if no cluster time is there.
pub(super) fn since_cursor(state: &AppState, date: bson::DateTime) -> Option<Cursor> {
    let seconds = u32::try_from(date.timestamp_millis().div_euclid(1_000)).ok()?;
    Some(Cursor {
        deployment: state.router().deployment(),
        position: Position::at(bson::Timestamp {
            time: seconds,
            increment: 0,
        }),
    })
}

fn close_on_gap(query: &Query) -> Result<bool, Problem> {
    match query.get("onGap") {
        None => Ok(false),
        Some("close") => Ok(true),
        Some(_) => Err(query::bad("onGap", "must be close")),
    }
}

pub(super) fn remote(request: &Request<Body>) -> String {
    let client = ClientAddress::of(request.extensions());
    client.map(|client| client.to_string()).unwrap_or_default()
}
