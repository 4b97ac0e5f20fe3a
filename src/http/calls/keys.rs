//! The calls on callers and keys.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{Call, GET, JSON, OK, POST, call};
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{needs::Need, paths::below, problem::Kind},
        openapi::{Operation, integer, schema, text},
        resources::{keys, teardown, tickets, whoami},
    },
};

pub(super) const KEEPING_KEYS: Need = Need::AnyOf(&[Scope::KeysWrite]);
const RECEIVING: Need = Need::UnderPolicy(&[Scope::EventsRead]);

pub(super) fn all(limits: &Limits) -> Vec<Call> {
    let mut all = of_callers();
    all.extend(of_keys(limits));
    all
}

fn tagged(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "access", summary).uses_database()
}

fn of_callers() -> Vec<Call> {
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
            &below("/tickets"),
            RECEIVING,
            tickets::create,
            tagged("createTicket", "Makes a ticket, with which a browser opens one stream.")
                .description(
                    "A WebSocket or an `EventSource` of a page cannot set a header. A ticket in its address stands for the caller, \
                     for these subscriptions, once and soon. `url` is the address below the service's own, for a ticket for one \
                     `subscription`. Not repeatable: no answer with a ticket is kept.",
                )
                .body(&[(JSON, schema("NewTicket"))])
                .example(&[json!({"subscription": "large"})])
                .answers(StatusCode::CREATED, "Made. `ticket` is shown this once.", schema("Ticket"), &[])
                .refuses(&[Kind::SubscriptionNotFound]),
        ),
    ]
}

fn of_keys(limits: &Limits) -> Vec<Call> {
    let path = below("/keys");
    let one = below("/keys/{id}");
    let of_one = |id, summary| tagged(id, summary).with_id(Kind::KeyNotFound);
    vec![
        call(
            POST,
            &path,
            KEEPING_KEYS,
            keys::create,
            tagged("createKey", "Makes an API key, and shows it once.")
                .description(
                    "The key has no more than its maker: scopes, limits and the time until it expires, and the maker's tenant, \
                     policy and claims. Only operators choose another tenant. With `certificate`, which is for operators, the key is \
                     for the holder of that client certificate, and has no text. Not repeatable: no answer with a key is kept.",
                )
                .body(&[(JSON, schema("NewKey"))])
                .example(&[json!({"name": "partner", "scopes": ["events:read"]})])
                .answers(StatusCode::CREATED, "Made. `key` is shown this once.", schema("MadeKey"), &["Location", "Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase, Kind::Conflict, Kind::QuotaExceeded]),
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
                .refuses(&[Kind::RefusedByDatabase, Kind::QuotaExceeded]),
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
        call(
            GET,
            &below("/keys/{id}/teardown"),
            KEEPING_KEYS,
            teardown::of_key,
            of_one("showKeyTeardown", "Shows the state of each node after a key was deleted within the last day.")
                .answers(OK, "The state of each node.", schema("KeyTeardown"), &[])
                .refuses(&[Kind::NotDeleted]),
        ),
    ]
}
