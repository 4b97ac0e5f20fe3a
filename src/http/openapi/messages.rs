//! What is said on a socket and in server-sent events.

use serde_json::{Value, json};

use super::operation::schema;
use crate::protocol::{Ending, GapReason};

/// The messages of both sides, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let endings = Ending::ALL;
    let tokens: Vec<_> = endings.iter().map(|ending| ending.token()).collect();
    let codes: Vec<_> = endings.iter().map(|ending| ending.code()).collect();
    let reasons: Vec<_> = GapReason::ALL.iter().map(|reason| reason.token()).collect();
    let cursor = || schema("Cursor");
    vec![
        (
            "Connected",
            message(
                "connected",
                "First on every connection. `recovered`: everything since `after` will come.",
                json!({
                    "connectionId": {"type": "string"},
                    "subscription": schema("Subscription"),
                    "cursor": cursor(),
                    "recovered": {"type": "boolean"},
                }),
            ),
        ),
        (
            "Delivered",
            message(
                "event",
                "An event that matches.",
                json!({"cursor": cursor(), "event": schema("Event")}),
            ),
        ),
        (
            "Updated",
            message(
                "updated",
                "The subscription's document changed; the connection stays.",
                json!({"subscription": schema("Subscription"), "cursor": cursor()}),
            ),
        ),
        (
            "Gap",
            message(
                "gap",
                "Events between two cursors may be missing.",
                json!({
                    "reason": {"enum": reasons},
                    "after": {"oneOf": [cursor(), {"type": "null"}]},
                    "cursor": cursor(),
                }),
            ),
        ),
        (
            "Ended",
            message(
                "ended",
                "Precedes every close that the server begins. `retryAfterMs` where another try makes sense. `cursor` is null \
                 where a stream is refused to a client that said of none.",
                json!({
                    "reason": {"enum": tokens},
                    "code": {"enum": codes},
                    "retryAfterMs": {"type": ["integer", "null"], "minimum": 0},
                    "cursor": {"oneOf": [cursor(), {"type": "null"}]},
                }),
            ),
        ),
        ("Pong", message("pong", "The answer to `ping`.", json!({}))),
        (
            "ServerMessage",
            any_of(&["Connected", "Delivered", "Updated", "Gap", "Ended", "Pong"]),
        ),
        (
            "Ack",
            message(
                "ack",
                "Handled up to here (durable subscriptions).",
                json!({"cursor": cursor()}),
            ),
        ),
        ("Ping", message("ping", "Are you there?", json!({}))),
        ("ClientMessage", any_of(&["Ack", "Ping"])),
    ]
}

/// One of these messages; they differ by `type`.
fn any_of(names: &[&str]) -> Value {
    let schemas: Vec<Value> = names.iter().map(|name| schema(name)).collect();
    json!({"oneOf": schemas})
}

/// A message: all its fields are there, and receivers ignore others.
fn message(name: &str, description: &str, fields: Value) -> Value {
    let mut properties = json!({"type": {"const": name}});
    let mut required = vec![json!("type")];
    if let Value::Object(fields) = fields {
        for (field, schema) in fields {
            required.push(json!(field));
            properties[field] = schema;
        }
    }
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
    })
}

/// What a WebSocket on a call speaks.
pub(crate) fn socket() -> Value {
    let endings: Vec<Value> = Ending::ALL
        .iter()
        .map(|ending| {
            json!({"code": ending.code(), "reason": ending.token(), "retry": ending.retry()})
        })
        .collect();
    json!({
        "subprotocols": {
            "tidegate.v1": {"serverMessage": schema("ServerMessage"), "clientMessage": schema("ClientMessage")},
            "cloudevents.json": {"serverMessage": schema("Event")},
        },
        "endings": endings,
    })
}
