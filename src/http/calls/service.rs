//! The calls about this node and the others.

use axum::http::StatusCode;
use serde_json::json;

use super::{Call, GET, OK, call};
use crate::{
    access::Scope,
    http::{
        edge::{needs::Need, paths::below},
        openapi::{Operation, schema, text},
        resources::{docs, nodes, service},
    },
    telemetry::OPENMETRICS_CONTENT_TYPE,
};

const OPERATING: Need = Need::AnyOf(&[Scope::Metrics]);

pub(super) fn all() -> Vec<Call> {
    let mut all = of_the_node();
    all.extend(descriptions());
    all
}

fn of_the_node() -> Vec<Call> {
    let metrics = [(OPENMETRICS_CONTENT_TYPE, text())];
    vec![
        call(
            GET,
            &below(""),
            Need::Nothing,
            service::root,
            tagged("root", "Shows the name, the version and links.").answers(
                OK,
                "Links.",
                schema("Root"),
                &[],
            ),
        ),
        call(
            GET,
            &below("/nodes"),
            OPERATING,
            nodes::list,
            tagged("listNodes", "Lists the nodes that are alive.")
                .uses_database()
                .answers(OK, "The nodes.", schema("Nodes"), &[]),
        ),
        call(
            GET,
            &below("/health"),
            Need::Anybody,
            service::health,
            tagged("health", "Shows the state of each part, and since when.")
                .answers(OK, "Healthy.", schema("Health"), &[])
                .answers(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Unhealthy. See `parts`.",
                    schema("Health"),
                    &[],
                ),
        ),
        call(
            GET,
            &below("/live"),
            Need::Nothing,
            service::live,
            tagged("live", "Tells whether the process answers.").answers(
                OK,
                "It answers.",
                schema("Up"),
                &[],
            ),
        ),
        call(
            GET,
            &below("/ready"),
            Need::Nothing,
            service::ready,
            tagged(
                "ready",
                "Tells whether requests should be sent to this node.",
            )
            .answers(OK, "Ready.", schema("Up"), &[]),
        ),
        call(
            GET,
            "/metrics",
            OPERATING,
            service::metrics,
            tagged("metrics", "Shows metrics in the OpenMetrics text format.").answers_with(
                OK,
                "The metrics.",
                &metrics,
                &[],
            ),
        ),
    ]
}

fn tagged(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "service", summary)
}

fn descriptions() -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "service", summary);
    vec![
        call(
            GET,
            &below("/openapi.json"),
            Need::Nothing,
            docs::openapi,
            tagged("description", "Shows this description.").answers(
                OK,
                "OpenAPI 3.1.",
                json!({"type": "object"}),
                &[],
            ),
        ),
        call(
            GET,
            &below("/asyncapi.json"),
            Need::Nothing,
            docs::asyncapi,
            tagged(
                "socketDescription",
                "Describes the sockets and their messages.",
            )
            .answers(OK, "AsyncAPI 3.0.", json!({"type": "object"}), &[]),
        ),
        call(
            GET,
            &below("/docs"),
            Need::Nothing,
            docs::show,
            tagged("docs", "Shows this description as a page.").answers_with(
                OK,
                "A page.",
                &[("text/html", text())],
                &[],
            ),
        ),
    ]
}
