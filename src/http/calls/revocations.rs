//! The calls on revocations.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{Call, GET, JSON, OK, POST, call, keys::KEEPING_KEYS};
use crate::{
    config::Limits,
    http::{
        edge::{paths::below, problem::Kind},
        openapi::{Operation, integer, schema, text},
        resources::{revocations, teardown},
    },
};

pub(super) fn all(limits: &Limits) -> Vec<Call> {
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
                     `issuer`, `tenant` and `issuedBefore` leave. A caller with a tenant revokes its own tenant's alone. A `kid` or a whole \
                     `tenant` needs every scope that a tenant's credentials can have, and no tenant at all needs `admin`. Without \
                     `expiresAt` it holds until it is deleted; it cannot end before tokens that are accepted today.",
                )
                .body(&[(JSON, schema("NewRevocation"))])
                .example(&[json!({"sub": "42", "reason": "has left"}), json!({"tenant": "acme"})])
                .answers(StatusCode::CREATED, "Made.", schema("Revocation"), &["Tidegate-Applied"])
                .refuses(&[Kind::RefusedByDatabase, Kind::QuotaExceeded]),
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
        call(
            GET,
            &below("/revocations/{id}/teardown"),
            KEEPING_KEYS,
            teardown::of_revocation,
            tagged("showRevocationTeardown", "Shows the state of each node after a revocation was made.")
                .description("It is there while the revocation is, and for a day after that was taken back or has expired.")
                .with_id(Kind::RevocationNotFound)
                .answers(OK, "The state of each node.", schema("RevocationTeardown"), &[]),
        ),
    ]
}
