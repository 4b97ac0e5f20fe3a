//! Tickets over REST: a caller gets one, and gives it to a browser, which opens one stream with it.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Value, json};

use super::keys;
use crate::{
    access::{TicketText, ticket_document},
    http::edge::{
        AppState, answer,
        caller::{By, may_receive, refused},
        fields::Fields,
        paths::{SOCKET, below, segment},
        problem::Problem,
        ticket::{MOST_SUBSCRIPTIONS, TICKET},
    },
};

/// The fields of a request for a ticket: one of them is given.
const FIELDS: [&str; 2] = ["subscription", "subscriptions"];

/// `POST /tickets`: makes a ticket for subscriptions that the caller may receive.
pub(crate) async fn create(
    State(state): State<AppState>,
    By(caller): By,
    request: Request,
) -> Result<Response, Problem> {
    let asked = Asked::read(&keys::read(&state, &caller, request).await?)?;
    let ids = asked.ids();
    let sight = caller.sight();
    let bindings = state.store.subscription_bindings(ids, &sight).await?;
    for (id, binding) in ids.iter().zip(bindings) {
        // As an attach judges it, which judges again.
        let binding = binding.ok_or_else(|| Problem::no_subscription(id))?;
        may_receive(&state, &caller, &binding)?;
    }
    // The caller's own credential may be gone by now.
    let end = state.router().credentials().judge(&caller);
    let end = end.map_err(refused)?;
    let text = TicketText::mint();
    let document = ticket_document(&text, &caller, ids);
    let making = state.bounds.tickets.for_tenant(caller.tenant.as_deref());
    let permit = making.acquire().await?;
    let lifetime = state.tickets.lifetime;
    let expires_at = state.store.insert_ticket(document, lifetime, end).await?;
    drop(permit);
    state.bounds.own_tickets.add(text.id());
    state.metrics().access.ticket("made");
    let shown = json!({
        "ticket": text.reveal(),
        "url": asked.url(&text),
        "expiresAt": answer::stored_time(expires_at),
    });
    Ok(answer::json(StatusCode::CREATED, shown.to_string()))
}

/// The subscriptions that a ticket is asked for.
enum Asked {
    One([String; 1]),
    Many(Vec<String>),
}

impl Asked {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields::read(bytes, &FIELDS)?;
        let asked = match FIELDS.map(|name| fields.members.get(name).cloned()) {
            [Some(Value::String(id)), None] => Self::One([id]),
            [None, Some(Value::Array(ids))] if (1..=MOST_SUBSCRIPTIONS).contains(&ids.len()) => {
                Self::Many(texts(&ids, &mut fields))
            }
            given => {
                let (place, fault) = fault(&given);
                // An object that is none has been blamed.
                if fields.faults.is_empty() {
                    fields.faults.blame(place, fault);
                }
                Self::Many(Vec::new())
            }
        };
        fields.finish(asked)
    }

    fn ids(&self) -> &[String] {
        match self {
            Self::One(id) => id,
            Self::Many(ids) => ids,
        }
    }

    /// Returns the address of the stream: of several subscriptions, that of the socket for them.
    fn url(&self, ticket: &TicketText) -> String {
        let path = match self {
            Self::One([id]) => below(&format!("/subscriptions/{}/events", segment(id))),
            Self::Many(_) => below(SOCKET),
        };
        format!("{path}?{TICKET}={}", ticket.reveal())
    }
}

fn texts(ids: &[Value], fields: &mut Fields) -> Vec<String> {
    let mut read = Vec::with_capacity(ids.len());
    for (at, id) in ids.iter().enumerate() {
        if let Value::String(id) = id {
            read.push(id.clone());
        } else {
            let place = format_args!("#/subscriptions/{at}");
            fields.faults.blame(place, "must be an id");
        }
    }
    read
}

/// Returns the place and the fault of fields that do not name subscriptions.
fn fault(given: &[Option<Value>; 2]) -> (&'static str, String) {
    match given {
        [Some(_), Some(_)] => (
            "#/subscriptions",
            "cannot be combined with subscription".to_owned(),
        ),
        [None, None] => ("#/subscription", "is required, or subscriptions".to_owned()),
        [Some(_), None] => ("#/subscription", "must be an id".to_owned()),
        [None, Some(_)] => (
            "#/subscriptions",
            format!("must be an array of 1 to {MOST_SUBSCRIPTIONS} ids"),
        ),
    }
}
