//! Tickets in the address of a stream: browsers cannot set a header on a WebSocket or an `EventSource`.
//!
//! A ticket counts on a request for a stream alone. Everywhere else its parameter is an unknown one. It is taken as soon as it
//! is looked at, whatever becomes of the request: an address may be repeated by others.

use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
};
use percent_encoding::percent_decode_str;

use super::{
    accept,
    awaited_key::wait_for_key,
    client_address::{ClientAddress, counted_address},
    paths::{BASE, SOCKET, STREAM, STREAM_OF_MANY},
    problem::{Kind, Problem},
    quotas,
    state::AppState,
    token::unverified,
    unauthenticated::{not_valid, refused},
};
use crate::access::{Caller, Credential, KeyLimits, TicketText, ticket_caller};

/// The parameter with a ticket.
pub(crate) const TICKET: &str = "ticket";
/// The most subscriptions of a ticket.
pub(crate) const MOST_SUBSCRIPTIONS: usize = 100;

/// Returns the text of the ticket that a request for a stream presents.
pub(super) fn presented(head: &Parts) -> Result<Option<String>, Problem> {
    if !asks_for_stream(head) {
        return Ok(None);
    }
    let query = head.uri.query().unwrap_or_default();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut tickets = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name) == TICKET).then(|| decoded(value))
    });
    match (tickets.next(), tickets.next()) {
        (ticket, None) => Ok(ticket),
        _ => Err(Problem::parameter(
            Kind::BadParameter,
            TICKET,
            "is given twice",
        )),
    }
}

fn asks_for_stream(head: &Parts) -> bool {
    let path = head.extensions.get::<MatchedPath>();
    head.method == Method::GET
        && path.is_some_and(|path| {
            let below = path.as_str().strip_prefix(BASE);
            matches!(below, Some(STREAM | SOCKET | STREAM_OF_MANY))
        })
        && (accept::upgrades_to_websocket(&head.headers)
            || accept::names(&head.headers, "text/event-stream"))
}

/// Takes a ticket. Returns the caller for whom it was made, as narrow as it; else the outcome, as metrics name it, and the
/// refusal.
pub(super) async fn take(
    state: &AppState,
    text: &str,
    client: Option<ClientAddress>,
) -> Result<Caller, (&'static str, Problem)> {
    let taken = try_take(state, text, client).await;
    let outcome = taken
        .as_ref()
        .map_or_else(|(outcome, _)| *outcome, |_| "taken");
    state.metrics().access.ticket(outcome);
    taken
}

async fn try_take(
    state: &AppState,
    text: &str,
    client: Option<ClientAddress>,
) -> Result<Caller, (&'static str, Problem)> {
    let ticket = TicketText::parse(text).ok_or_else(|| ("malformed", not_valid()))?;
    if !state.router().progress().loaded {
        let detail = "this node has not loaded its keys yet";
        return Err(("undecided", Problem::new(Kind::NotReady, detail)));
    }
    let undecided = |problem| ("undecided", problem);
    let id = ticket.id();
    if !state.bounds.own_tickets.take(&id) {
        quotas::take_unknown_tickets(state, 0).map_err(|problem| ("limited", problem))?;
    }
    // It does not say whose it is yet: addresses take turns.
    let address = client.map(|client| counted_address(client.ip()).to_string());
    let taking = state.bounds.tickets.for_tenant(address.as_deref());
    let permit = taking.acquire().await.map_err(undecided)?;
    let found = state.store.take_ticket(&id).await;
    drop(permit);
    let found = found.map_err(|error| undecided(error.into()))?;
    let unknown = || ("unknown", not_valid());
    let Some(document) = found else {
        // If that is too fast, the next one is told.
        drop(quotas::take_unknown_tickets(state, 1));
        return Err(unknown());
    };
    let mut caller = ticket_caller(&document).ok_or_else(unknown)?;
    if let Credential::Token(token) = &caller.credential {
        // Its key may have left its issuer's set before this node was there to see it.
        let trusted = state.issuers.trust(token).await.map_err(unverified)?;
        if !trusted {
            return Err(("revoked", not_valid()));
        }
    }
    let credentials = state.router().credentials();
    if let Credential::Key { id, .. } = &caller.credential {
        if !credentials.has_key(id) {
            wait_for_key(state, id).await.map_err(|problem| {
                let undecided = problem.status().is_server_error();
                (if undecided { "undecided" } else { "revoked" }, problem)
            })?;
        }
        // Its limits and quotas are those that it has now.
        let key = credentials.read(|all| all.caller_of_key(id));
        let key = key.ok_or_else(|| ("revoked", not_valid()))?;
        caller.quotas = key.quotas;
        caller.limits = KeyLimits {
            ticket: caller.limits.ticket,
            ..key.limits
        };
    }
    match credentials.judge(&caller) {
        Ok(end) => Ok(Caller {
            expires_at: end,
            ..caller
        }),
        Err(refusal) => Err((refusal.outcome(), refused(refusal))),
    }
}
