//! `GET /socket`: a WebSocket for many subscriptions.
//!
//! The upgrade is that of a socket for one, and so are the refusals before it. What the client asks for on the
//! socket is read in [`wish`], and refused there item by item.

pub(crate) mod events;
mod wish;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Request, header},
    response::Response,
};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{attach, websocket};
use crate::{
    access::Caller,
    http::edge::{
        AppState, Shared,
        arrival::Arrival,
        caller::By,
        origin,
        problem::{Kind, Problem},
        query::Query,
        read_your_writes::ensure_visible,
        ticket::TICKET,
    },
    protocol::{Asked, Dialect},
    router::{AttachError, Subscribe, registry::SessionKey},
    session::many::{
        self, ManyRequest, NotOpened, NotSubscribed, Refusal, Subscriber, Subscribing,
    },
};

/// Upgrades the request, or refuses it.
pub(crate) async fn open(
    State(state): State<AppState>,
    By(caller): By,
    mut request: Request<Body>,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[TICKET])?;
    let mut response = websocket::handshake(&request)?;
    let offered = choose(request.headers())?;
    origin::check(request.extensions())?;
    let gauge = Arrival::gauge_of(request.extensions());
    let many = ManyRequest {
        caller,
        refresher: state.shared(),
        subscriber: state.shared(),
        dialect: Dialect::Many,
        first: None,
        remote: attach::remote(&request),
    };
    let carrier = websocket::upgrade(&mut request);
    let (answer, taken) = oneshot::channel();
    let serving = many::serve(Arc::clone(&state.context), many, answer, carrier);
    let span = tracing::debug_span!("connection");
    state.tasks.spawn("connection", serving.instrument(span));
    let refusal = match taken.await {
        Ok(Ok(())) => None,
        Ok(Err(NotOpened::Attach(error))) => Some(error),
        Ok(Err(NotOpened::Refused(_))) | Err(_) => Some(AttachError::Stopping),
    };
    if let Some(error) = refusal {
        return Err(attach::refusal(&state, "", error));
    }
    if let Some(gauge) = gauge {
        // The session's task sends it first, together with the first messages.
        gauge.hold();
    }
    if offered {
        let name = HeaderValue::from_static(Dialect::Many.name());
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// Whether the client offers the subprotocol. An offer without it is refused: the client expects other messages.
fn choose(headers: &HeaderMap) -> Result<bool, Problem> {
    let name = Dialect::Many.name();
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|offer| !offer.is_empty())
        .peekable();
    if offers.peek().is_none() {
        return Ok(false);
    }
    if offers.any(|offer| offer == name) {
        return Ok(true);
    }
    Err(Problem::header(
        Kind::BadHeader,
        "Sec-WebSocket-Protocol",
        format!("this socket speaks {name} only"),
    ))
}

impl Subscriber for Shared {
    fn subscribe(
        self: Arc<Self>,
        session: SessionKey,
        caller: Arc<Caller>,
        number: u64,
        asked: Asked,
    ) -> Subscribing {
        let state = AppState::from(self);
        Box::pin(async move { subscribe(&state, session, &caller, number, asked).await })
    }

    fn problem(&self, refusal: Refusal) -> Value {
        let problem = match refusal {
            Refusal::InUse => {
                Problem::new(Kind::HandleInUse, "the handle is in use on this socket")
            }
            Refusal::TooManyHandles(most) => {
                let detail =
                    format!("the socket has as many handles as it may ({most}, socket.handles)");
                Problem::new(Kind::TooManyRequests, detail)
            }
            Refusal::TooManyAdHoc(most) => {
                let detail = format!(
                    "the socket has as many handles with filters of its own as it may ({most}, socket.adhoc_handles)"
                );
                Problem::new(Kind::TooManyRequests, detail)
            }
            Refusal::TooManyItems(most) => {
                let detail = format!("a message may have {most} items at most (socket.items)");
                Problem::new(Kind::TooManyRequests, detail)
            }
            Refusal::TooFast(_) => {
                let detail = "the socket subscribes too fast (socket.subscribes_per_second, socket.subscribe_burst)";
                Problem::new(Kind::TooManyRequests, detail)
            }
        };
        problem.to_json()
    }
}

/// The outcome of each item of a message, in order.
async fn subscribe(
    state: &AppState,
    session: SessionKey,
    caller: &Caller,
    number: u64,
    asked: Asked,
) -> Vec<Result<(), NotSubscribed>> {
    let shared = match wish::Shared::read(state, &asked.shared).await {
        Ok(shared) => shared,
        Err(problem) => {
            let refused = asked.items.iter().map(|_| Err(not_subscribed(&problem)));
            return refused.collect();
        }
    };
    let wanted = asked.items.into_iter();
    let wanted = wanted.map(|item| wish::read(state, caller, &shared, number, item));
    let wanted: Vec<Result<Subscribe, Problem>> = join_all(wanted).await;
    let outcomes = subscribe_all(state, session, caller, wanted).await;
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.map_err(|problem| not_subscribed(&problem)))
        .collect()
}

/// Has the router open the channels at one point. Those of which it does not know the subscription may have been
/// made on another node a moment ago: they are looked up, and asked for once more, together.
async fn subscribe_all(
    state: &AppState,
    session: SessionKey,
    caller: &Caller,
    wanted: Vec<Result<Subscribe, Problem>>,
) -> Vec<Result<(), Problem>> {
    let mut outcomes: Vec<Result<(), Problem>> = Vec::with_capacity(wanted.len());
    let (mut places, mut asked) = (Vec::new(), Vec::new());
    for (place, wanted) in wanted.into_iter().enumerate() {
        outcomes.push(wanted.map(|wanted| {
            places.push(place);
            asked.push(wanted);
        }));
    }
    let kept = asked.clone();
    let answered = state.router().subscribe(session, asked).await;
    let mut unknown = Vec::new();
    for (index, (place, wanted)) in places.into_iter().zip(kept).enumerate() {
        match answer_of(&answered, index) {
            Ok(()) => {}
            Err(AttachError::Unknown) => unknown.push((place, wanted)),
            Err(error) => {
                outcomes[place] = Err(attach::refusal(state, &wanted.wish.subscription, error));
            }
        }
    }
    if !unknown.is_empty() {
        subscribe_unknown(state, session, caller, unknown, &mut outcomes).await;
    }
    outcomes
}

fn answer_of(
    answered: &Result<Vec<Result<(), AttachError>>, AttachError>,
    index: usize,
) -> Result<(), AttachError> {
    match answered {
        Ok(all) => all
            .get(index)
            .copied()
            .unwrap_or(Err(AttachError::Stopping)),
        Err(error) => Err(*error),
    }
}

async fn subscribe_unknown(
    state: &AppState,
    session: SessionKey,
    caller: &Caller,
    unknown: Vec<(usize, Subscribe)>,
    outcomes: &mut [Result<(), Problem>],
) {
    let sight = caller.sight();
    let looked_up = unknown.iter();
    let looked_up = looked_up.map(|(_, one)| ensure_visible(state, &one.wish.subscription, &sight));
    let looked_up = join_all(looked_up).await;
    let (mut again, mut places) = (Vec::new(), Vec::new());
    for ((place, wanted), visible) in unknown.into_iter().zip(looked_up) {
        match visible {
            Ok(()) => {
                places.push((place, wanted.wish.subscription.clone()));
                again.push(wanted);
            }
            Err(problem) => outcomes[place] = Err(problem),
        }
    }
    if again.is_empty() {
        return;
    }
    let answered = state.router().subscribe(session, again).await;
    for (index, (place, id)) in places.into_iter().enumerate() {
        if let Err(error) = answer_of(&answered, index) {
            outcomes[place] = Err(attach::refusal(state, &id, error));
        }
    }
}

fn not_subscribed(problem: &Problem) -> NotSubscribed {
    let is_worth_a_retry = super::retry::is_worth_a_retry(problem.status());
    NotSubscribed {
        problem: problem.to_json(),
        retry_after_ms: is_worth_a_retry.then_some(RETRY_AFTER_MS),
    }
}

/// The time after which a refusal may have passed.
const RETRY_AFTER_MS: u64 = 1_000;
