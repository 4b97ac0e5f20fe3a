//! The call on the audit.

use super::{Call, GET, OK, call};
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{needs::Need, paths::below, problem::Kind},
        openapi::{Operation, integer, schema, text, time},
        resources::audit,
    },
};

pub(super) fn all(limits: &Limits) -> Vec<Call> {
    let list = Operation::new("listAudit", "access", "Lists who did what to keys, policies, revocations and subscriptions, newest first.")
        .uses_database()
        .description(
            "Each entry was written in one transaction with its act. `changed` names fields, never values. Entries are kept for \
             `audit.retention`.",
        )
        .query("act", text(), "Only this act, such as `key.delete`.")
        .query("actor", text(), "Only acts of the one with this id.")
        .query("target", text(), "Only acts on what has this id.")
        .query("tenant", text(), "Only acts on what is this tenant's.")
        .query("since", time(), "Only acts from then on.")
        .query("until", time(), "Only acts before.")
        .query("limit", integer(1, limits.page_items), "The most items on the page.")
        .query("cursor", text(), "`nextCursor` of the previous page.")
        .answers(OK, "A page.", schema("AuditPage"), &[])
        .refuses(&[Kind::BadCursor]);
    vec![call(
        GET,
        &below("/audit"),
        Need::AnyOf(&[Scope::Admin]),
        audit::list,
        list,
    )]
}
