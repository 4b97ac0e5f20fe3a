//! The description of all calls: `OpenAPI` 3.1.
//!
//! Nothing here names a route: each call of the route table carries its own [`Operation`], so no call is served without a
//! description. Names and bounds come from the code's own tables (problems, endings, configuration). The tests of the REST
//! calls check that real answers are as described.

pub(crate) mod asyncapi;
mod messages;
mod operation;
pub(crate) mod page;
mod schemas;

use axum::http::Method;
use serde_json::{Map, Value, json};

use self::page::SAME_AS;
pub(crate) use self::{
    messages::{socket, socket_of_many},
    operation::{Operation, entity_tags, integer, one_of, schema, text, time},
};
use crate::{config::Limits, http::edge::paths::below};

/// Returns the document that describes these calls, each with its method and path.
pub(crate) fn describe(
    limits: &Limits,
    calls: impl IntoIterator<Item = (Method, String, Operation)>,
) -> Value {
    let mut paths = Map::new();
    for (method, path, operation) in calls {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = operation.to_json();
    }
    describe_the_one_named_batch(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": "Filters and documents are MongoDB Extended JSON (relaxed or canonical in, relaxed out). \
                Times are RFC 3339 in UTC. Every refusal is a problem document (RFC 9457); unknown fields \
                and parameters are refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "subscriptions", "description": "Filters that are stored as documents and last until they are deleted or expire."},
            {"name": "events", "description": "Published and delivered CloudEvents."},
            {"name": "matching", "description": "Dry runs of the filters that deliver."},
            {"name": "access", "description": "API keys and row policies: who may do what, and who did it."},
            {"name": "service", "description": "This node and the other nodes."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(limits),
            "headers": headers(),
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key or a token. Asked for where the service runs with `auth = \"required\"`. `x-scopes` lists the scopes of which a caller needs one. Browsers, which cannot set a header on a WebSocket, offer it as the subprotocol `tidegate.bearer.KEY` beside another one. Where that is turned on, a token may come in a cookie, and a client certificate may stand for a key.",
            }},
        },
    })
}

/// Describes the calls on the subscription with the id "batch": another call has its path.
fn describe_the_one_named_batch(paths: &mut Map<String, Value>) {
    let one = paths.get(&below("/subscriptions/{id}")).cloned();
    let named = &mut paths[&below("/subscriptions/batch")];
    for (method, mut operation) in one.into_iter().flat_map(into_entries) {
        let id = operation["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        operation["operationId"] = format!("{id}NamedBatch").into();
        operation[SAME_AS] = id.into();
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            parameters.retain(|parameter| parameter["in"] != "path");
        }
        named[method] = operation;
    }
}

fn into_entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| {
        let described = json!({"description": description, "schema": schema});
        described
    };
    json!({
        "ETag": header("A hash of the stored document.", json!({"type": "string", "pattern": "^\"[0-9a-f]{32}\"$"})),
        "Location": header("The path of what was created.", json!({"type": "string", "format": "uri-reference"})),
        "Retry-After": header("Seconds to wait before the next attempt.", json!({"type": "integer", "minimum": 0})),
        "Tidegate-Applied": header(
            "`false` if the answering node has not applied the write yet; missing otherwise.",
            json!({"const": "false"}),
        ),
        "X-Request-Id": header("The request's id in the log: yours if you sent a usable one.", json!({"type": "string"})),
        "WWW-Authenticate": header("The scheme of credentials, and what is wrong with the one presented (RFC 6750).", json!({"type": "string"})),
        "Allow": header("The methods that the path accepts.", json!({"type": "string"})),
    })
}
