//! A request's fields, checked as far as the filter's meaning.

use axum::extract::Request;
use bson::{DateTime, RawDocumentBuf};
use serde_json::Value;

use crate::{
    config,
    extjson::Fault,
    filter::Filter,
    http::{
        AppState,
        body::{self, Accepts},
        conditional::Preconditions,
        problem::Problem,
        query::Query,
    },
    router::filter_limits,
    subscription::input::{Input, Reading},
};

/// Fields that can be stored, and what their writer should know.
#[derive(Debug)]
pub(super) struct Checked {
    /// The fields.
    pub(super) input: Input,
    /// Why the filter can never match, if it cannot.
    pub(super) warning: Option<String>,
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
    let limits = &state.host.config.limits;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, limits.body_bytes, limits.body_timeout).await?;
    let reading = Reading {
        pointer: "#",
        id: Some(id),
        partial,
        limits,
        now: DateTime::now(),
    };
    let checked = check(body::json(&body)?, reading)?;
    Ok((conditions, checked))
}

/// Reads the object of a new subscription at `pointer`.
pub(super) fn check_new(
    body: Value,
    pointer: &str,
    limits: &config::Limits,
) -> Result<Checked, Problem> {
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
fn check(body: Value, reading: Reading<'_>) -> Result<Checked, Problem> {
    let mut faults = Vec::new();
    let input = reading.input(body, &mut faults);
    let warning = match compile(&input, reading.pointer, reading.limits) {
        Ok(filter) => filter.and_then(|filter| filter.never_matches()),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    if faults.is_empty() {
        Ok(Checked { input, warning })
    } else {
        Err(Problem::invalid(faults))
    }
}

fn compile(input: &Input, pointer: &str, limits: &config::Limits) -> Result<Option<Filter>, Fault> {
    let Some(filter) = input.filter() else {
        return Ok(None);
    };
    let at = |place: &str| format!("{pointer}/filter{place}");
    let raw = RawDocumentBuf::try_from(filter)
        .map_err(|error| Fault::new(at(""), format!("cannot be stored: {error}")))?;
    Filter::parse_with(&raw, &filter_limits(limits))
        .map(Some)
        .map_err(|error| Fault::new(at(&error.pointer), error.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_faulty_filter_is_reported_with_the_other_faults() {
        let body = json!({"filter": {"a": {"$foo": 1}}, "status": "asleep"});
        let problem = check_new(body, "#/3", &config::Limits::default()).unwrap_err();
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
        assert!(checked.warning.is_some());
    }
}
