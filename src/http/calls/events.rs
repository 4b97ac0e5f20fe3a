//! The calls on events.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    Call, GET, JSON, OK, POST, RECEIVING, call, counted,
    examples::{demo_event, full_event},
};
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{needs::Need, paths::below, problem::Kind, quotas},
        openapi::{Operation, integer, schema, text},
        resources::events,
    },
};

const PUBLISHING: Need = Need::AnyOf(&[Scope::EventsPublish]);

pub(super) fn all(limits: &Limits) -> Vec<Call> {
    let tagged = |id, summary| Operation::new(id, "events", summary).uses_database();
    let (event, plain) = (schema("CloudEvent"), schema("PlainEvent"));
    let many = |of: &Value| json!({"type": "array", "maxItems": limits.publish_items, "items": of});
    vec![
        counted(
            POST,
            &below("/events"),
            PUBLISHING,
            quotas::as_publishing,
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
