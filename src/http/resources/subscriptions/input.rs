//! The fields of a request, checked. This is where the filter of a write is compiled, once.

use axum::extract::Request;
use bson::{DateTime, Document, RawDocument, RawDocumentBuf};
use serde::de::Deserializer;

use crate::{
    access::{Binding, Caller, Policies, Quota, Scope},
    config,
    event::unstored,
    extjson::{Fault, Faults},
    filter::{self, Filter},
    http::edge::{
        AppState,
        body::{self, Accepts, BodyReader, ReceivedBody},
        conditional::Preconditions,
        problem::Problem,
        query::Query,
    },
    subscription::input::{Input, InputReader},
};

/// Fields that can be stored.
#[derive(Debug)]
pub(crate) struct CheckedInput {
    pub(super) input: Input,
    /// The filter, which compiles; `None` if the request names none.
    pub(crate) filter: Option<RawDocumentBuf>,
    /// Reasons why the filter, or one of its conditions, can never match.
    pub(crate) warnings: Vec<String>,
}

impl CheckedInput {
    /// Makes the document that a caller creates. Refuses a request that names another value of a field that the caller
    /// may not set. `pointer` is the place of the object in the body.
    pub(super) fn create(
        &self,
        id: &str,
        caller: &Caller,
        policies: &Policies,
        pointer: &str,
    ) -> Result<Document, Problem> {
        let binding = Binding::of(caller, policies);
        let document = self.input.create(id, binding, DateTime::now());
        if self.input.is_free() {
            return Ok(document);
        }
        let raw = RawDocumentBuf::try_from(&document)?;
        refuse_changed(self.input.contradicted(&raw), pointer)?;
        Ok(document)
    }

    /// Refuses a request that names another value of a field that the service keeps.
    pub(super) fn check_kept(&self, current: &RawDocument) -> Result<(), Problem> {
        refuse_changed(self.input.changed_fields(current), "#")
    }
}

fn refuse_changed(names: impl Iterator<Item = &'static str>, pointer: &str) -> Result<(), Problem> {
    let mut faults = Faults::default();
    for name in names {
        let detail = "is kept by the service: leave it out, or repeat its current value";
        faults.blame(format_args!("{pointer}/{name}"), detail);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(faults))
    }
}

/// The expectations on the object in a body. The default is a new subscription.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The id that the object may repeat.
    pub(super) id: Option<String>,
    /// True if fields that are not named stay as they are.
    pub(super) partial: bool,
    /// The fields that the caller may not set.
    pub(super) fixed: &'static [&'static str],
}

/// Returns the fields that a caller may not set: those that bind a subscription are the operators' whom no policy narrows
/// (others would get out of it), and only those who may change all subscriptions give one to another owner, unless they
/// may own only so many: it would count for the other.
pub(super) fn fixed_for(caller: &Caller) -> &'static [&'static str] {
    let is_counted = caller.quotas.bound(Quota::Subscriptions).is_some();
    let gives_away = caller.may(Scope::SubscriptionsWrite) && !is_counted;
    match (gives_away, !caller.is_narrowed()) {
        (true, true) => &[],
        (false, true) => &["owner"],
        (true, false) => &["tenant", "policy", "claims"],
        (false, false) => &["owner", "tenant", "policy", "claims"],
    }
}

/// Reads a request that writes a subscription: its conditions and its body, which is not looked into. First comes
/// whether the caller sees the subscription.
pub(super) async fn read_request(
    state: &AppState,
    caller: &Caller,
    request: Request,
    accepts: Accepts,
) -> Result<(Preconditions, ReceivedBody), Problem> {
    Query::read(request.uri(), &[])?;
    let conditions = Preconditions::read(request.headers())?;
    accepts.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = BodyReader::new(state, caller, state.limits().body_bytes);
    let body = reader.read(&parts.headers, body).await?;
    Ok((conditions, body))
}

/// Checks the object in a body, on a thread where filters may be compiled.
pub(super) async fn check_body(
    state: &AppState,
    caller: &Caller,
    body: ReceivedBody,
    expected: Expected,
) -> Result<CheckedInput, Problem> {
    let limits = state.limits().clone();
    let check = move || {
        let reader = InputReader {
            pointer: "#",
            id: expected.id.as_deref(),
            fixed: expected.fixed,
            partial: expected.partial,
            limits: &limits,
            now: DateTime::now(),
        };
        body::json(&body.bytes, |json| check_object(json, reader))?
    };
    let filtering = state.bounds.filtering.for_tenant(caller.tenant.as_deref());
    filtering.offload(check).await?
}

/// Checks the object of a new subscription at `pointer`.
pub(crate) fn check_new<'de, D: Deserializer<'de>>(
    body: D,
    pointer: &str,
    fixed: &[&'static str],
    limits: &config::Limits,
) -> Result<Result<CheckedInput, Problem>, D::Error> {
    let reader = InputReader {
        pointer,
        id: None,
        fixed,
        partial: false,
        limits,
        now: DateTime::now(),
    };
    check_object(body, reader)
}

/// Checks an object. All faults are reported together.
fn check_object<'de, D: Deserializer<'de>>(
    body: D,
    reader: InputReader<'_>,
) -> Result<Result<CheckedInput, Problem>, D::Error> {
    let mut faults = Faults::default();
    let input = reader.input(body, &mut faults)?;
    let (filter, warnings) = match compile(&input, reader.pointer, reader.limits) {
        Ok(compiled) => compiled,
        Err(fault) => {
            faults.blame(fault.pointer, fault.detail);
            (None, Vec::new())
        }
    };
    Ok(if faults.is_empty() {
        Ok(CheckedInput {
            input,
            filter,
            warnings,
        })
    } else {
        Err(Problem::invalid(faults))
    })
}

/// Compiles the filter if the request names one, and returns it with the warnings about it.
fn compile(
    input: &Input,
    pointer: &str,
    limits: &config::Limits,
) -> Result<(Option<RawDocumentBuf>, Vec<String>), Fault> {
    let Some(filter) = input.filter() else {
        return Ok((None, Vec::new()));
    };
    let at = |place: &str| format!("{pointer}/filter{place}");
    let raw = RawDocumentBuf::try_from(filter)
        .map_err(|error| Fault::new(at(""), format!("cannot be stored: {error}")))?;
    let filter = Filter::parse_with(&raw, &filter::Limits::from(limits))
        .map_err(|error| Fault::new(at(&error.pointer), error.reason))?;
    let mut warnings: Vec<_> = filter.never_matches().into_iter().collect();
    warnings.extend(unstored(&raw));
    Ok((Some(raw), warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_faulty_filter_is_reported_with_the_other_faults() {
        let body = json!({"filter": {"a": {"$foo": 1}}, "status": "asleep"});
        let checked = check_new(body, "#/3", &[], &config::Limits::default()).unwrap();
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
        let checked = check_new(body, "#", &[], &config::Limits::default()).unwrap();
        let checked = checked.unwrap();
        assert_eq!(checked.warnings.len(), 1);
    }
}
