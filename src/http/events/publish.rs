//! `POST /events`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};
use serde::Serialize;
use serde_json::{Value, json};

use super::receive::{Mode, Received};
use crate::{
    config::Limits,
    event::{
        default_source,
        input::{Fill, NewEvent, Ready},
    },
    http::{
        AppState, answer,
        aside::aside,
        body,
        failure::internal,
        idempotency::{Call, Ids, once},
        problem::{Kind, Problem},
        query::Query,
    },
    store::EventOutcome,
};

/// Publishes events. 202 where each is stored now, by this request or an earlier one; 207 where some
/// of several were refused; a single one that is refused is a problem.
pub(crate) async fn publish(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let mode = Mode::of(request.headers())?;
    let limits = &state.host.config.limits;
    let (parts, body) = request.into_parts();
    let most = limits.publish_body_bytes;
    let body = body::read(&parts.headers, body, most, limits.body_timeout).await?;
    let call = Call {
        target: format!("{} {}", parts.method, parts.uri.path()),
        headers: parts.headers,
        body,
    };
    once(state, call, move |state, call, ids| {
        store(state, call, ids, mode)
    })
    .await
}

async fn store(state: AppState, call: Call, ids: Ids, mode: Mode) -> Result<Response, Problem> {
    let limits = state.host.config.limits.clone();
    let source = default_source(state.store.database_name());
    let bytes = call.body.len();
    let read = move || prepare(&call, ids, mode, &source, &limits);
    let (documents, mut answer) = aside(bytes, read).await??;
    if documents.is_empty() {
        return answer.response();
    }
    let written = state.store.insert_events(documents).await?;
    answer.take(written.outcomes);
    let response = answer.response()?;
    Ok(answer::applied(&state, written.operation_time, response).await)
}

/// Reads the events, and gives the documents of those that can be stored.
fn prepare(
    call: &Call,
    ids: Ids,
    mode: Mode,
    source: &str,
    limits: &Limits,
) -> Result<(Vec<RawDocumentBuf>, Answer), Problem> {
    let Received { events, single } = mode.read(&call.headers, &call.body, limits.publish_items)?;
    let mut documents = Vec::with_capacity(events.len());
    let mut reports = Vec::with_capacity(events.len());
    let time = DateTime::now();
    for (index, event) in events.into_iter().enumerate() {
        let fill = Fill {
            id: || ids.uuid(index).to_string(),
            source,
            time,
        };
        let ready = event.and_then(|event| ready(event, fill, limits.event_bytes));
        reports.push(ready.map(|ready| {
            documents.push(ready.document);
            Report {
                id: ready.id,
                source: ready.source,
                outcome: EventOutcome::Stored,
            }
        }));
    }
    Ok((documents, Answer { reports, single }))
}

fn ready(
    event: NewEvent,
    fill: Fill<'_, impl FnOnce() -> String>,
    most: usize,
) -> Result<Ready, Problem> {
    let ready = event.ready(fill).map_err(|error| {
        Problem::new(Kind::InvalidRequest, format!("cannot be stored: {error}"))
    })?;
    let bytes = ready.document.as_bytes().len();
    if bytes > most {
        return Err(Problem::new(
            Kind::TooLarge,
            format!("the event is {bytes} bytes as BSON; at most {most} are allowed"),
        ));
    }
    Ok(ready)
}

/// What became of one event that could be stored.
struct Report {
    id: String,
    source: String,
    outcome: EventOutcome,
}

/// What became of each event, in the order given.
struct Answer {
    reports: Vec<Result<Report, Problem>>,
    /// Whether the one event stands for the request.
    single: bool,
}

impl Answer {
    /// Takes the store's outcomes of those that were handed to it.
    fn take(&mut self, outcomes: Vec<EventOutcome>) {
        for (report, outcome) in self.reports.iter_mut().flatten().zip(outcomes) {
            report.outcome = outcome;
        }
        for report in &mut self.reports {
            if let Ok(Report {
                outcome: EventOutcome::Refused(detail),
                ..
            }) = report
            {
                *report = Err(Problem::new(Kind::RefusedByDatabase, detail.as_str()));
            }
        }
    }

    fn response(self) -> Result<Response, Problem> {
        let mut body = Body::default();
        for (index, report) in self.reports.into_iter().enumerate() {
            match report {
                Ok(Report {
                    id,
                    source,
                    outcome,
                }) => {
                    let duplicate = outcome == EventOutcome::Duplicate;
                    body.accepted += usize::from(!duplicate);
                    body.duplicates += usize::from(duplicate);
                    let outcome = if duplicate { "duplicate" } else { "accepted" };
                    body.events.push(Told::Stored {
                        id,
                        source,
                        outcome,
                    });
                }
                Err(problem) if self.single => return Err(problem),
                Err(problem) => {
                    let error = json!({"index": index, "problem": problem.to_json()});
                    body.errors.push(error);
                    body.events.push(Told::Refused { outcome: "refused" });
                }
            }
        }
        let status = match body.errors.as_slice() {
            [] => StatusCode::ACCEPTED,
            _ => StatusCode::MULTI_STATUS,
        };
        let body = serde_json::to_string(&body).map_err(|error| internal(&error))?;
        Ok(answer::json(status, body))
    }
}

/// What the publisher is told.
#[derive(Default, Serialize)]
struct Body {
    accepted: usize,
    duplicates: usize,
    errors: Vec<Value>,
    events: Vec<Told>,
}

/// What it is told of one event.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Stored {
        id: String,
        source: String,
        outcome: &'static str,
    },
    Refused {
        outcome: &'static str,
    },
}
