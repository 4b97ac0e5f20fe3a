//! A request's fields, checked as far as the filter's meaning.

use axum::extract::Request;
use bson::{DateTime, RawDocument, RawDocumentBuf};
use serde::de::Deserializer;

use crate::{
    config,
    event::unstored,
    extjson::{Fault, Faults},
    filter::{self, Filter},
    http::edge::{
        AppState,
        body::{self, Accepts, Reader, Received},
        conditional::Preconditions,
        problem::Problem,
        query::Query,
    },
    subscription::input::{Input, Reading},
};

/// Fields that can be stored, and what their writer should know.
#[derive(Debug)]
pub(super) struct Checked {
    /// The fields.
    pub(super) input: Input,
    /// Why the filter can never match, if it cannot, and which conditions may not.
    pub(super) warnings: Vec<String>,
}

impl Checked {
    /// Refuses fields that only the service changes, where they are said and are others by now.
    pub(super) fn check_kept(&self, current: &RawDocument) -> Result<(), Problem> {
        let mut faults = Faults::default();
        for name in self.input.changed_fields(current) {
            let detail = "is kept by the service: it may be left out, or be as it is now";
            faults.blame(format_args!("#/{name}"), detail);
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(faults))
        }
    }
}

/// What is expected of the one object of a body: the default is a new subscription.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The id that it may repeat.
    pub(super) id: Option<String>,
    /// Whether fields that are not named stay as they are.
    pub(super) partial: bool,
}

/// Reads a request that writes the one subscription `id`: its conditions and its fields, all of them or
/// those that are to change.
pub(super) async fn read(
    state: &AppState,
    id: &str,
    request: Request,
    accepts: Accepts,
    partial: bool,
) -> Result<(Preconditions, Checked), Problem> {
    Query::read(request.uri(), &[])?;
    let conditions = Preconditions::read(request.headers())?;
    accepts.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = Reader::new(state, state.limits().body_bytes);
    let received = reader.read(&parts.headers, body).await?;
    let id = id.to_owned();
    let expected = Expected {
        id: Some(id),
        partial,
    };
    Ok((conditions, one(state, received, expected).await?))
}

/// Reads the one object of a body, where filters may be compiled.
pub(super) async fn one(
    state: &AppState,
    received: Received,
    expected: Expected,
) -> Result<Checked, Problem> {
    let limits = state.limits().clone();
    let read = move || {
        let reading = Reading {
            pointer: "#",
            id: expected.id.as_deref(),
            partial: expected.partial,
            limits: &limits,
            now: DateTime::now(),
        };
        body::json(&received.bytes, |json| check(json, reading))?
    };
    state.bounds.filtering.aside(read).await?
}

/// Reads the object of a new subscription at `pointer`.
pub(super) fn check_new<'de, D: Deserializer<'de>>(
    body: D,
    pointer: &str,
    limits: &config::Limits,
) -> Result<Result<Checked, Problem>, D::Error> {
    let reading = Reading {
        pointer,
        id: None,
        partial: false,
        limits,
        now: DateTime::now(),
    };
    check(body, reading)
}

/// Reads an object. All faults are reported together.
fn check<'de, D: Deserializer<'de>>(
    body: D,
    reading: Reading<'_>,
) -> Result<Result<Checked, Problem>, D::Error> {
    let mut faults = Faults::default();
    let input = reading.input(body, &mut faults)?;
    let warnings = match warnings(&input, reading.pointer, reading.limits) {
        Ok(warnings) => warnings,
        Err(fault) => {
            faults.blame(fault.pointer, fault.detail);
            Vec::new()
        }
    };
    Ok(if faults.is_empty() {
        Ok(Checked { input, warnings })
    } else {
        Err(Problem::invalid(faults))
    })
}

/// Compiles the filter, if there is one; what its writer should know about it.
fn warnings(input: &Input, pointer: &str, limits: &config::Limits) -> Result<Vec<String>, Fault> {
    let Some(filter) = input.filter() else {
        return Ok(Vec::new());
    };
    let at = |place: &str| format!("{pointer}/filter{place}");
    let raw = RawDocumentBuf::try_from(filter)
        .map_err(|error| Fault::new(at(""), format!("cannot be stored: {error}")))?;
    let filter = Filter::parse_with(&raw, &filter::Limits::from(limits))
        .map_err(|error| Fault::new(at(&error.pointer), error.reason))?;
    let mut warnings: Vec<_> = filter.never_matches().into_iter().collect();
    warnings.extend(unstored(&raw));
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_faulty_filter_is_reported_with_the_other_faults() {
        let body = json!({"filter": {"a": {"$foo": 1}}, "status": "asleep"});
        let checked = check_new(body, "#/3", &config::Limits::default()).unwrap();
        let problem = checked.unwrap_err();
        let errors = problem.to_json()["errors"].clone();
        let pointers: Vec<_> = errors.as_array().unwrap().iter().collect();
        let pointers: Vec<_> = pointers.iter().map(|error| &error["pointer"]).collect();
        assert_eq!(
            pointers,
            [&json!("#/3/status"), &json!("#/3/filter/a/$foo")]
        );
    }

    #[test]
    fn a_filter_that_cannot_match_is_accepted_with_a_warning() {
        let body = json!({"filter": {"a": {"$in": []}}});
        let checked = check_new(body, "#", &config::Limits::default()).unwrap();
        let checked = checked.unwrap();
        assert_eq!(checked.warnings.len(), 1);
    }
}
