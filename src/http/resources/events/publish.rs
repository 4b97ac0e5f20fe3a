//! `POST /events`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};
use serde_json::json;

use super::receive::{EventLimits, EventSink, Mode, Shape, too_large};
use crate::{
    access::{BoundPublishing, Caller, CallerKind, Quota},
    event::{
        default_source,
        input::{MissingAttributes, NewEvent, StorableEvent},
    },
    extjson::write_string,
    http::edge::{
        AppState, answer,
        body::{BodyReader, BufferedRequest, ReceivedBody},
        budget::Share,
        caller::{By, refused, unsatisfied},
        idempotency::{Ids, once},
        observe::WRITES,
        problem::{Kind, Problem},
        query::Query,
        quotas,
        read_your_writes::wait_applied,
    },
    store::EventOutcome,
    turns::Turn,
};

/// Bytes that the errors of all events share in one answer. Once they are used up, problems come without their errors.
const ERRORS_BYTES: usize = 4 << 20;

/// Publishes events. Answers 202 if each is stored, by this request or an earlier one, and 207 if some of several are
/// refused. A single event that is refused is a problem.
pub(crate) async fn publish(
    State(state): State<AppState>,
    By(caller): By,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let mode = Mode::of(request.headers())?;
    let reader = BodyReader::new(&state, &caller, state.limits().publish_body_bytes);
    let request = BufferedRequest::read(reader, request).await?;
    let turn = take_turn(&state, &caller).await?;
    let rules = state.router().credentials().policies().publishing(&caller);
    let rules = rules.map_err(|unbound| unsatisfied(&unbound))?;
    let publishing = Publishing {
        caller: Arc::clone(&caller),
        mode,
        rules,
        turn,
    };
    let store = move |state, request, ids| store(state, publishing, request, ids);
    once(state, &caller, request, store).await
}

/// A request to publish, as far as it is known before its events are read.
struct Publishing {
    caller: Arc<Caller>,
    mode: Mode,
    /// The rules for what the caller publishes, if there are some.
    rules: Option<BoundPublishing>,
    /// The turn at the database; `None` where nobody proves itself, so that there are no tenants.
    turn: Option<Turn>,
}

/// Waits for the caller's turn at the database, which tenants take one after the other. Its body is there: nobody holds a turn
/// by sending slowly.
async fn take_turn(state: &AppState, caller: &Caller) -> Result<Option<Turn>, Problem> {
    if caller.kind == CallerKind::None {
        return Ok(None);
    }
    let turns = state.bounds.publishing.for_tenant(caller.tenant.as_deref());
    turns.acquire().await.map(Some)
}

async fn store(
    state: AppState,
    publishing: Publishing,
    request: BufferedRequest,
    ids: Ids,
) -> Result<Response, Problem> {
    let Publishing {
        caller,
        mode,
        rules,
        turn,
    } = publishing;
    let settings = state.limits();
    let limits = EventLimits {
        items: settings.publish_items,
        event_bytes: settings.event_bytes,
    };
    let source = rules.as_ref().and_then(BoundPublishing::default_source);
    let source = source.unwrap_or_else(|| default_source(state.store.database_name()));
    let bytes = request.body.bytes.len();
    let read = move || prepare(request, ids, mode, source, limits, rules);
    let reading = state.bounds.reading.for_tenant(caller.tenant.as_deref());
    let (count, prepared) = reading.offload_large(bytes, read).await?;
    // Those that are refused have cost as much as the others, but for the database. The first is counted with the request.
    let taken = quotas::take_rest(&state, &caller, Quota::PublishPerSecond, count);
    let (prepared, shape) = prepared?;
    taken?;
    // The reading may have waited for its turn, and the caller's right may be gone by now.
    let judged = state.router().credentials().judge(&caller);
    judged.map_err(refused)?;
    let Prepared {
        documents,
        reports,
        share,
        ..
    } = prepared;
    if documents.is_empty() {
        return answer(reports, shape);
    }
    let written = state.store.insert_events(documents).await?;
    drop((share, turn));
    let response = answer(with_outcomes(reports, written.outcomes), shape)?;
    Ok(wait_applied(&state, written.operation_time, response).await)
}

/// Reads the events, and makes the documents of those that can be stored. Also returns how many were read, of a body that
/// is refused too.
fn prepare(
    request: BufferedRequest,
    ids: Ids,
    mode: Mode,
    source: String,
    limits: EventLimits,
    rules: Option<BoundPublishing>,
) -> (u32, Result<(Prepared, Shape), Problem>) {
    let ReceivedBody { bytes, share } = request.body;
    let mut prepared = Prepared {
        ids,
        source,
        rules,
        time: DateTime::now(),
        event_bytes: limits.event_bytes,
        documents: Vec::new(),
        reports: Vec::new(),
        share,
        errors_left: ERRORS_BYTES,
    };
    let shape = mode.read(&request.headers, &bytes, limits, &mut prepared);
    let count = u32::try_from(prepared.reports.len()).unwrap_or(u32::MAX);
    (count, shape.map(|shape| (prepared, shape)))
}

/// The events as they are read, with a report on each.
struct Prepared {
    ids: Ids,
    source: String,
    /// The rules for what the caller publishes, if there are some.
    rules: Option<BoundPublishing>,
    time: DateTime,
    event_bytes: usize,
    documents: Vec<RawDocumentBuf>,
    reports: Vec<Report>,
    share: Share,
    errors_left: usize,
}

impl EventSink for Prepared {
    fn push(&mut self, event: Result<NewEvent, Problem>) -> Result<(), Problem> {
        let report = match event.and_then(|event| self.ready(event)) {
            Ok(ready) => {
                self.share.grow(ready.document.as_bytes().len())?;
                self.documents.push(ready.document);
                Ok(StoredEvent {
                    id: ready.id,
                    source: ready.source,
                    duplicate: false,
                })
            }
            Err(problem) => Err(problem.within(&mut self.errors_left)),
        };
        self.reports.push(report);
        Ok(())
    }
}

impl Prepared {
    fn ready(&self, event: NewEvent) -> Result<StorableEvent, Problem> {
        let index = self.reports.len();
        let fill = MissingAttributes {
            id: || self.ids.uuid(index).to_string(),
            source: &self.source,
            time: self.time,
        };
        let mut ready = event.into_storable(fill).map_err(|error| {
            Problem::new(Kind::InvalidRequest, format!("cannot be stored: {error}"))
        })?;
        if let Some(rules) = &self.rules {
            check(rules, &mut ready)?;
        }
        if ready.document.as_bytes().len() > self.event_bytes {
            return Err(too_large(self.event_bytes));
        }
        Ok(ready)
    }
}

/// Stamps an event, and judges it as it will be stored.
fn check(rules: &BoundPublishing, ready: &mut StorableEvent) -> Result<(), Problem> {
    rules
        .stamp(&mut ready.document)
        .map_err(|fault| Problem::new(Kind::Forbidden, fault.to_string()))?;
    rules
        .judge(&ready.document)
        .map_err(|refusal| Problem::new(Kind::Forbidden, refusal.to_string()))
}

/// The outcome for an event.
type Report = Result<StoredEvent, Problem>;

/// An event that is stored or will be.
struct StoredEvent {
    id: String,
    source: String,
    duplicate: bool,
}

/// Adds the store's outcomes for the events that it got.
fn with_outcomes(mut reports: Vec<Report>, outcomes: Vec<EventOutcome>) -> Vec<Report> {
    let mut left = ERRORS_BYTES;
    let accepted = reports.iter_mut().filter(|report| report.is_ok());
    for (report, outcome) in accepted.zip(outcomes) {
        match (outcome, &mut *report) {
            (EventOutcome::Duplicate, Ok(event)) => event.duplicate = true,
            (EventOutcome::Refused(detail), report) => {
                let problem = Problem::new(Kind::RefusedByDatabase, detail);
                *report = Err(problem.within(&mut left));
            }
            _ => {}
        }
    }
    reports
}

/// Answers with `{accepted, duplicates, errors, events}`, in the order given.
fn answer(reports: Vec<Report>, shape: Shape) -> Result<Response, Problem> {
    let (mut accepted, mut duplicates, mut refused) = (0, 0, 0);
    let mut errors = JsonItems::default();
    let mut events = JsonItems::default();
    for (index, report) in reports.into_iter().enumerate() {
        match report {
            Ok(StoredEvent {
                id,
                source,
                duplicate,
            }) => {
                let outcome = if duplicate { "duplicate" } else { "accepted" };
                duplicates += usize::from(duplicate);
                accepted += usize::from(!duplicate);
                let text = events.next();
                text.push_str(r#"{"id":"#);
                write_string(&id, text);
                text.push_str(r#","source":"#);
                write_string(&source, text);
                text.push_str(r#","outcome":""#);
                text.push_str(outcome);
                text.push_str(r#""}"#);
            }
            Err(problem) if shape == Shape::Single => return Err(problem),
            Err(problem) => {
                refused += 1;
                let error = json!({"index": index, "problem": problem.to_json()});
                errors.next().push_str(&error.to_string());
                events.next().push_str(r#"{"outcome":"refused"}"#);
            }
        }
    }
    tracing::debug!(target: WRITES, accepted, duplicates, refused, "events were published");
    let status = if errors.0.is_empty() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::MULTI_STATUS
    };
    let body = format!(
        r#"{{"accepted":{accepted},"duplicates":{duplicates},"errors":[{}],"events":[{}]}}"#,
        errors.0, events.0
    );
    Ok(answer::json(status, body))
}

/// The items of a JSON array.
#[derive(Default)]
struct JsonItems(String);

impl JsonItems {
    /// Returns the text to which the next item is to be added.
    fn next(&mut self) -> &mut String {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        &mut self.0
    }
}
