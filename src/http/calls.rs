//! The route table: each call with its handler and its description.

use axum::{
    handler::Handler,
    http::{Method, StatusCode},
    middleware,
    routing::{MethodFilter, MethodRouter, on},
};
use serde_json::{Value, json};

use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{
            AppState, Description,
            needs::{self, Need},
            paths::below,
            problem::Kind,
        },
        openapi::{self, Operation, entity_tags, integer, one_of, schema, socket, text},
        resources::{
            connections, docs, events, keys, matching, nodes, revocations, service, subscriptions,
            teardown, whoami,
        },
        stream,
    },
    telemetry::OPENMETRICS_CONTENT_TYPE,
};

/// A call: one method on one path.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) route: MethodRouter<AppState>,
    pub(crate) operation: Operation,
}

fn call<H, T>(method: Method, path: &str, need: Need, handler: H, operation: Operation) -> Call
where
    H: Handler<T, AppState>,
    T: 'static,
{
    // Every standard method has a filter.
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    // The answer to a call that changes nothing is refused if it would take too much of the budget.
    let operation = if method.is_safe() {
        operation.refuses(&[Kind::TooLarge])
    } else {
        operation
    };
    Call {
        method,
        path: path.to_owned(),
        route: guarded(need, on(filter, handler)),
        operation: operation.needs(need),
    }
}

/// Returns a route that lets only those through who have what it needs.
fn guarded(need: Need, route: MethodRouter<AppState>) -> MethodRouter<AppState> {
    let require = move |request, next| needs::require(need, request, next);
    route.layer(middleware::from_fn(require))
}

/// Returns the description of all calls of a node with these limits.
pub(crate) fn description(limits: Limits) -> Description {
    Description::new(move || {
        let calls = calls(&limits).into_iter();
        let described = calls.map(|call| (call.method, call.path, call.operation));
        openapi::describe(&limits, described)
    })
}

/// Returns all calls of a node with these limits.
pub(crate) fn calls(limits: &Limits) -> Vec<Call> {
    let mut all = subscription_calls(limits);
    all.extend(one_subscription_calls());
    all.extend(nested_calls(limits));
    all.extend(event_calls(limits));
    all.extend(matching_calls());
    all.extend(key_calls(limits));
    all.extend(revocation_calls(limits));
    all.extend(service_calls());
    all
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const JSON: &str = "application/json";
const OK: StatusCode = StatusCode::OK;
const WRITTEN: [&str; 2] = ["ETag", "Tidegate-Applied"];
const CREATED: [&str; 3] = ["ETag", "Location", "Tidegate-Applied"];

/// Callers who see subscriptions.
const SEEING: Need = Need::AnyOf(&[
    Scope::SubscriptionsOwn,
    Scope::SubscriptionsRead,
    Scope::SubscriptionsWrite,
]);
/// Callers who make and change subscriptions.
const CHANGING: Need = Need::AnyOf(&[Scope::SubscriptionsOwn, Scope::SubscriptionsWrite]);
const RECEIVING: Need = Need::UnderPolicy(&[Scope::EventsRead]);
const KEEPING_KEYS: Need = Need::AnyOf(&[Scope::KeysWrite]);
const PUBLISHING: Need = Need::AnyOf(&[Scope::EventsPublish]);
const OPERATING: Need = Need::AnyOf(&[Scope::Metrics]);

fn flag() -> Value {
    json!({"type": "boolean"})
}

/// Returns the subscription of the examples.
fn demo() -> Value {
    json!({"name": "large transfers", "filter": {"type": "demo", "data.amount": {"$gte": 1000}}})
}

/// Returns an event that matches it.
fn demo_event() -> Value {
    json!({"type": "demo", "data": {"amount": 2500}})
}

/// Returns the same event with every attribute that a `CloudEvent` must have.
fn full_event() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/bank", "type": "demo", "data": {"amount": 2500}})
}

fn subscription_calls(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "subscriptions", summary).uses_database();
    let subscription = || schema("Subscription");
    let input = || [(JSON, schema("SubscriptionInput"))];
    let many = json!({"type": "array", "maxItems": limits.batch_items, "items": schema("SubscriptionInput")});
    let path = below("/subscriptions");
    vec![
        call(
            POST,
            &path,
            CHANGING,
            subscriptions::create,
            tagged(
                "createSubscription",
                "Creates a subscription. The service assigns the id.",
            )
            .repeatable()
            .body(&input())
            .example(&[demo()])
            .answers(StatusCode::CREATED, "Created.", subscription(), &CREATED)
            .refuses(&[Kind::RefusedByDatabase, Kind::Conflict]),
        ),
        call(
            GET,
            &path,
            SEEING,
            subscriptions::list,
            tagged(
                "listSubscriptions",
                "Lists subscriptions in the order of their ids.",
            )
            .query(
                "limit",
                integer(1, limits.page_items),
                "The most items on the page.",
            )
            .query("cursor", text(), "`nextCursor` of the previous page.")
            .query(
                "status",
                one_of(&["active", "paused", "invalid"]),
                "Only subscriptions with this status.",
            )
            .query("name", text(), "Only subscriptions with this name.")
            .query("tenant", text(), "Only subscriptions of this tenant.")
            .query("owner", text(), "Only subscriptions of this owner.")
            .query(
                "count",
                flag(),
                "Whether to count the subscriptions on all pages, as `total`.",
            )
            .answers(OK, "A page.", schema("SubscriptionPage"), &[])
            .refuses(&[Kind::BadCursor]),
        ),
        call(
            POST,
            &below("/subscriptions/batch"),
            CHANGING,
            subscriptions::batch,
            tagged(
                "createSubscriptions",
                "Creates many subscriptions. Each succeeds or fails by itself.",
            )
            .repeatable()
            .body(&[(JSON, many)])
            .example(&[json!([demo(), {"filter": {}}])])
            .answers(
                OK,
                "All created.",
                schema("BatchAnswer"),
                &["Tidegate-Applied"],
            )
            .answers(
                StatusCode::MULTI_STATUS,
                "Some refused.",
                schema("BatchAnswer"),
                &["Tidegate-Applied"],
            ),
        ),
    ]
}

fn one_subscription_calls() -> Vec<Call> {
    let subscription = || schema("Subscription");
    let change = || schema("SubscriptionChange");
    let path = below("/subscriptions/{id}");
    vec![
        call(
            GET,
            &path,
            SEEING,
            subscriptions::get,
            of_one("getSubscription", "Shows a subscription.")
                .header(
                    "If-Match",
                    entity_tags(),
                    "Answer only if the entity tag is one of these.",
                )
                .header(
                    "If-None-Match",
                    entity_tags(),
                    "Answer only if the entity tag is none of these.",
                )
                .answers(OK, "The subscription.", subscription(), &["ETag"])
                .answers_with(StatusCode::NOT_MODIFIED, "Not modified.", &[], &["ETag"])
                .refuses(&[Kind::PreconditionFailed]),
        ),
        call(
            Method::PUT,
            &path,
            CHANGING,
            subscriptions::put,
            of_one(
                "putSubscription",
                "Creates a subscription under an id that you choose, or replaces it.",
            )
            .conditional()
            .body(&[(JSON, schema("SubscriptionReplacement"))])
            .example(&[demo()])
            .answers(OK, "Replaced.", subscription(), &WRITTEN)
            .answers(StatusCode::CREATED, "Created.", subscription(), &CREATED)
            .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            Method::PATCH,
            &path,
            CHANGING,
            subscriptions::patch,
            of_one(
                "changeSubscription",
                "Changes the fields that the body names.",
            )
            .description(
                "A merge patch (RFC 7396), except that `filter` and `metadata` are replaced whole.",
            )
            .conditional()
            .body(&[("application/merge-patch+json", change()), (JSON, change())])
            .example(&[json!({"status": "paused"}), json!({"name": null})])
            .answers(OK, "Changed.", subscription(), &WRITTEN)
            .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            Method::DELETE,
            &path,
            CHANGING,
            subscriptions::delete,
            of_one(
                "deleteSubscription",
                "Deletes a subscription. Its connections end on every node.",
            )
            .conditional()
            .answers_with(
                StatusCode::NO_CONTENT,
                "Deleted.",
                &[],
                &["Tidegate-Applied"],
            ),
        ),
    ]
}

/// Returns the calls on one subscription, for a path that names it.
pub(crate) fn one_subscription() -> MethodRouter<AppState> {
    let path = below("/subscriptions/{id}");
    let calls = one_subscription_calls().into_iter();
    let of_it = calls.filter(|call| call.path == path);
    of_it.fold(MethodRouter::new(), |all, call| all.merge(call.route))
}

fn of_one(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "subscriptions", summary)
        .with_id(Kind::SubscriptionNotFound)
        .uses_database()
}

fn nested_calls(limits: &Limits) -> Vec<Call> {
    vec![
        call(
            GET,
            &below("/subscriptions/{id}/events"),
            RECEIVING,
            stream::open,
            of_one("receiveEvents", "Streams matching events over a WebSocket or as server-sent events, or lists past matches.")
                .description(
                    "A request to upgrade opens a WebSocket, and `Accept: text/event-stream` opens server-sent events. Both take \
                     `after`, `since` and `onGap`. Any other request gets a page of stored events; it takes `after`, `before`, \
                     `order` and `limit`. A page's `nextCursor` belongs to pages. Its `cursor` belongs to streams: a stream with \
                     `after` that cursor brings what the pages do not show. If server-sent events are refused for a while (503), \
                     the answer is 200 with `retry` and one `ended`, because any other status ends a browser's `EventSource` for \
                     good.",
                )
                .query("after", text(), "Continue after this cursor.")
                .query("since", json!({"type": "string", "format": "date-time"}), "Streams: start at this time.")
                .query("onGap", one_of(&["close"]), "Streams: end with `resync` instead of sending `gap`.")
                .query("before", text(), "Pages: before this cursor.")
                .query("order", one_of(&["asc", "desc"]), "Pages: oldest or newest first.")
                .query("limit", integer(1, limits.page_items), "Pages: the most items.")
                .query("lastEventId", text(), "Server-sent events: the same as the header `Last-Event-ID`, which wins.")
                .query("Last-Event-ID", text(), "Server-sent events: the same as `lastEventId`.")
                .query("_", text(), "Server-sent events: ignored. It makes an address unique.")
                .header("Last-Event-ID", text(), "Server-sent events: continue after this cursor. It wins over the query.")
                .answers_with(StatusCode::SWITCHING_PROTOCOLS, "A WebSocket. See `x-websocket`.", &[], &[])
                .answers_with(
                    OK,
                    "A page, or a stream: `event` is the type of a server message, `id` its cursor, and `data` its JSON.",
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
            SEEING,
            matching::subscription,
            of_one("matchSubscription", "Tells whether an event would match a stored filter, and why.")
                .body(&[(JSON, event_body(&["event"]))])
                .example(&[json!({"event": demo_event()})])
                .answers(OK, "The result of the filter that delivers.", schema("SubscriptionMatch"), &[])
                .refuses(&[Kind::SubscriptionInvalid]),
        ),
        call(
            GET,
            &below("/subscriptions/{id}/connections"),
            SEEING,
            connections::list,
            of_one("listConnections", "Lists the connections on this node.")
                .answers(OK, "The connections.", schema("Connections"), &[]),
        ),
        call(
            GET,
            &below("/subscriptions/{id}/teardown"),
            SEEING,
            teardown::show,
            of_one("showTeardown", "Shows the state of each node after a delete within the last day.")
                .answers(OK, "The state of each node.", schema("Teardown"), &[])
                .refuses(&[Kind::NotDeleted]),
        ),
    ]
}

fn event_calls(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "events", summary).uses_database();
    let (event, plain) = (schema("CloudEvent"), schema("PlainEvent"));
    let many = |of: &Value| json!({"type": "array", "maxItems": limits.publish_items, "items": of});
    vec![
        call(
            POST,
            &below("/events"),
            PUBLISHING,
            events::publish,
            tagged("publishEvents", "Publishes one event or many.")
                .description(
                    "Takes CloudEvents in structured, batched and binary mode. In binary mode the attributes are `ce-` headers, and the \
                     body is the data, of any media type. In plain JSON, `specversion`, `id`, `source` and `time` may be left out.",
                )
                .repeatable()
                .body(&[
                    (JSON, json!({"oneOf": [plain, many(&plain)]})),
                    ("application/cloudevents+json", event.clone()),
                    ("application/cloudevents-batch+json", many(&event)),
                ])
                .example(&[demo_event(), full_event(), json!([full_event()])])
                .answers(StatusCode::ACCEPTED, "All stored.", schema("Published"), &["Tidegate-Applied"])
                .answers(StatusCode::MULTI_STATUS, "Some refused.", schema("Published"), &["Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            GET,
            &below("/events"),
            RECEIVING,
            events::list,
            tagged("listEvents", "Lists published events, oldest first.")
                .query("type", text(), "Only events of this type.")
                .query("source", text(), "Only events from this source.")
                .query("subject", text(), "Only events with this subject.")
                .query("filter", json!({"type": "string", "contentMediaType": JSON}), "Only events that match this filter.")
                .query("after", text(), "`nextCursor` of the previous page.")
                .query("limit", integer(1, limits.page_items), "The most items on the page.")
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
            RECEIVING,
            events::get,
            tagged("getEvent", "Shows an event.")
                .extended("x-example-id", json!("1"))
                .with_id(Kind::EventNotFound)
                .query("source", text(), "The event's source, if events from several sources have this id.")
                .answers(OK, "The event.", schema("Event"), &[])
                .refuses(&[Kind::AmbiguousEvent]),
        ),
    ]
}

/// Returns the schema of an object with exactly these fields, each a document.
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

fn matching_calls() -> Vec<Call> {
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

fn key_calls(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "access", summary).uses_database();
    let path = below("/keys");
    let one = below("/keys/{id}");
    let of_one = |id, summary| tagged(id, summary).with_id(Kind::KeyNotFound);
    vec![
        call(
            GET,
            &below("/whoami"),
            Need::Proof,
            whoami::show,
            Operation::new("whoAmI", "access", "Shows who the caller is.").answers(
                OK,
                "The caller.",
                schema("Caller"),
                &[],
            ),
        ),
        call(
            POST,
            &path,
            KEEPING_KEYS,
            keys::create,
            tagged("createKey", "Makes an API key, and shows it once.")
                .description(
                    "The key has no more than its maker: scopes, limits and the time until it expires, and the maker's tenant, \
                     policy and claims. Only operators choose another tenant. Not repeatable: no answer with a key is kept.",
                )
                .body(&[(JSON, schema("NewKey"))])
                .example(&[json!({"name": "partner", "scopes": ["events:read"]})])
                .answers(StatusCode::CREATED, "Made. `key` is shown this once.", schema("MadeKey"), &["Location", "Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            GET,
            &path,
            KEEPING_KEYS,
            keys::list,
            tagged("listKeys", "Lists keys in the order of their ids.")
                .query("limit", integer(1, limits.page_items), "The most items on the page.")
                .query("cursor", text(), "`nextCursor` of the previous page.")
                .query("tenant", text(), "Operators: only keys of this tenant.")
                .answers(OK, "A page.", schema("KeyPage"), &[])
                .refuses(&[Kind::BadCursor]),
        ),
        call(
            GET,
            &one,
            KEEPING_KEYS,
            keys::get,
            of_one("getKey", "Shows a key, without its text.").answers(OK, "The key.", schema("Key"), &[]),
        ),
        call(
            Method::PATCH,
            &one,
            KEEPING_KEYS,
            keys::patch,
            of_one("changeKey", "Changes the name and the limits of a key.")
                .body(&[("application/merge-patch+json", schema("KeyChange")), (JSON, schema("KeyChange"))])
                .example(&[json!({"name": "partner"}), json!({"networks": null})])
                .answers(OK, "Changed.", schema("Key"), &["Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            Method::DELETE,
            &one,
            KEEPING_KEYS,
            keys::delete,
            of_one("deleteKey", "Revokes a key. Its sockets end on every node.").answers_with(
                StatusCode::NO_CONTENT,
                "Revoked.",
                &[],
                &["Tidegate-Applied"],
            ),
        ),
    ]
}

fn revocation_calls(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "access", summary).uses_database();
    let path = below("/revocations");
    vec![
        call(
            POST,
            &path,
            KEEPING_KEYS,
            revocations::create,
            tagged("createRevocation", "Takes credentials away. Their sockets end on every node.")
                .description(
                    "It names tokens by `jti`, `sub` or `kid`, or all credentials of a `tenant`, and of those only the ones that \
                     `issuer`, `tenant` and `issuedBefore` leave. A caller with a tenant revokes its own tenant's alone. Without \
                     `expiresAt` it holds until it is deleted; it cannot end before tokens that are accepted today.",
                )
                .body(&[(JSON, schema("NewRevocation"))])
                .example(&[json!({"sub": "42", "reason": "has left"}), json!({"tenant": "acme"})])
                .answers(StatusCode::CREATED, "Made.", schema("Revocation"), &["Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase]),
        ),
        call(
            GET,
            &path,
            KEEPING_KEYS,
            revocations::list,
            tagged("listRevocations", "Lists revocations in the order of their ids.")
                .query("limit", integer(1, limits.page_items), "The most items on the page.")
                .query("cursor", text(), "`nextCursor` of the previous page.")
                .query("tenant", text(), "Operators: only revocations that name this tenant.")
                .answers(OK, "A page.", schema("RevocationPage"), &[])
                .refuses(&[Kind::BadCursor]),
        ),
        call(
            Method::DELETE,
            &below("/revocations/{id}"),
            KEEPING_KEYS,
            revocations::delete,
            tagged("deleteRevocation", "Takes a revocation back. Sockets that it has ended stay closed.")
                .with_id(Kind::RevocationNotFound)
                .answers_with(StatusCode::NO_CONTENT, "Taken back.", &[], &["Tidegate-Applied"]),
        ),
    ]
}

fn service_calls() -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "service", summary);
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

    /// Sends each call to these routes, and checks that its description lists the refusal.
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

    /// Returns routes that answer every call that changes nothing with more than the budget.
    fn too_large(layers: &Layers) -> Router {
        let budget = Budget::new(8 << 10, "tests", &Arc::default());
        let routes = Router::new().fallback(async |method: Method| {
            let bytes = if method.is_safe() { 8 << 10 } else { 0 };
            Body::from("x".repeat(bytes))
        });
        layers.wrap(routes, Some(budget), None)
    }

    #[tokio::test]
    async fn refusals_of_any_call_are_described_at_each() {
        let layers = Layers::new(&Config::default(), Arc::default(), CancellationToken::new());
        let coding = (header::TRANSFER_ENCODING, "gzip");
        check(&starting(&layers), None, Kind::NotReady).await;
        check(&starting(&layers), Some(coding), Kind::BadHeader).await;
        check(&full(&layers), None, Kind::Overloaded).await;
        check(&too_large(&layers), None, Kind::TooLarge).await;
    }
}
