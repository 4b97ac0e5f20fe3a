//! The calls that open a stream for many subscriptions.

use axum::http::StatusCode;

use super::{Call, GET, RECEIVING, counted};
use crate::http::{
    edge::{paths::below, problem::Kind},
    openapi::{Operation, socket_of_many, text},
    stream,
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
    ]
}
