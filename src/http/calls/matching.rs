//! The call of dry runs.

use serde_json::{Value, json};

use super::{Call, JSON, OK, POST, call, examples::demo_event};
use crate::http::{
    edge::{needs::Need, paths::below},
    openapi::{Operation, schema},
    resources::matching,
};

/// Returns the schema of an object with exactly these fields, each a document.
pub(super) fn event_body(fields: &[&str]) -> Value {
    let document = |name: &&str| {
        let described = if *name == "filter" {
            schema("Filter")
        } else {
            json!({"type": "object"})
        };
        ((*name).to_owned(), described)
    };
    let properties: serde_json::Map<_, _> = fields.iter().map(document).collect();
    json!({"type": "object", "properties": properties, "required": fields, "additionalProperties": false})
}

pub(super) fn all() -> Vec<Call> {
    vec![call(
        POST,
        &below("/match"),
        Need::ANY_SCOPE,
        matching::filter,
        Operation::new(
            "matchFilter",
            "matching",
            "Tells whether an event would match a filter, and why.",
        )
        .body(&[(JSON, event_body(&["filter", "event"]))])
        .example(&[json!({"filter": {"type": "demo"}, "event": demo_event()})])
        .answers(
            OK,
            "The result of the filter that delivers.",
            schema("Match"),
            &[],
        ),
    )]
}
