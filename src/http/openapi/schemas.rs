//! The schemas of bodies.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a schema is made where it is used, and belongs to where it goes"
)]

mod access;

use serde_json::{Map, Value, json};

use super::{messages, operation::schema};
use crate::{
    config::Limits,
    extjson::Faults,
    http::edge::problem::Kind,
    subscription::{
        DEFAULT_SOURCE, Status,
        input::{COMPUTED, KEPT},
    },
    telemetry::Part,
};

/// Returns all schemas, by name.
pub(super) fn all(limits: &Limits) -> Value {
    let mut all: Map<String, Value> = Map::new();
    let named = inputs(limits)
        .into_iter()
        .chain(subscriptions())
        .chain(events())
        .chain(service())
        .chain(access::all())
        .chain(messages::all());
    for (name, schema) in named {
        all.insert(name.to_owned(), schema);
    }
    all.into()
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn time_or_null() -> Value {
    json!({"type": ["string", "null"], "format": "date-time"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// Returns the schema of an object with exactly these fields.
fn exactly(description: &str, fields: Value) -> Value {
    let required: Vec<String> = fields
        .as_object()
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default();
    json!({
        "type": "object",
        "description": description,
        "properties": fields,
        "required": required,
        "additionalProperties": false,
    })
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn inputs(limits: &Limits) -> Vec<(&'static str, Value)> {
    let name = |what: &str| {
        let described = json!({"type": ["string", "null"], "maxLength": limits.name_chars, "description": what});
        described
    };
    let settable = json!({
        "filter": schema("Filter"),
        "name": name("A name for people."),
        "owner": name("The owner."),
        "tenant": name("The tenant. Operators set it; for everybody else it is the caller's, and may be repeated."),
        "policy": name("The policy that narrows it. As with `tenant`."),
        "claims": {"type": ["object", "null"], "description": "Values that the policy uses. As with `tenant`."},
        "metadata": {"type": ["object", "null"], "description": format!("At most {} bytes as BSON.", limits.metadata_bytes)},
        "status": {"enum": ["active", "paused", null]},
        "durable": {"type": ["boolean", "null"], "description": "Whether the service keeps the acknowledged position."},
        "source": {"enum": [DEFAULT_SOURCE, null]},
        "expiresAt": {"type": ["string", "null"], "format": "date-time", "description": "A time in the future. The subscription is deleted then."},
    });
    let mut with_id = settable.clone();
    with_id["id"] = json!({"type": "string", "description": "May repeat the id in the path."});
    for field in KEPT {
        with_id[field] = json!({"readOnly": true, "description": "May repeat the current value."});
    }
    for field in COMPUTED {
        with_id[field] = json!({"readOnly": true, "description": "Ignored."});
    }
    vec![
        (
            "Filter",
            json!({
                "type": "object",
                "description": format!("A query as for MongoDB's `find`, in Extended JSON. `{{}}` matches everything. At most {} bytes as BSON.", limits.filter_bytes),
            }),
        ),
        (
            "Cursor",
            json!({"type": "string", "description": "Opaque. It rises on a connection, and compares as text."}),
        ),
        (
            "SubscriptionInput",
            json!({"type": "object", "properties": settable, "required": ["filter"], "additionalProperties": false}),
        ),
        (
            "SubscriptionReplacement",
            json!({"type": "object", "properties": with_id, "required": ["filter"], "additionalProperties": false}),
        ),
        (
            "SubscriptionChange",
            json!({"type": "object", "properties": with_id, "additionalProperties": false}),
        ),
    ]
}

/// The fields that every subscription is shown with.
const SHOWN: [&str; 12] = [
    "id",
    "name",
    "source",
    "filter",
    "status",
    "durable",
    "owner",
    "metadata",
    "expiresAt",
    "revision",
    "createdAt",
    "updatedAt",
];

fn subscriptions() -> Vec<(&'static str, Value)> {
    let statuses = Status::ALL.map(Status::as_str);
    // Other programs may store values of any type. The subscription is then invalid, and shown as it is.
    let mut shown = json!({
        "id": {"type": "string"},
        "name": {},
        "source": {},
        "filter": {},
        "status": {"enum": statuses},
        "error": {"type": "string", "description": "The reason why the subscription is invalid."},
        "durable": {},
        "owner": {},
        "tenant": {"description": "Only if it has one."},
        "policy": {"description": "Only if it has one."},
        "claims": {"description": "Only if it has some."},
        "metadata": {},
        "expiresAt": {},
        "revision": {"type": "number"},
        "createdAt": {"type": ["string", "null"]},
        "updatedAt": {"type": ["string", "null"]},
    });
    for (field, described) in [
        (
            "warnings",
            list(exactly(
                "Reasons why the filter can never match, and fields that are ignored.",
                json!({"pointer": {"type": "string"}, "detail": {"type": "string"}}),
            )),
        ),
        (
            "position",
            json!({"oneOf": [schema("Cursor"), {"type": "null"}], "description": "The acknowledged position. Only in `GET` of one durable subscription."}),
        ),
        (
            "lagSeconds",
            json!({"type": ["integer", "null"], "description": "The seconds by which `position` is behind."}),
        ),
        (
            "lossInSeconds",
            json!({"type": ["integer", "null"], "description": "The seconds until the oplog may lose events after `position`."}),
        ),
    ] {
        shown[field] = described;
    }
    let created = exactly(
        "",
        json!({"status": {"const": 201}, "subscription": schema("Subscription")}),
    );
    let refused = exactly(
        "",
        json!({"status": {"type": "integer", "minimum": 400}, "problem": schema("Problem")}),
    );
    vec![
        (
            "Subscription",
            json!({
                "type": "object", "properties": shown, "required": SHOWN, "additionalProperties": false,
            }),
        ),
        (
            "SubscriptionPage",
            json!({
                "type": "object",
                "properties": {"items": list(schema("Subscription")), "nextCursor": {"type": ["string", "null"]}, "total": count()},
                "required": ["items", "nextCursor"],
                "additionalProperties": false,
            }),
        ),
        (
            "BatchAnswer",
            exactly(
                "One item for each item of the request, in order.",
                json!({"items": list(json!({"oneOf": [created, refused]}))}),
            ),
        ),
        (
            "Connections",
            exactly(
                "The connections on this node, oldest first.",
                json!({"items": list(exactly("", json!({
                    "connectionId": {"type": "string"},
                    "protocol": {"enum": ["tidegate.v1", "cloudevents.json", "sse"]},
                    "remote": {"type": ["string", "null"], "description": "For those who may change the subscription."},
                    "connectedAt": time(),
                    "replaying": {"type": "boolean"},
                    "waiting": count(),
                })))}),
            ),
        ),
        ("Teardown", teardown("subscription")),
        ("KeyTeardown", teardown("key")),
        ("RevocationTeardown", teardown("revocation")),
    ]
}

fn teardown(of: &str) -> Value {
    let node = exactly(
        "",
        json!({
            "node": {"type": "string"},
            "host": {"type": ["string", "null"]},
            "address": {"type": ["string", "null"]},
            "state": {"enum": ["closed", "none", "gone", "pending"]},
            "connections": count(),
            "closed": count(),
            "at": time_or_null(),
            "until": time_or_null(),
            "seenAt": time_or_null(),
        }),
    );
    let mut shown = json!({
        of: {"type": "string"},
        "cursor": schema("Cursor"),
        "complete": {"type": "boolean"},
        "nodes": list(node),
    });
    if of == "revocation" {
        shown["revokedAt"] = time_or_null();
    } else {
        shown["deletedAt"] = time_or_null();
        shown["reason"] = json!({"enum": ["deleted", "expired", null]});
    }
    exactly(
        "The state of each node of the last day after a right has ended. `complete` means that no node has a socket of it any more.",
        shown,
    )
}

fn event_page() -> Value {
    json!({
        "type": "object",
        "properties": {
            "items": list(schema("Event")),
            "nextCursor": {"type": ["string", "null"]},
            "cursor": {
                "type": ["string", "null"],
                "description": "A stream with `after` this cursor brings what the pages do not show. Null if that is not known.",
            },
            "tooExpensive": {
                "type": "integer",
                "minimum": 1,
                "description": "The number of events left out because the filter needs more steps on them than it may \
                 take.",
            },
        },
        "required": ["items", "nextCursor", "cursor"],
        "additionalProperties": false,
    })
}

fn events() -> Vec<(&'static str, Value)> {
    let name = json!({"type": "string", "minLength": 1});
    let uri = json!({"type": "string", "minLength": 1, "format": "uri-reference"});
    let attributes = json!({
        "specversion": {"const": "1.0"},
        "id": name,
        "source": uri,
        "type": name,
        "subject": {"type": ["string", "null"], "minLength": 1},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "datacontenttype": {"type": ["string", "null"]},
        "dataschema": {"type": ["string", "null"], "format": "uri"},
        "data": {"description": "Extended JSON."},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    });
    let extensions = json!({"type": ["string", "number", "boolean", "null"]});
    let given = |required: &[&str]| {
        let described = json!({
            "type": "object",
            "properties": attributes,
            "required": required,
            "propertyNames": {"pattern": "^([a-z0-9]+|data_base64)$"},
            "additionalProperties": extensions,
        });
        described
    };
    let outcome = json!({"oneOf": [
        exactly("", json!({"id": {"type": "string"}, "source": {"type": "string"}, "outcome": {"enum": ["accepted", "duplicate"]}})),
        exactly("", json!({"outcome": {"const": "refused"}})),
    ]});
    let explanation = json!({
        "type": "object",
        "properties": {
            "pointer": {"type": "string"},
            "holds": {"type": "boolean"},
            "parts": list(schema("Explanation")),
            "saw": {"type": "array", "maxItems": 8},
            "truncated": {"const": true},
        },
        "required": ["pointer", "holds"],
        "additionalProperties": false,
    });
    vec![
        (
            "CloudEvent",
            given(&["specversion", "id", "source", "type"]),
        ),
        ("PlainEvent", given(&["type"])),
        (
            "Event",
            json!({
                "type": "object",
                "description": "A CloudEvent. Other fields that programs stored are shown as they are.",
                "properties": {
                    "specversion": {"const": "1.0"},
                    "id": {"type": "string"},
                    "source": {"type": "string"},
                    "type": {"type": "string"},
                },
                "required": ["specversion", "id", "source", "type"],
            }),
        ),
        ("EventPage", event_page()),
        (
            "Published",
            exactly(
                "The outcome for each event, in the order given.",
                json!({
                    "accepted": count(),
                    "duplicates": count(),
                    "errors": list(exactly("", json!({"index": count(), "problem": schema("Problem")}))),
                    "events": list(outcome),
                }),
            ),
        ),
        ("Explanation", explanation),
        (
            "Match",
            may_have_a_policy(
                json!({"matches": {"type": "boolean"}, "explain": schema("Explanation")}),
            ),
        ),
        (
            "SubscriptionMatch",
            may_have_a_policy(json!({
                "matches": {"type": "boolean"}, "explain": schema("Explanation"), "status": {"enum": ["active", "paused"]},
            })),
        ),
    ]
}

/// Returns the schema of the result of a dry run, which says of a policy whether it holds.
fn may_have_a_policy(result: Value) -> Value {
    let mut result = exactly("", result);
    let description = "Only if a policy narrows.";
    result["properties"]["policy"] = exactly(description, json!({"holds": {"type": "boolean"}}));
    result
}

fn service() -> Vec<(&'static str, Value)> {
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|k| format!("/problems/{}", k.slug()))
        .collect();
    let location = |name: &str| {
        exactly(
            "",
            json!({name: {"type": "string"}, "detail": {"type": "string"}}),
        )
    };
    let part = |part: &Part| {
        let mut shape = exactly("", json!({"status": {"type": "string"}, "since": time()}));
        shape["properties"]["detail"] = json!({"type": "string"});
        (part.name().to_owned(), shape)
    };
    let parts: Map<String, Value> = Part::ALL.iter().map(part).collect();
    vec![
        (
            "Problem",
            json!({
                "type": "object",
                "description": "A refusal (RFC 9457). `errors` points to everything that must be corrected, up to a hundred places. If there may be more, `truncated` is true.",
                "properties": {
                    "type": {"enum": kinds},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "errors": {
                        "type": "array",
                        "maxItems": Faults::MOST,
                        "items": {"oneOf": [location("pointer"), location("parameter"), location("header")]},
                    },
                    "truncated": {"type": "boolean"},
                    "sources": list(json!({"type": "string"})),
                },
                "required": ["type", "title", "status", "detail"],
            }),
        ),
        (
            "Root",
            exactly(
                "",
                json!({
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "links": {"type": "object", "additionalProperties": {"type": "string", "format": "uri-reference"}},
                }),
            ),
        ),
        (
            "Health",
            json!({
                "description": "The state of this node. Callers with the scope `metrics` see each part, and since when.",
                "anyOf": [
                    exactly("", json!({"status": {"enum": ["up", "down"]}})),
                    exactly(
                        "",
                        json!({
                            "status": {"enum": ["up", "down"]},
                            "detail": {"type": ["string", "null"]},
                            "parts": exactly("", parts.into()),
                        }),
                    ),
                ],
            }),
        ),
        (
            "Up",
            exactly("", json!({"status": {"enum": ["up", "ready"]}})),
        ),
        (
            "Nodes",
            exactly(
                "The nodes whose last heartbeat is no older than `aliveIntervals` times their `heartbeatMs`.",
                json!({
                    "aliveIntervals": count(),
                    "items": list(exactly("", json!({
                        "id": {"type": "string"},
                        "host": {"type": "string"},
                        "address": {"type": "string"},
                        "version": {"type": "string"},
                        "connections": count(),
                        "cursor": {"oneOf": [schema("Cursor"), {"type": "null"}]},
                        "heartbeatMs": count(),
                        "startedAt": time(),
                        "seenAt": time(),
                    }))),
                }),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::input::{FIELDS, InputReader};
    use bson::DateTime;

    fn properties(schemas: &Value, name: &str) -> Vec<String> {
        let properties = schemas[name]["properties"].as_object().unwrap();
        let mut names: Vec<_> = properties.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The fields of a subscription are listed here and where requests are read.
    #[test]
    fn the_fields_of_subscriptions_are_those_that_are_read_and_shown() {
        let schemas = all(&Limits::default());
        let mut names: Vec<_> = FIELDS.map(str::to_owned).to_vec();
        names.sort_unstable();
        assert_eq!(properties(&schemas, "SubscriptionInput"), names);
        let others = ["id"].into_iter().chain(KEPT).chain(COMPUTED);
        names.extend(others.map(str::to_owned));
        names.sort_unstable();
        for schema in [
            "SubscriptionReplacement",
            "SubscriptionChange",
            "Subscription",
        ] {
            assert_eq!(properties(&schemas, schema), names, "{schema}");
        }
    }

    #[test]
    fn a_field_may_be_null_where_it_is_described_so() {
        let limits = Limits::default();
        let schemas = all(&limits);
        for field in FIELDS {
            let reader = InputReader {
                pointer: "#",
                id: None,
                fixed: &[],
                partial: true,
                limits: &limits,
                now: DateTime::now(),
            };
            let mut faults = Faults::default();
            reader.input(json!({field: null}), &mut faults).unwrap();
            let schema = &schemas["SubscriptionInput"]["properties"][field];
            let values = schema["type"].as_array().into_iter().flatten();
            let values = values.chain(schema["enum"].as_array().into_iter().flatten());
            let nullable = values
                .into_iter()
                .any(|v| *v == json!("null") || v.is_null());
            assert_eq!(faults.is_empty(), nullable, "{field}");
        }
    }
}
