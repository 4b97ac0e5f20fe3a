//! `GET` and `POST /stream`: many subscriptions over server-sent events (WHATWG HTML, section 9.2).
//!
//! The request holds the only `subscribe`. It is refused if every item of it is; else those that are refused are
//! told on the stream.

use std::{future::ready, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::{
    access::Caller,
    carrier::{Carrier, TcpGauge, event_stream},
    extjson::parse_json,
    http::{
        edge::{
            AppState,
            arrival::Arrival,
            body::{BodyReader, POSTED_JSON},
            caller::By,
            origin,
            problem::{Kind, PROBLEM_JSON, Problem},
            query,
        },
        stream::{
            attach,
            resume::{self, FILTER, OF_MANY, SUBSCRIPTION},
            sse,
        },
    },
    protocol::{Asked, Dialect, Wanted},
    router::AttachError,
    session::many::{self, ManyRequest, NotOpened},
};

/// Opens a stream for what the query names.
pub(crate) async fn get(
    State(state): State<AppState>,
    By(caller): By,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let query = resume::query_with(request.uri(), &OF_MANY, SUBSCRIPTION)?;
    let last = resume::last_event_id(request.headers(), &query)?;
    let mut shared = Map::new();
    for name in ["after", "since", "onGap"] {
        if let Some(value) = query.get(name) {
            shared.insert(name.to_owned(), value.into());
        }
    }
    go_on_behind(&mut shared, last)?;
    let mut items: Vec<Wanted> = Vec::new();
    for id in query.all(SUBSCRIPTION) {
        // The handles are the ids.
        if items.iter().all(|item| &*item.handle != id) {
            let fields = Map::from_iter([(SUBSCRIPTION.to_owned(), id.into())]);
            items.push(Wanted {
                handle: id.into(),
                fields,
            });
        }
    }
    if let Some(text) = query.get(FILTER) {
        let filter = parse_json(text.as_bytes())
            .map_err(|error| query::bad(FILTER, format_args!("is not JSON: {error}")))?;
        let mut fields = Map::from_iter([(FILTER.to_owned(), filter)]);
        if let Some(source) = query.get("source") {
            fields.insert("source".to_owned(), source.into());
        }
        let handle = FILTER.into();
        items.push(Wanted { handle, fields });
    }
    if items.is_empty() {
        return Err(query::bad(SUBSCRIPTION, "is required, or filter"));
    }
    let client = Client::of(&request)?;
    open(&state, caller, Asked { shared, items }, client).await
}

/// Opens a stream for what the body asks for: a `subscribe` with items, without its `type`.
pub(crate) async fn post(
    State(state): State<AppState>,
    By(caller): By,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let query = resume::query(request.uri(), &[])?;
    let last = resume::last_event_id(request.headers(), &query)?;
    POSTED_JSON.check(request.headers())?;
    let client = Client::of(&request)?;
    let (head, body) = request.into_parts();
    let reader = BodyReader::new(&state, &caller, state.context.socket.many_message_bytes);
    let body = reader.read(&head.headers, body).await?;
    let fields = parse_json(&body.bytes).map_err(Problem::malformed_json)?;
    let Value::Object(fields) = fields else {
        return Err(Problem::new(Kind::InvalidRequest, "must be an object"));
    };
    let asked = Asked::read(fields);
    let mut asked = asked.map_err(|error| Problem::new(Kind::InvalidRequest, error))?;
    drop(body);
    go_on_behind(&mut asked.shared, last)?;
    open(&state, caller, asked, client).await
}

/// Has the stream go on behind the id of the last event that the client has seen, which wins over what the request
/// says.
fn go_on_behind(
    shared: &mut Map<String, Value>,
    last: Option<resume::LastEventId>,
) -> Result<(), Problem> {
    if let Some(last) = last {
        last.cursor()?;
        shared.remove("since");
        let after = last.into_valid_text().unwrap_or_default();
        shared.insert("after".to_owned(), after.into());
    }
    Ok(())
}

/// The client of a stream, as its request tells.
struct Client {
    gauge: Arc<TcpGauge>,
    remote: String,
}

impl Client {
    fn of(request: &Request<Body>) -> Result<Self, Problem> {
        origin::check(request.extensions())?;
        let gauge = Arrival::gauge_of(request.extensions());
        let gauge = gauge.ok_or_else(|| {
            let detail = "the gauge of this TCP connection is missing";
            Problem::new(Kind::InternalError, detail)
        })?;
        let remote = attach::remote(request);
        Ok(Self { gauge, remote })
    }
}

async fn open(
    state: &AppState,
    caller: Arc<Caller>,
    asked: Asked,
    client: Client,
) -> Result<Response, Problem> {
    check_bounds(state, &asked)?;
    let many = ManyRequest {
        caller,
        refresher: state.shared(),
        subscriber: state.shared(),
        dialect: Dialect::SseMany,
        first: Some(asked),
        remote: client.remote,
    };
    let (stream, body) = event_stream(client.gauge);
    let carrier = ready(Some(Carrier::Stream(stream)));
    let (answer, taken) = oneshot::channel();
    let serving = many::serve(Arc::clone(&state.context), many, answer, carrier);
    let span = tracing::debug_span!("connection");
    state.tasks.spawn("connection", serving.instrument(span));
    match taken.await {
        Ok(Ok(())) => {}
        Ok(Err(NotOpened::Attach(error))) => return Err(attach::refusal(state, "", error)),
        Ok(Err(NotOpened::Refused(problem))) => return Ok(refused(&problem)),
        Err(_) => return Err(attach::refusal(state, "", AttachError::Stopping)),
    }
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().extend(sse::headers());
    // The TCP connection ends with the answer: see `sse`.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Ok(response)
}

/// Refuses what is more than a stream may have, and a handle that is named twice.
fn check_bounds(state: &AppState, asked: &Asked) -> Result<(), Problem> {
    let settings = &state.context.socket;
    let most = settings.items.min(settings.handles);
    let adhoc = asked.items.iter().filter(|item| item.is_adhoc()).count();
    if asked.items.len() > most {
        let detail =
            format!("a stream may have {most} items at most (socket.items, socket.handles)");
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    if adhoc > settings.adhoc_handles {
        let most = settings.adhoc_handles;
        let detail =
            format!("a stream may have {most} filters of its own at most (socket.adhoc_handles)");
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    let mut handles: Vec<&str> = asked.items.iter().map(|item| &*item.handle).collect();
    handles.sort_unstable();
    if handles.windows(2).any(|pair| pair[0] == pair[1]) {
        let detail = "a handle is named twice";
        return Err(Problem::new(Kind::HandleInUse, detail));
    }
    Ok(())
}

/// Returns the answer with the refusal of all items.
fn refused(problem: &Value) -> Response {
    let status = problem["status"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = Response::new(Body::from(problem.to_string()));
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(PROBLEM_JSON);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    response
}
