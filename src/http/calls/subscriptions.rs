//! The calls on subscriptions.

use axum::{
    http::{Method, StatusCode},
    routing::MethodRouter,
};
use serde_json::json;

use super::{
    CREATED, Call, GET, JSON, OK, POST, RECEIVING, WRITTEN, call, counted,
    examples::{demo, demo_event},
    matching::event_body,
};
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{AppState, needs::Need, paths::below, problem::Kind},
        openapi::{Operation, entity_tags, integer, one_of, schema, socket, text},
        resources::{connections, matching, subscriptions, teardown},
        stream,
    },
};

/// Callers who see subscriptions.
const SEEING: Need = Need::AnyOf(&[
    Scope::SubscriptionsOwn,
    Scope::SubscriptionsRead,
    Scope::SubscriptionsWrite,
]);
/// Callers who make and change subscriptions.
const CHANGING: Need = Need::AnyOf(&[Scope::SubscriptionsOwn, Scope::SubscriptionsWrite]);

pub(super) fn all(limits: &Limits) -> Vec<Call> {
    let mut all = collection_calls(limits);
    all.extend(one_subscription_calls());
    all.extend(nested_calls(limits));
    all
}

fn collection_calls(limits: &Limits) -> Vec<Call> {
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
            .refuses(&[Kind::RefusedByDatabase, Kind::Conflict, Kind::QuotaExceeded]),
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
                json!({"type": "boolean"}),
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
            .refuses(&[Kind::RefusedByDatabase, Kind::QuotaExceeded]),
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
        counted(
            GET,
            &below("/subscriptions/{id}/events"),
            RECEIVING,
            stream::counts,
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
                .query("ticket", text(), "Streams: a ticket (`POST /tickets`) in place of another credential.")
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
                    Kind::QuotaExceeded,
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
