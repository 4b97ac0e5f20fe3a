//! The calls on row policies.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{
    CREATED, Call, GET, JSON, OK, POST, WRITTEN, call,
    examples::{demo_policy, tenants_event},
};
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{needs::Need, paths::below, problem::Kind},
        openapi::{Operation, entity_tags, integer, schema, text},
        resources::policies,
    },
};

/// Callers who say what others see.
const RULING: Need = Need::AnyOf(&[Scope::Admin]);

pub(super) fn all(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "access", summary).uses_database();
    let of_one = |id, summary| tagged(id, summary).with_id(Kind::PolicyNotFound);
    let one = below("/policies/{id}");
    let policy = || schema("Policy");
    vec![
        call(
            GET,
            &below("/policies"),
            RULING,
            policies::list,
            tagged("listPolicies", "Lists policies in the order of their names.")
                .query("limit", integer(1, limits.page_items), "The most items on the page.")
                .query("cursor", text(), "`nextCursor` of the previous page.")
                .answers(OK, "A page.", schema("PolicyPage"), &[])
                .refuses(&[Kind::BadCursor]),
        ),
        call(
            GET,
            &one,
            RULING,
            policies::get,
            of_one("getPolicy", "Shows a policy.")
                .header("If-Match", entity_tags(), "Answer only if the entity tag is one of these.")
                .header("If-None-Match", entity_tags(), "Answer only if the entity tag is none of these.")
                .answers(OK, "The policy.", policy(), &["ETag"])
                .answers_with(StatusCode::NOT_MODIFIED, "Not modified.", &[], &["ETag"])
                .refuses(&[Kind::PreconditionFailed]),
        ),
        call(
            Method::PUT,
            &one,
            RULING,
            policies::put,
            of_one("putPolicy", "Creates a policy, or replaces it.")
                .description(
                    "It counts from its place in the feed, and for the past at once. Nothing is guessed: a field that is not known, \
                     or of a wrong type, is refused, and `errors` points to it. `warnings` say what is legal, and perhaps not meant.",
                )
                .conditional()
                .body(&[(JSON, schema("PolicyInput"))])
                .example(&[demo_policy()])
                .answers(OK, "Replaced.", policy(), &WRITTEN)
                .answers(StatusCode::CREATED, "Created.", policy(), &CREATED)
                .refuses(&[Kind::PolicyInvalid, Kind::RefusedByDatabase]),
        ),
        call(
            Method::DELETE,
            &one,
            RULING,
            policies::delete,
            of_one(
                "deletePolicy",
                "Deletes a policy. The connections that it narrows end on every node, and its callers see no event any more.",
            )
            .conditional()
            .answers_with(StatusCode::NO_CONTENT, "Deleted.", &[], &["Tidegate-Applied"]),
        ),
        call(
            POST,
            &below("/policies/{id}/match"),
            RULING,
            policies::dry_run,
            of_one("matchPolicy", "Tells whether a caller with these claims would receive an event, and why.")
                .description(
                    "`claims` are the caller's, `tenant` among them. With `filter`, the event must match it too. With `source`, the \
                     policy's entry for that source of live queries judges. Claims that do not satisfy the policy are no error: \
                     nothing matches, and `unsatisfied` says why.",
                )
                .body(&[(JSON, schema("PolicyTrial"))])
                .example(&[json!({"claims": {"tenant": "acme"}, "event": tenants_event(), "filter": {"type": "demo"}})])
                .answers(OK, "The result of the policy that narrows.", schema("PolicyMatch"), &[]),
        ),
    ]
}
