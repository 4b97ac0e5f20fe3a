//! The route table: each call with what serves it and what is said of it.

use axum::{
    handler::Handler,
    http::{Method, StatusCode},
    routing::{MethodFilter, MethodRouter, on},
};
use serde_json::{Value, json};

use crate::{
    config::Limits,
    http::{
        edge::{AppState, Description, paths::below, problem::Kind},
        openapi::{self, Operation, entity_tags, integer, one_of, schema, socket, text},
        resources::{connections, docs, events, matching, nodes, service, subscriptions, teardown},
        stream::negotiate,
    },
    telemetry::OPENMETRICS_CONTENT_TYPE,
};

/// One call.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) route: MethodRouter<AppState>,
    pub(crate) operation: Operation,
}

fn call<H, T>(method: Method, path: &str, handler: H, operation: Operation) -> Call
where
    H: Handler<T, AppState>,
    T: 'static,
{
    // A method of the standard library of methods always has a filter.
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    // What changes nothing is not answered where the answer alone would take too much of what all may take.
    let operation = if method.is_safe() {
        operation.refuses(&[Kind::TooLarge])
    } else {
        operation
    };
    Call {
        method,
        path: path.to_owned(),
        route: on(filter, handler),
        operation,
    }
}

/// Returns the description of all calls of a node with these limits.
pub(crate) fn description(limits: Limits) -> Description {
    Description::new(move || {
        let calls = calls(&limits).into_iter();
        let described = calls.map(|call| (call.method, call.path, call.operation));
        openapi::describe(&limits, described)
    })
}

/// All calls of a node with these limits.
pub(crate) fn calls(limits: &Limits) -> Vec<Call> {
    let mut all = of_subscriptions(limits);
    all.extend(of_one_subscription());
    all.extend(below_one_subscription(limits));
    all.extend(of_events(limits));
    all.extend(of_matching());
    all.extend(of_service());
    all
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const JSON: &str = "application/json";
const OK: StatusCode = StatusCode::OK;
const WRITTEN: [&str; 2] = ["ETag", "Tidegate-Applied"];
const CREATED: [&str; 3] = ["ETag", "Location", "Tidegate-Applied"];

fn flag() -> Value {
    json!({"type": "boolean"})
}

/// The subscription of the examples.
fn demo() -> Value {
    json!({"name": "large transfers", "filter": {"type": "demo", "data.amount": {"$gte": 1000}}})
}

/// An event that it matches.
fn demo_event() -> Value {
    json!({"type": "demo", "data": {"amount": 2500}})
}

/// The same with all that a `CloudEvent` must have.
fn full_event() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/bank", "type": "demo", "data": {"amount": 2500}})
}

fn of_subscriptions(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "subscriptions", summary).stored();
    let subscription = || schema("Subscription");
    let input = || [(JSON, schema("SubscriptionInput"))];
    let many = json!({"type": "array", "maxItems": limits.batch_items, "items": schema("SubscriptionInput")});
    let path = below("/subscriptions");
    vec![
        call(
            POST,
            &path,
            subscriptions::create,
            tagged(
                "createSubscription",
                "Creates a subscription under an id of the service's.",
            )
            .repeatable()
            .body(&input())
            .example(&[demo()])
            .answers(
                StatusCode::CREATED,
                "It is created.",
                subscription(),
                &CREATED,
            )
            .refuses(&[Kind::RefusedByDatabase, Kind::Conflict]),
        ),
        call(
            GET,
            &path,
            subscriptions::list,
            tagged(
                "listSubscriptions",
                "A page of subscriptions, in the order of ids.",
            )
            .query("limit", integer(1, limits.page_items), "Items on the page.")
            .query("cursor", text(), "`nextCursor` of the page before.")
            .query(
                "status",
                one_of(&["active", "paused", "invalid"]),
                "Only these.",
            )
            .query("name", text(), "Only of this name.")
            .query("count", flag(), "Whether to count all in `total`.")
            .answers(OK, "A page.", schema("SubscriptionPage"), &[])
            .refuses(&[Kind::BadCursor]),
        ),
        call(
            POST,
            &below("/subscriptions/batch"),
            subscriptions::batch,
            tagged("createSubscriptions", "Creates many, each for itself.")
                .repeatable()
                .body(&[(JSON, many)])
                .example(&[json!([demo(), {"filter": {}}])])
                .answers(
                    OK,
                    "All are created.",
                    schema("BatchAnswer"),
                    &["Tidegate-Applied"],
                )
                .answers(
                    StatusCode::MULTI_STATUS,
                    "Some are refused.",
                    schema("BatchAnswer"),
                    &["Tidegate-Applied"],
                ),
        ),
    ]
}

fn of_one_subscription() -> Vec<Call> {
    let subscription = || schema("Subscription");
    let change = || schema("SubscriptionChange");
    let path = below("/subscriptions/{id}");
    vec![
        call(
            GET,
            &path,
            subscriptions::get,
            of_one("getSubscription", "One subscription.")
                .header("If-Match", entity_tags(), "Only if the entity tag is one of these.")
                .header("If-None-Match", entity_tags(), "Only if the entity tag is none of these.")
                .answers(OK, "It.", subscription(), &["ETag"])
                .answers_with(StatusCode::NOT_MODIFIED, "You have it.", &[], &["ETag"])
                .refuses(&[Kind::PreconditionFailed]),
        ),
        call(
            Method::PUT,
            &path,
            subscriptions::put,
            of_one("putSubscription", "Creates a subscription under an id of yours, or replaces it.")
                .conditional()
                .body(&[(JSON, schema("SubscriptionReplacement"))])
                .example(&[demo()])
                .answers(OK, "It is replaced.", subscription(), &WRITTEN)
                .answers(StatusCode::CREATED, "It is created.", subscription(), &CREATED)
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            Method::PATCH,
            &path,
            subscriptions::patch,
            of_one("changeSubscription", "Changes what the body names.")
                .saying("A merge patch (RFC 7396), except that `filter` and `metadata` are replaced whole.")
                .conditional()
                .body(&[("application/merge-patch+json", change()), (JSON, change())])
                .example(&[json!({"status": "paused"}), json!({"name": null})])
                .answers(OK, "It is changed.", subscription(), &WRITTEN)
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            Method::DELETE,
            &path,
            subscriptions::delete,
            of_one("deleteSubscription", "Deletes it; its sockets end on every node.")
                .conditional()
                .answers_with(StatusCode::NO_CONTENT, "It is deleted.", &[], &["Tidegate-Applied"]),
        ),
    ]
}

fn of_one(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "subscriptions", summary)
        .with_id(Kind::SubscriptionNotFound)
        .stored()
}

fn below_one_subscription(limits: &Limits) -> Vec<Call> {
    vec![
        call(
            GET,
            &below("/subscriptions/{id}/events"),
            negotiate::open,
            of_one("receiveEvents", "A WebSocket, server-sent events, or a page of past matches.")
                .saying(
                    "A request to upgrade opens a WebSocket, `Accept: text/event-stream` server-sent events: both take `after`, \
                     `since` and `onGap`. Any other gets a page of stored events and takes `after`, `before`, `order` and `limit`, \
                     which are of pages; its `cursor` is the stream's: `after` it comes what the pages do not show. \
                     Where server-sent events are refused for a while (503), the answer is 200 with `retry` and one `ended`, \
                     since any other status ends a browser's `EventSource` for good.",
                )
                .query("after", text(), "Go on behind this cursor.")
                .query("since", json!({"type": "string", "format": "date-time"}), "Streams: go on at this time.")
                .query("onGap", one_of(&["close"]), "Streams: end as `resync` rather than tell of a gap.")
                .query("before", text(), "Pages: before this cursor.")
                .query("order", one_of(&["asc", "desc"]), "Pages: oldest or newest first.")
                .query("limit", integer(1, limits.page_items), "Pages: items.")
                .query("lastEventId", text(), "Server-sent events: as the header `Last-Event-ID`, which wins.")
                .query("Last-Event-ID", text(), "Server-sent events: the same.")
                .query("_", text(), "Server-sent events: ignored; makes an address new.")
                .header("Last-Event-ID", text(), "Server-sent events: wins over `after`.")
                .answers_with(StatusCode::SWITCHING_PROTOCOLS, "A WebSocket, see `x-websocket`.", &[], &[])
                .answers_with(
                    OK,
                    "A page; or events of the stream, with `event` the type of a server's message, `id` its cursor, `data` its JSON.",
                    &[(JSON, schema("EventPage")), ("text/event-stream", text())],
                    &[],
                )
                .refuses(&[
                    Kind::BadCursor,
                    Kind::Forbidden,
                    Kind::SubscriptionInvalid,
                    Kind::UpgradeRequired,
                    Kind::RefusedByDatabase,
                    Kind::SearchTooSlow,
                ])
                .extended("x-websocket", socket()),
        ),
        call(
            POST,
            &below("/subscriptions/{id}/match"),
            matching::subscription,
            of_one("matchSubscription", "Whether an event would match a stored filter, and why.")
                .body(&[(JSON, event_body(&["event"]))])
                .example(&[json!({"event": demo_event()})])
                .answers(OK, "The answer of the filter that delivers.", schema("SubscriptionMatch"), &[])
                .refuses(&[Kind::SubscriptionInvalid]),
        ),
        call(
            GET,
            &below("/subscriptions/{id}/connections"),
            connections::list,
            of_one("listConnections", "Who is connected to this node.")
                .answers(OK, "Connections.", schema("Connections"), &[]),
        ),
        call(
            GET,
            &below("/subscriptions/{id}/teardown"),
            teardown::show,
            of_one("showTeardown", "What each node did about a delete of the last day.")
                .answers(OK, "What is known of each node.", schema("Teardown"), &[])
                .refuses(&[Kind::NotDeleted]),
        ),
    ]
}

fn of_events(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "events", summary).stored();
    let (event, plain) = (schema("CloudEvent"), schema("PlainEvent"));
    let many = |of: &Value| json!({"type": "array", "maxItems": limits.publish_items, "items": of});
    vec![
        call(
            POST,
            &below("/events"),
            events::publish,
            tagged("publishEvents", "Publishes one event or many.")
                .saying(
                    "CloudEvents in structured and batched mode; in binary mode (attributes as `ce-` headers) the body is the data, \
                     of any media type. As plain JSON, `specversion`, `id`, `source` and `time` may be left out.",
                )
                .repeatable()
                .body(&[
                    (JSON, json!({"oneOf": [plain, many(&plain)]})),
                    ("application/cloudevents+json", event.clone()),
                    ("application/cloudevents-batch+json", many(&event)),
                ])
                .example(&[demo_event(), full_event(), json!([full_event()])])
                .answers(StatusCode::ACCEPTED, "All are stored.", schema("Published"), &["Tidegate-Applied"])
                .answers(StatusCode::MULTI_STATUS, "Some are refused.", schema("Published"), &["Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            GET,
            &below("/events"),
            events::list,
            tagged("listEvents", "A page of what was published, oldest first.")
                .query("type", text(), "Only of this type.")
                .query("source", text(), "Only of this source.")
                .query("subject", text(), "Only of this subject.")
                .query("filter", json!({"type": "string", "contentMediaType": JSON}), "Only what this filter matches.")
                .query("after", text(), "`nextCursor` of the page before.")
                .query("limit", integer(1, limits.page_items), "Items on the page.")
                .answers(OK, "A page.", schema("EventPage"), &[])
                .refuses(&[
                    Kind::BadCursor,
                    Kind::InvalidRequest,
                    Kind::RefusedByDatabase,
                    Kind::SearchTooSlow,
                ]),
        ),
        call(
            GET,
            &below("/events/{id}"),
            events::get,
            tagged("getEvent", "One event.")
                .extended("x-example-id", json!("1"))
                .with_id(Kind::EventNotFound)
                .query("source", text(), "Its source, where several have this id.")
                .answers(OK, "It.", schema("Event"), &[])
                .refuses(&[Kind::AmbiguousEvent]),
        ),
    ]
}

/// An object with just these fields, each a document.
fn event_body(fields: &[&str]) -> Value {
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

fn of_matching() -> Vec<Call> {
    vec![call(
        POST,
        &below("/match"),
        matching::filter,
        Operation::new(
            "matchFilter",
            "matching",
            "Whether an event would match a filter, and why.",
        )
        .body(&[(JSON, event_body(&["filter", "event"]))])
        .example(&[json!({"filter": {"type": "demo"}, "event": demo_event()})])
        .answers(
            OK,
            "The answer of the filter that delivers.",
            schema("Match"),
            &[],
        ),
    )]
}

fn of_service() -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "service", summary);
    let metrics = [(OPENMETRICS_CONTENT_TYPE, text())];
    vec![
        call(
            GET,
            &below(""),
            service::root,
            tagged("root", "What this is, and where the rest is.").answers(
                OK,
                "Links.",
                schema("Root"),
                &[],
            ),
        ),
        call(
            GET,
            &below("/nodes"),
            nodes::list,
            tagged("listNodes", "The nodes that are alive.")
                .stored()
                .answers(OK, "Nodes.", schema("Nodes"), &[]),
        ),
        call(
            GET,
            &below("/health"),
            service::health,
            tagged("health", "Each part, and since when it is as it is.")
                .answers(OK, "All is well.", schema("Health"), &[])
                .answers(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Something is not.",
                    schema("Health"),
                    &[],
                ),
        ),
        call(
            GET,
            &below("/live"),
            service::live,
            tagged("live", "Whether the process answers.").answers(
                OK,
                "It does.",
                schema("Up"),
                &[],
            ),
        ),
        call(
            GET,
            &below("/ready"),
            service::ready,
            tagged("ready", "Whether requests should be sent here.").answers(
                OK,
                "Yes.",
                schema("Up"),
                &[],
            ),
        ),
        call(
            GET,
            &below("/openapi.json"),
            docs::openapi,
            tagged("description", "This description.").answers(
                OK,
                "OpenAPI 3.1.",
                json!({"type": "object"}),
                &[],
            ),
        ),
        call(
            GET,
            &below("/docs"),
            docs::show,
            tagged("docs", "This description, for people.").answers_with(
                OK,
                "A page.",
                &[("text/html", text())],
                &[],
            ),
        ),
        call(
            GET,
            "/metrics",
            service::metrics,
            tagged("metrics", "Metrics in the OpenMetrics text format.").answers_with(
                OK,
                "Metrics.",
                &metrics,
                &[],
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        Router,
        body::{Body, to_bytes},
        http::{HeaderName, Request, header},
    };
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        config::Config,
        http::{edge::budget::Budget, full, layers::Layers, starting},
    };

    /// Asks each call of these routes, and sees that what refuses is described.
    async fn check(routes: &Router, header: Option<(HeaderName, &str)>, expected: Kind) {
        for call in calls(&Limits::default()) {
            let mut request = Request::builder()
                .method(&call.method)
                .uri(call.path.replace("{id}", "a"))
                .header(header::HOST, "localhost");
            if let Some((name, value)) = &header {
                request = request.header(name, *value);
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = routes.clone().oneshot(request).await.unwrap();
            let what = format!("{} {}", call.method, call.path);
            if answer.status().is_success() {
                continue;
            }
            let status = answer.status().as_str().to_owned();
            let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["type"], format!("/problems/{}", expected.slug()));
            let described = call.operation.to_json();
            let content = &described["responses"][status]["content"];
            let types =
                &content["application/problem+json"]["schema"]["properties"]["type"]["enum"];
            let types = types.as_array().unwrap_or_else(|| panic!("{what}"));
            assert!(types.contains(&problem["type"]), "{what}: {problem}");
        }
    }

    /// Routes that answer every call that changes nothing with more than all answers may take.
    fn too_large(layers: &Layers) -> Router {
        let budget = Budget::new(8 << 10, "tests", &Arc::default());
        let routes = Router::new().fallback(async |method: Method| {
            let bytes = if method.is_safe() { 8 << 10 } else { 0 };
            Body::from("x".repeat(bytes))
        });
        layers.wrap(routes, Some(budget))
    }

    #[tokio::test]
    async fn what_refuses_any_call_is_described_at_each() {
        let layers = Layers::new(&Config::default(), Arc::default(), CancellationToken::new());
        let coding = (header::TRANSFER_ENCODING, "gzip");
        check(&starting(&layers), None, Kind::NotReady).await;
        check(&starting(&layers), Some(coding), Kind::BadHeader).await;
        check(&full(&layers), None, Kind::Overloaded).await;
        check(&too_large(&layers), None, Kind::TooLarge).await;
    }
}
