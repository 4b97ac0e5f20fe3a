//! The description of the sockets: `AsyncAPI` 3.0. It is made from the description of the calls, and so from the
//! tables of messages.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::http::edge::paths::{SOCKET, STREAM, below};

/// The beginning of a reference to a schema.
const SCHEMAS: &str = "#/components/schemas/";

/// A socket: its name, its path, and the schemas of what the service sends and what it receives there.
struct Described {
    name: &'static str,
    path: &'static str,
    title: &'static str,
    sends: &'static str,
    receives: &'static str,
}

const SOCKETS: [Described; 2] = [
    Described {
        name: "one",
        path: STREAM,
        title: "A socket for one subscription (`tidegate.v1`).",
        sends: "ServerMessage",
        receives: "ClientMessage",
    },
    Described {
        name: "many",
        path: SOCKET,
        title: "A socket for many subscriptions (`tidegate.many.v1`).",
        sends: "ManyServerMessage",
        receives: "ManyClientMessage",
    },
];

/// Returns the document, made from that of the calls.
pub(crate) fn describe(openapi: &Value) -> Value {
    let all = &openapi["components"]["schemas"];
    let (mut channels, mut operations) = (Map::new(), Map::new());
    let (mut messages, mut schemas) = (Map::new(), Map::new());
    for socket in SOCKETS {
        let sides = [("send", socket.sends), ("receive", socket.receives)];
        let mut of_channel = Map::new();
        for (action, side) in sides {
            let names = names_in(&all[side]);
            for name in &names {
                let message = format!("#/components/messages/{name}");
                of_channel.insert(name.clone(), json!({"$ref": message}));
                messages.insert(name.clone(), message_of(&all[name], name));
                add_schema(all, name, &mut schemas);
            }
            let refs = names.iter().map(|name| {
                let place = format!("#/channels/{}/messages/{name}", socket.name);
                json!({"$ref": place})
            });
            let refs: Vec<Value> = refs.collect();
            let operation = json!({
                "action": action,
                "channel": {"$ref": format!("#/channels/{}", socket.name)},
                "messages": refs,
            });
            operations.insert(format!("{action}.{}", socket.name), operation);
        }
        channels.insert(socket.name.to_owned(), channel(&socket, &of_channel));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidegate",
            "version": openapi["info"]["version"],
            "description": "The messages on the sockets. A message is a text frame with one JSON object.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    })
}

fn channel(socket: &Described, messages: &Map<String, Value>) -> Value {
    let mut channel = json!({
        "address": below(socket.path),
        "title": socket.title,
        "messages": messages,
        "bindings": {"ws": {"method": "GET"}},
    });
    if socket.path.contains("{id}") {
        channel["parameters"] = json!({"id": {"description": "The id of the subscription."}});
    }
    channel
}

fn message_of(schema: &Value, name: &str) -> Value {
    json!({
        "name": schema["properties"]["type"]["const"],
        "summary": schema["description"],
        "payload": {"$ref": format!("{SCHEMAS}{name}")},
    })
}

/// Returns the names of the schemas of which one is to hold.
fn names_in(any: &Value) -> Vec<String> {
    let listed = any["oneOf"].as_array().or(any["anyOf"].as_array());
    let refs = listed
        .into_iter()
        .flatten()
        .filter_map(|one| one["$ref"].as_str());
    let names = refs.filter_map(|text| text.strip_prefix(SCHEMAS));
    names.map(str::to_owned).collect()
}

/// Adds a schema, and those that it refers to.
fn add_schema(all: &Value, name: &str, to: &mut Map<String, Value>) {
    if to.contains_key(name) {
        return;
    }
    let schema = &all[name];
    to.insert(name.to_owned(), schema.clone());
    let mut names = BTreeSet::new();
    refers_to(schema, &mut names);
    for name in names {
        add_schema(all, &name, to);
    }
}

fn refers_to(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            names.extend(
                name.and_then(|name| name.strip_prefix(SCHEMAS))
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| refers_to(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| refers_to(value, names)),
        _ => {}
    }
}
