//! The messages on a socket for many subscriptions.

use serde_json::{Value, json};

use super::{and_perhaps, ending_json, message, schema};
use crate::protocol::{Ending, GapReason};

fn cursor() -> Value {
    schema("Cursor")
}

fn handle() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn to() -> Value {
    json!({"type": "array", "items": handle(), "minItems": 1, "uniqueItems": true})
}

fn marks() -> Value {
    json!({"replay": {"const": true}, "more": {"const": true}})
}

fn detail() -> Value {
    json!({"detail": {"type": "string"}})
}

/// Returns the schema of any of these messages. Some of them differ by having a handle.
fn any_of(names: &[&str]) -> Value {
    let schemas: Vec<Value> = names.iter().map(|name| schema(name)).collect();
    json!({"anyOf": schemas})
}

fn or_null(schema: &Value) -> Value {
    json!({"oneOf": [schema, {"type": "null"}]})
}

/// Returns the messages of both sides, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all = of_server();
    all.push((
        "ManyServerMessage",
        any_of(&[
            "Welcome",
            "ConnectedHandle",
            "DeliveredTo",
            "LiveHandle",
            "UpdatedHandle",
            "GapTo",
            "RefusedHandle",
            "EndedHandle",
            "Ended",
            "At",
            "Pong",
            "Expiring",
            "Refreshed",
            "Refused",
        ]),
    ));
    all.extend(of_client());
    all
}

fn of_server() -> Vec<(&'static str, Value)> {
    let count = || json!({"type": "integer", "minimum": 1});
    let welcome = message(
        "welcome",
        "The first message.",
        json!({
            "connectionId": {"type": "string"},
            "cursor": cursor(),
            "limits": {
                "type": "object",
                "properties": {
                    "handles": count(), "items": count(), "subscribesPerSecond": count(), "messageBytes": count(),
                },
                "required": ["handles", "items", "subscribesPerSecond", "messageBytes"],
            },
        }),
    );
    let connected = message(
        "connected",
        "The first message of a handle. `replaying`: it catches up first, until `live`.",
        json!({
            "handle": handle(),
            "subscription": or_null(&schema("Subscription")),
            "cursor": cursor(),
            "recovered": {"type": "boolean"},
            "replaying": {"type": "boolean"},
        }),
    );
    let warnings = json!({"warnings": {"type": "array", "items": {"type": "string"}}});
    let delivered = message(
        "event",
        "A matching event, once, with every live handle that it is for.",
        json!({"to": to(), "cursor": cursor(), "event": schema("Event")}),
    );
    let live = message(
        "live",
        "The handle has caught up.",
        json!({"handle": handle(), "cursor": cursor()}),
    );
    let updated = message(
        "updated",
        "The subscription's document changed. What the client brought has no id.",
        json!({
            "handle": handle(),
            "subscription": {"anyOf": [schema("Subscription"), adhoc()]},
            "cursor": cursor(),
        }),
    );
    let reasons: Vec<_> = GapReason::ALL.iter().map(|reason| reason.token()).collect();
    let gap = message(
        "gap",
        "Events between the two cursors may be missing.",
        json!({
            "to": to(), "reason": {"enum": reasons}, "after": or_null(&cursor()), "cursor": cursor(),
        }),
    );
    let refused = message(
        "refused",
        "The answer to a `subscribe` that is refused.",
        json!({"handle": handle(), "problem": schema("Problem")}),
    );
    let retry = json!({"retryAfterMs": {"type": "integer", "minimum": 0}});
    vec![
        ("Welcome", welcome),
        ("ConnectedHandle", and_perhaps(connected, warnings)),
        ("DeliveredTo", and_perhaps(delivered, marks())),
        ("LiveHandle", live),
        ("UpdatedHandle", and_perhaps(updated, marks())),
        ("GapTo", and_perhaps(gap, marks())),
        ("RefusedHandle", and_perhaps(refused, retry)),
        (
            "EndedHandle",
            and_perhaps(and_perhaps(ended(), marks()), detail()),
        ),
    ]
}

/// Describes what a client brought, as it is shown.
fn adhoc() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": {"type": "null"},
            "filter": {"type": "object"},
            "status": {"enum": ["active", "invalid"]},
            "error": {"type": "string"},
        },
        "required": ["id", "filter", "status"],
    })
}

fn ended() -> Value {
    let of_channels = Ending::ALL.into_iter();
    let of_channels = of_channels.filter(|ending| ending.whose().is_of_channels());
    let (tokens, codes): (Vec<_>, Vec<_>) = of_channels
        .map(|ending| (ending.token(), ending.code()))
        .unzip();
    message(
        "ended",
        "The last message of a handle.",
        json!({
            "handle": handle(),
            "reason": {"enum": tokens},
            "code": {"enum": codes},
            "retryAfterMs": {"type": ["integer", "null"], "minimum": 0},
            "cursor": cursor(),
        }),
    )
}

fn of_client() -> Vec<(&'static str, Value)> {
    let start = || {
        json!({
            "after": cursor(),
            "since": {"type": "string", "format": "date-time"},
            "onGap": {"const": "end"},
        })
    };
    let one = message(
        "subscribe",
        "Subscribes one handle.",
        json!({"handle": handle()}),
    );
    let wanted = || {
        json!({
            "subscription": {"type": "string"},
            "filter": {"type": "object", "description": "In place of `subscription`: a filter of the client's own."},
            "source": {"const": "events"},
        })
    };
    let one = and_perhaps(one, wanted());
    let item = and_perhaps(
        json!({"type": "object", "properties": {"handle": handle()}, "required": ["handle"]}),
        wanted(),
    );
    let items = json!({"type": "array", "items": item, "minItems": 1});
    let items_only = || {
        json!({
            "type": "object",
            "description": "A `subscribe` of several handles, without its `type`.",
            "properties": {"items": items},
            "required": ["items"],
        })
    };
    let several = message(
        "subscribe",
        "Subscribes several handles at one point. `after`, `since` and `onGap` hold for all.",
        json!({"items": items}),
    );
    let unsubscribe = message(
        "unsubscribe",
        "Ends a handle. The answer is its `ended`.",
        json!({"handle": handle()}),
    );
    let ack = message(
        "ack",
        "The client has handled everything up to this cursor: on one handle, or on all that are live.",
        json!({"cursor": cursor()}),
    );
    vec![
        ("Subscribe", and_perhaps(one, start())),
        ("SubscribeItems", and_perhaps(several, start())),
        ("StreamRequest", and_perhaps(items_only(), start())),
        ("Unsubscribe", unsubscribe),
        ("AckHandle", and_perhaps(ack, json!({"handle": handle()}))),
        (
            "ManyClientMessage",
            any_of(&[
                "Subscribe",
                "SubscribeItems",
                "Unsubscribe",
                "AckHandle",
                "Refresh",
                "Ping",
            ]),
        ),
    ]
}

/// Returns the description of the WebSocket for many subscriptions.
pub(crate) fn socket_of_many() -> Value {
    json!({
        "subprotocols": {
            "tidegate.many.v1": {
                "serverMessage": schema("ManyServerMessage"),
                "clientMessage": schema("ManyClientMessage"),
            },
        },
        "endings": Ending::ALL.map(ending_json),
    })
}
