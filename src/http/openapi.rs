//! The description of all calls: `OpenAPI` 3.1.
//!
//! Nothing here names a route: each call of the route table carries its own [`Operation`], so that a call
//! without a description cannot be served. Names and bounds come from the code's own tables (problems,
//! endings, configuration). That real answers are as described is held by the tests of the REST calls.

mod messages;
mod operation;
pub(crate) mod page;
mod schemas;

use axum::http::Method;
use serde_json::{Map, Value, json};

use self::page::SAME_AS;
pub(crate) use self::{
    messages::socket,
    operation::{Operation, entity_tags, integer, one_of, schema, text},
};
use crate::{config::Limits, http::edge::paths::below};

/// Returns the document about these calls: the method, the path and the description of each.
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
            {"name": "subscriptions", "description": "Documents with a filter and a life of their own."},
            {"name": "events", "description": "What is published and delivered, as CloudEvents."},
            {"name": "matching", "description": "Dry runs by the filter that delivers."},
            {"name": "service", "description": "The node, and the nodes beside it."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(limits),
            "headers": headers(),
        },
    })
}

/// An id may be the word "batch": the calls on that subscription are on a path that is a call's own.
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
        "Location": header("Where the subscription is.", json!({"type": "string", "format": "uri-reference"})),
        "Retry-After": header("Seconds after which another try may succeed.", json!({"type": "integer", "minimum": 0})),
        "Tidegate-Applied": header(
            "`false` where the answering node has not applied the write yet; missing where it has.",
            json!({"const": "false"}),
        ),
        "X-Request-Id": header("Names the request in the log; yours, where you sent a sane one.", json!({"type": "string"})),
        "Allow": header("The methods that the path takes.", json!({"type": "string"})),
    })
}
