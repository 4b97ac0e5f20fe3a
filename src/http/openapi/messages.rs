//! The messages on a socket and in server-sent events.

mod many;

use serde_json::{Value, json};

pub(crate) use self::many::socket_of_many;
use super::operation::schema;
use crate::protocol::{Ending, GapReason};

/// Returns the messages of both sides, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let reasons: Vec<_> = GapReason::ALL.iter().map(|reason| reason.token()).collect();
    let cursor = || schema("Cursor");
    let mut all = vec![
        (
            "Connected",
            message(
                "connected",
                "The first message on every connection. `recovered` means that everything since `after` will come.",
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
                "A matching event.",
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
                "Events between the two cursors may be missing.",
                json!({
                    "reason": {"enum": reasons},
                    "after": {"oneOf": [cursor(), {"type": "null"}]},
                    "cursor": cursor(),
                }),
            ),
        ),
        ("Ended", ended()),
        (
            "At",
            message(
                "at",
                "Everything up to this cursor was sent.",
                json!({"cursor": cursor()}),
            ),
        ),
        ("Pong", message("pong", "The answer to `ping`.", json!({}))),
        (
            "ServerMessage",
            any_of(&[
                "Connected",
                "Delivered",
                "Updated",
                "Gap",
                "Ended",
                "At",
                "Pong",
                "Expiring",
                "Refreshed",
                "Refused",
            ]),
        ),
        (
            "Ack",
            message(
                "ack",
                "The client has handled everything up to this cursor (durable subscriptions).",
                json!({"cursor": cursor()}),
            ),
        ),
        ("Ping", message("ping", "Asks for a `pong`.", json!({}))),
        ("ClientMessage", any_of(&["Ack", "Refresh", "Ping"])),
    ];
    all.extend(about_credentials());
    all.extend(many::all());
    all
}

/// Returns the schema of the last message of a session.
fn ended() -> Value {
    let endings = Ending::ALL;
    let tokens: Vec<_> = endings.iter().map(|ending| ending.token()).collect();
    let codes: Vec<_> = endings.iter().map(|ending| ending.code()).collect();
    let ended = message(
        "ended",
        "The last message before the server closes. `retryAfterMs` is set if another attempt makes sense. `cursor` is null if a \
         stream is refused to a client that sent none. `detail` says to people what was wrong.",
        json!({
            "reason": {"enum": tokens},
            "code": {"enum": codes},
            "retryAfterMs": {"type": ["integer", "null"], "minimum": 0},
            "cursor": {"oneOf": [schema("Cursor"), {"type": "null"}]},
        }),
    );
    and_perhaps(ended, json!({"detail": {"type": "string"}}))
}

/// Returns the messages about the end of a credential.
fn about_credentials() -> [(&'static str, Value); 4] {
    let time = || json!({"type": ["string", "null"], "format": "date-time"});
    [
        (
            "Expiring",
            message(
                "expiring",
                "The credential ends soon: 30 s before its end, or at once if less is left.",
                json!({
                    "expiresAt": time(),
                    "inMs": {"type": "integer", "minimum": 0},
                    "cursor": {"oneOf": [schema("Cursor"), {"type": "null"}]},
                }),
            ),
        ),
        (
            "Refreshed",
            message(
                "refreshed",
                "The answer to `refresh`: the new credential counts until then; null if it has no end.",
                json!({"expiresAt": time()}),
            ),
        ),
        (
            "Refused",
            message(
                "refused",
                "The answer to `refresh`: the new credential does not stand, and the old one still does.",
                json!({"problem": schema("Problem")}),
            ),
        ),
        (
            "Refresh",
            message(
                "refresh",
                "A new credential of the same caller.",
                json!({"token": {"type": "string"}}),
            ),
        ),
    ]
}

/// Returns the schema of any of these messages, which differ by `type`.
fn any_of(names: &[&str]) -> Value {
    let schemas: Vec<Value> = names.iter().map(|name| schema(name)).collect();
    json!({"oneOf": schemas})
}

/// Returns the schema of a message. All its fields are there, and receivers ignore others.
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

/// Adds fields that a message need not have.
fn and_perhaps(mut message: Value, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        for (name, schema) in fields {
            message["properties"][name] = schema;
        }
    }
    message
}

/// Returns the description of the WebSocket on a call.
pub(crate) fn socket() -> Value {
    let endings = Ending::ALL.into_iter();
    let endings = endings.filter(|ending| *ending != Ending::Unsubscribed);
    let endings = endings.map(ending_json).collect::<Vec<_>>();
    json!({
        "subprotocols": {
            "tidegate.v1": {"serverMessage": schema("ServerMessage"), "clientMessage": schema("ClientMessage")},
            "cloudevents.json": {"serverMessage": schema("Event")},
        },
        "endings": endings,
    })
}

/// Returns the row of an ending.
fn ending_json(ending: Ending) -> Value {
    json!({"code": ending.code(), "reason": ending.token(), "retry": ending.retry()})
}
