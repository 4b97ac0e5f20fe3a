//! `POST /events`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};
use serde_json::json;

use super::receive::{Mode, Most, Shape, Taker, too_large};
use crate::{
    event::{
        default_source,
        input::{Fill, NewEvent, Ready},
    },
    extjson::write_string,
    http::edge::{
        AppState, answer,
        body::Reader,
        budget::Share,
        idempotency::{Call, Ids, once},
        observe::WRITES,
        problem::{Kind, Problem},
        query::Query,
    },
    store::EventOutcome,
};

/// Bytes of the errors of all events in one answer; beyond them, each is told without its places.
const ERRORS_BYTES: usize = 4 << 20;

/// Publishes events. 202 where each is stored now, by this request or an earlier one; 207 where some
/// of several were refused; a single one that is refused is a problem.
pub(crate) async fn publish(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let mode = Mode::of(request.headers())?;
    let most = state.limits().publish_body_bytes;
    let call = Call::read(Reader::new(&state, most), request).await?;
    once(state, call, move |state, call, ids| {
        store(state, call, ids, mode)
    })
    .await
}

async fn store(state: AppState, call: Call, ids: Ids, mode: Mode) -> Result<Response, Problem> {
    let limits = state.limits();
    let most = Most {
        items: limits.publish_items,
        event_bytes: limits.event_bytes,
    };
    let source = default_source(state.store.database_name());
    let bytes = call.body.len();
    let read = move || prepare(call, ids, mode, source, most);
    let (prepared, shape) = state.bounds.reading.for_bytes(bytes, read).await??;
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
    drop(share);
    let response = answer(settled(reports, written.outcomes), shape)?;
    Ok(answer::applied(&state, written.operation_time, response).await)
}

/// Reads the events, and makes the documents of those that can be stored.
fn prepare(
    call: Call,
    ids: Ids,
    mode: Mode,
    source: String,
    most: Most,
) -> Result<(Prepared, Shape), Problem> {
    let mut prepared = Prepared {
        ids,
        source,
        time: DateTime::now(),
        event_bytes: most.event_bytes,
        documents: Vec::new(),
        reports: Vec::new(),
        share: call.share,
        errors_left: ERRORS_BYTES,
    };
    let shape = mode.read(&call.headers, &call.body, most, &mut prepared)?;
    Ok((prepared, shape))
}

/// Events as they are read, and what becomes of each.
struct Prepared {
    ids: Ids,
    source: String,
    time: DateTime,
    event_bytes: usize,
    documents: Vec<RawDocumentBuf>,
    reports: Vec<Report>,
    share: Share,
    errors_left: usize,
}

impl Taker for Prepared {
    fn take(&mut self, event: Result<NewEvent, Problem>) -> Result<(), Problem> {
        let report = match event.and_then(|event| self.ready(event)) {
            Ok(ready) => {
                self.share.grow(ready.document.as_bytes().len())?;
                self.documents.push(ready.document);
                Ok(Sound {
                    id: ready.id,
                    source: ready.source,
                    duplicate: false,
                })
            }
            Err(problem) => Err(problem.among(&mut self.errors_left)),
        };
        self.reports.push(report);
        Ok(())
    }
}

impl Prepared {
    fn ready(&self, event: NewEvent) -> Result<Ready, Problem> {
        let index = self.reports.len();
        let fill = Fill {
            id: || self.ids.uuid(index).to_string(),
            source: &self.source,
            time: self.time,
        };
        let ready = event.ready(fill).map_err(|error| {
            Problem::new(Kind::InvalidRequest, format!("cannot be stored: {error}"))
        })?;
        if ready.document.as_bytes().len() > self.event_bytes {
            return Err(too_large(self.event_bytes));
        }
        Ok(ready)
    }
}

/// What became of an event, or why it is not taken.
type Report = Result<Sound, Problem>;

/// An event that is stored, or will be.
struct Sound {
    id: String,
    source: String,
    duplicate: bool,
}

/// Takes the store's outcomes of the events that were handed to it.
fn settled(mut reports: Vec<Report>, outcomes: Vec<EventOutcome>) -> Vec<Report> {
    let mut left = ERRORS_BYTES;
    let sound = reports.iter_mut().filter(|report| report.is_ok());
    for (report, outcome) in sound.zip(outcomes) {
        match (outcome, &mut *report) {
            (EventOutcome::Duplicate, Ok(sound)) => sound.duplicate = true,
            (EventOutcome::Refused(detail), report) => {
                let problem = Problem::new(Kind::RefusedByDatabase, detail);
                *report = Err(problem.among(&mut left));
            }
            _ => {}
        }
    }
    reports
}

/// What the publisher is told: `{accepted, duplicates, errors, events}`, in the order given.
fn answer(reports: Vec<Report>, shape: Shape) -> Result<Response, Problem> {
    let (mut accepted, mut duplicates, mut refused) = (0, 0, 0);
    let mut errors = Texts::default();
    let mut events = Texts::default();
    for (index, report) in reports.into_iter().enumerate() {
        match report {
            Ok(Sound {
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
struct Texts(String);

impl Texts {
    /// Where the next item is to be written.
    fn next(&mut self) -> &mut String {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        &mut self.0
    }
}
