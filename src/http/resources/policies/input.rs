//! The bodies of requests about policies.

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use serde::de::DeserializeSeed as _;

use super::{shown::COMPUTED, trial::Trial};
use crate::{
    access::{Claims, Policy, PolicyFault, TENANT, is_tenant},
    extjson::{Fault, Faults, JsonPointer, ReadOutcome, ReadValue},
    filter::{Filter, Limits},
    http::edge::{
        body,
        problem::{Kind, Problem},
    },
};

/// The most bytes of a stored policy. The collection's validator has the same.
const POLICY_BYTES: usize = 64 << 10;

/// Reads the document that is to be stored under a name. It is a policy that can be used.
pub(super) fn policy(bytes: &[u8], name: &str) -> Result<RawDocumentBuf, Problem> {
    let given = object(bytes, POLICY_BYTES)?;
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), name);
    for member in &given {
        let (field, value) = member?;
        match field.as_str() {
            "id" if value == RawBsonRef::String(name) => {}
            "id" => {
                return Err(invalid_request(
                    "#/id",
                    "is the name in the path: leave it out",
                ));
            }
            "_id" => return Err(unusable("#/_id", "is the name in the path: leave it out")),
            computed if COMPUTED.contains(&computed) => {}
            _ => document.append(field, RawBson::from(value)),
        }
    }
    let size = document.as_bytes().len();
    if size > POLICY_BYTES {
        let detail = format!("is {size} bytes as BSON; at most {POLICY_BYTES} are allowed");
        return Err(unusable("#", &detail));
    }
    match Policy::read(&document) {
        Ok(_) => Ok(document),
        Err(PolicyFault { pointer, reason }) => Err(unusable(&pointer, &reason)),
    }
}

/// Reads a dry run.
pub(super) fn trial(bytes: &[u8], limits: &Limits) -> Result<Trial, Problem> {
    let given = object(bytes, bytes.len().saturating_mul(8))?;
    let mut faults = Faults::default();
    for member in &given {
        let (field, _) = member?;
        let field = field.as_str();
        if !["claims", "event", "filter", "source"].contains(&field) {
            let at = JsonPointer::Key(&JsonPointer::Text("#"), field);
            let detail = "is unknown; the fields are claims, event, filter and source";
            faults.blame(at, detail);
        }
    }
    let claims = part(&given, "claims", true, &mut faults);
    let event = part(&given, "event", true, &mut faults).map(RawDocument::to_owned);
    let filter = part(&given, "filter", false, &mut faults);
    let filter = filter.and_then(|filter| compile(filter, limits, &mut faults));
    let source = match given.get("source")? {
        None => None,
        Some(RawBsonRef::String(name)) => Some(name.to_owned()),
        Some(_) => {
            faults.blame("#/source", "must be the name of a source");
            None
        }
    };
    let tenant = claims.and_then(|claims| tenant(claims, &mut faults));
    match (claims, event) {
        (Some(claims), Some(event)) if faults.is_empty() => Ok(Trial {
            tenant,
            claims: Claims::read(claims),
            event,
            filter,
            source,
        }),
        _ => Err(Problem::invalid(faults)),
    }
}

/// Returns a document of the body.
fn part<'b>(
    body: &'b RawDocument,
    field: &str,
    required: bool,
    faults: &mut Faults,
) -> Option<&'b RawDocument> {
    let detail = match body.get(field) {
        Ok(Some(RawBsonRef::Document(document))) => return Some(document),
        Ok(None) if !required => return None,
        Ok(None) => "is missing",
        _ => "must be an object",
    };
    faults.blame(format_args!("#/{field}"), detail);
    None
}

fn compile(filter: &RawDocument, limits: &Limits, faults: &mut Faults) -> Option<Filter> {
    let compiled = Filter::parse_with(filter, limits);
    compiled
        .map_err(|error| {
            faults.blame(format_args!("#/filter{}", error.pointer), error.reason);
        })
        .ok()
}

/// Returns the tenant among the claims. Without one the caller has none.
fn tenant(claims: &RawDocument, faults: &mut Faults) -> Option<Box<str>> {
    match claims.get(TENANT) {
        Ok(None) => None,
        Ok(Some(RawBsonRef::String(name))) if is_tenant(name) => Some(name.into()),
        _ => {
            let detail =
                "must be the name of a tenant: a string that is not empty and has no colon";
            faults.blame("#/claims/tenant", detail);
            None
        }
    }
}

/// Reads a body that is an object.
fn object(bytes: &[u8], max_bytes: usize) -> Result<RawDocumentBuf, Problem> {
    let mut faults = Faults::default();
    let read = body::json(bytes, |json| {
        let at = JsonPointer::Text("#");
        let faults = &mut faults;
        ReadValue {
            at,
            max_bytes,
            faults,
        }
        .deserialize(json)
    });
    match read? {
        ReadOutcome::Value(RawBson::Document(document)) => return Ok(document),
        ReadOutcome::Value(_) => faults.blame("#", "must be an object"),
        ReadOutcome::TooLarge => {
            faults.blame(
                "#",
                format_args!("is larger than {max_bytes} bytes as BSON"),
            );
        }
        ReadOutcome::Faulty => {}
    }
    Err(Problem::invalid(faults))
}

fn unusable(pointer: &str, reason: &str) -> Problem {
    let fault = Fault::new(pointer, reason);
    let detail = format!("{}: {}", fault.pointer, fault.detail);
    let mut problem = Problem::new(Kind::PolicyInvalid, detail);
    problem.blame_pointer(fault);
    problem
}

fn invalid_request(pointer: &str, detail: &str) -> Problem {
    let mut faults = Faults::default();
    faults.blame(pointer, detail);
    Problem::invalid(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults<T>(read: Result<T, Problem>) -> (Kind, Value) {
        let Err(problem) = read else {
            panic!("nothing was refused")
        };
        let errors = problem.to_json()["errors"].clone();
        let errors = errors.as_array().unwrap().iter();
        let pointers = errors.map(|error| error["pointer"].clone()).collect();
        (problem.kind(), pointers)
    }

    #[test]
    fn a_policy_that_was_shown_can_be_sent_back_whole() {
        let body = json!({"id": "p", "read": {"a": 1}, "warnings": [{}], "error": {}});
        let stored = policy(body.to_string().as_bytes(), "p").unwrap();
        let expected = bson::rawdoc! {"_id": "p", "read": {"a": 1}};
        assert_eq!(stored, expected);
    }

    #[test]
    fn every_fault_of_a_policy_is_pointed_at() {
        for (body, kind, pointers) in [
            (json!([]), Kind::InvalidRequest, json!(["#"])),
            (json!({}), Kind::PolicyInvalid, json!(["#/read"])),
            (
                json!({"id": "q", "read": {}}),
                Kind::InvalidRequest,
                json!(["#/id"]),
            ),
            (
                json!({"_id": "p", "read": {}}),
                Kind::PolicyInvalid,
                json!(["#/_id"]),
            ),
            (
                json!({"read": {"tenant": "$claims."}}),
                Kind::PolicyInvalid,
                json!(["#/read/tenant"]),
            ),
            (
                json!({"read": {"t": {"$date": 1.5}}}),
                Kind::InvalidRequest,
                json!(["#/read/t"]),
            ),
            (
                json!({"read": {"data.x": {"$near": 1}}}),
                Kind::PolicyInvalid,
                json!(["#/read/data.x/$near"]),
            ),
            (
                json!({"read": {"a": "x".repeat(70 << 10)}}),
                Kind::InvalidRequest,
                json!(["#"]),
            ),
        ] {
            let read = policy(body.to_string().as_bytes(), "p");
            assert_eq!(faults(read), (kind, pointers), "{body:.200}");
        }
    }

    #[test]
    fn every_fault_of_a_dry_run_is_pointed_at() {
        for (body, pointers) in [
            (json!({}), json!(["#/claims", "#/event"])),
            (
                json!({"claims": {"tenant": 5}, "event": 5, "filter": {"a": {"$foo": 1}}, "source": 1, "x/y": 1}),
                json!([
                    "#/x~1y",
                    "#/event",
                    "#/filter/a/$foo",
                    "#/source",
                    "#/claims/tenant"
                ]),
            ),
            (
                json!({"claims": {"tenant": "a:b"}, "event": {}}),
                json!(["#/claims/tenant"]),
            ),
        ] {
            let read = trial(body.to_string().as_bytes(), &Limits::default());
            assert_eq!(faults(read), (Kind::InvalidRequest, pointers), "{body}");
        }
    }
}
