//! What a dry run is asked.

use bson::{Bson, RawDocumentBuf};
use serde_json::{Map, Value};

use crate::{
    extjson::{At, Fault, read_bson},
    filter::{Filter, Limits},
    http::problem::Problem,
};

/// `{filter, event}`; all faults are reported together.
pub(super) fn filter_and_event(
    body: Value,
    limits: &Limits,
) -> Result<(Filter, RawDocumentBuf), Problem> {
    let mut faults = Vec::new();
    let mut fields = fields(body, &["filter", "event"], &mut faults)?;
    let filter = document(&mut fields, "filter", &mut faults)
        .and_then(|filter| compile(&filter, limits, &mut faults));
    let event = document(&mut fields, "event", &mut faults);
    match (filter, event) {
        (Some(filter), Some(event)) if faults.is_empty() => Ok((filter, event)),
        _ => Err(Problem::invalid(faults)),
    }
}

/// `{event}`.
pub(super) fn event(body: Value) -> Result<RawDocumentBuf, Problem> {
    let mut faults = Vec::new();
    let mut fields = fields(body, &["event"], &mut faults)?;
    match document(&mut fields, "event", &mut faults) {
        Some(event) if faults.is_empty() => Ok(event),
        _ => Err(Problem::invalid(faults)),
    }
}

fn fields(
    body: Value,
    known: &[&str],
    faults: &mut Vec<Fault>,
) -> Result<Map<String, Value>, Problem> {
    let Value::Object(fields) = body else {
        return Err(Problem::invalid(vec![Fault::new("#", "must be an object")]));
    };
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let at = At::Key(&At::Pointer("#"), key);
        let detail = format!("is unknown; the fields are {}", known.join(" and "));
        faults.push(Fault::new(at, detail));
    }
    Ok(fields)
}

/// The document in a field, which must be there.
fn document(
    fields: &mut Map<String, Value>,
    name: &str,
    faults: &mut Vec<Fault>,
) -> Option<RawDocumentBuf> {
    let at = At::Key(&At::Pointer("#"), name);
    let Some(value) = fields.remove(name) else {
        faults.push(Fault::new(at, "is missing"));
        return None;
    };
    let known = faults.len();
    let value = read_bson(value, at, faults);
    if faults.len() > known {
        return None;
    }
    let fault = match value {
        Bson::Document(document) => match RawDocumentBuf::try_from(&document) {
            Ok(raw) => return Some(raw),
            Err(error) => format!("cannot be stored: {error}"),
        },
        _ => "must be an object".to_owned(),
    };
    faults.push(Fault::new(at, fault));
    None
}

fn compile(filter: &RawDocumentBuf, limits: &Limits, faults: &mut Vec<Fault>) -> Option<Filter> {
    Filter::parse_with(filter, limits)
        .map_err(|error| {
            let at = format!("#/filter{}", error.pointer);
            faults.push(Fault::new(at, error.reason));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(body: Value) -> Value {
        let problem = filter_and_event(body, &Limits::default()).unwrap_err();
        let errors = problem.to_json()["errors"].clone();
        let errors = errors.as_array().unwrap().iter();
        errors.map(|error| error["pointer"].clone()).collect()
    }

    #[test]
    fn every_fault_is_pointed_at() {
        for (body, expected) in [
            (json!([]), json!(["#"])),
            (json!({}), json!(["#/filter", "#/event"])),
            (
                json!({"filter": {"a": {"$foo": 1}}, "event": {"t": {"$date": 1.5}}, "x/y": 1}),
                json!(["#/x~1y", "#/filter/a/$foo", "#/event/t"]),
            ),
            (
                json!({"filter": 1, "event": {"$oid": "000000000000000000000000"}}),
                json!(["#/filter", "#/event"]),
            ),
        ] {
            assert_eq!(places(body.clone()), expected, "{body}");
        }
    }
}
