//! The calls that open a stream for many subscriptions.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;

use super::{Call, GET, POST, RECEIVING, counted};
use crate::{
    access::Quota,
    http::{
        edge::{paths::below, problem::Kind},
        openapi::{Operation, one_of, schema, socket_of_many, text},
        stream,
    },
};

pub(super) fn all() -> Vec<Call> {
    vec![
        counted(
            GET,
            &below("/socket"),
            RECEIVING,
            stream::counts,
            stream::many::open,
            Operation::new("openSocket", "subscriptions", "Opens a WebSocket for many subscriptions.")
                .description(
                    "The subprotocol is `tidegate.many.v1`. The client subscribes to what it wants with messages on the socket, each under a \
                     handle of its own choice.",
                )
                .query("ticket", text(), "A ticket (`POST /tickets`) in place of another credential.")
                .answers_with(StatusCode::SWITCHING_PROTOCOLS, "A WebSocket. See `x-websocket`.", &[], &[])
                .uses_database()
                .refuses(&[
                    Kind::BadParameter,
                    Kind::BadHeader,
                    Kind::Forbidden,
                    Kind::QuotaExceeded,
                    Kind::UpgradeRequired,
                ])
                .extended("x-websocket", socket_of_many()),
        ),
        counted(
            GET,
            &below("/stream"),
            RECEIVING,
            connects,
            stream::many::events::get,
            of_stream("streamSeveral", "Streams many subscriptions as server-sent events.")
                .query("subscription", text(), "A subscription. May be given several times. The handles are the ids.")
                .query("filter", text(), "A filter, as JSON, without a subscription. Its handle is `filter`.")
                .query("source", text(), "The source of the filter.")
                .query("after", text(), "Continue after this cursor.")
                .query("since", json!({"type": "string", "format": "date-time"}), "Start at this time.")
                .query("onGap", one_of(&["end"]), "End a handle instead of sending `gap`.")
                .query("ticket", text(), "A ticket (`POST /tickets`) in place of another credential."),
        ),
        counted(
            POST,
            &below("/stream"),
            RECEIVING,
            connects,
            stream::many::events::post,
            of_stream("streamAsked", "Streams what a `subscribe` in the body asks for, as server-sent events.")
                .body(&[("application/json", schema("StreamRequest"))])
                .example(&[json!({"items": [{"handle": "all", "filter": {}}]})]),
        ),
    ]
}

fn connects(_: &Request<Body>) -> Quota {
    Quota::ConnectsPerSecond
}

fn of_stream(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "subscriptions", summary)
        .query("lastEventId", text(), "The same as the header `Last-Event-ID`, which wins.")
        .query("Last-Event-ID", text(), "The same as `lastEventId`.")
        .query("_", text(), "Ignored. It makes an address unique.")
        .header("Last-Event-ID", text(), "Continue after this cursor. It wins over the rest of the request.")
        .answers_with(
            StatusCode::OK,
            "A stream: `event` is the type of a message, `data` its JSON, and `id` the lowest cursor at which a handle stands.",
            &[("text/event-stream", text())],
            &[],
        )
        .uses_database()
        .refuses(&[
            Kind::BadParameter,
            Kind::BadCursor,
            Kind::Forbidden,
            Kind::QuotaExceeded,
            Kind::SubscriptionNotFound,
            Kind::HandleInUse,
            Kind::InvalidRequest,
        ])
}
