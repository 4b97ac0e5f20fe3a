//! The refusals of a client, with the exact answers; and the ends of its socket.

use serde_json::{Value, json};

use tidegate::position::{Cursor, DeploymentId};

use super::kit::{
    PROTOCOL, ahead_of, event, exact, open, refused, subscribe, tell, tell_anything, welcomed,
};
use crate::support::{Service, Socket};

const FAR: &str = "9999-01-01T00:00:00Z";

/// The faults in the fields of a `subscribe`, which are told together: the fields, and the pointer and the words of each.
type Invalid = (Value, Vec<(&'static str, &'static str)>);

/// Returns faults in fields that hold for all items of a message.
fn invalid_shared() -> Vec<Invalid> {
    let after = "must be a cursor, as a string";
    vec![
        (json!({"after": 5}), vec![("#/after", after)]),
        (json!({"after": null}), vec![("#/after", after)]),
        (
            json!({"since": 5}),
            vec![("#/since", "must be an RFC 3339 time")],
        ),
        (
            json!({"since": FAR, "after": "x"}),
            vec![("#/since", "cannot be combined with after")],
        ),
        (json!({"onGap": "close"}), vec![("#/onGap", "must be end")]),
        (
            json!({"onGap": true, "after": []}),
            vec![("#/onGap", "must be end"), ("#/after", after)],
        ),
    ]
}

/// Returns faults in the fields of one item.
fn invalid_items(id: &str) -> Vec<Invalid> {
    let unknown = "is unknown";
    vec![
        (
            json!({}),
            vec![("#/subscription", "is required, or filter")],
        ),
        (
            json!({"subscription": 5}),
            vec![("#/subscription", "must be an id")],
        ),
        (
            json!({"subscription": null}),
            vec![("#/subscription", "must be an id")],
        ),
        (
            json!({"subscription": id, "afetr": "x"}),
            vec![("#/afetr", unknown)],
        ),
        (
            json!({"subscription": id, "a/b~": 1, "x": 2}),
            vec![("#/x", unknown), ("#/a~1b~0", unknown)],
        ),
        (
            json!({"filter": {}, "name": "x"}),
            vec![("#/name", unknown)],
        ),
        (
            json!({"filter": {}, "durable": true}),
            vec![("#/durable", unknown)],
        ),
        (
            json!({"filter": {}, "subscription": id}),
            vec![("#/subscription", "cannot be combined with filter")],
        ),
        (
            json!({"filter": 5}),
            vec![("#/filter", "must be an object")],
        ),
        (
            json!({"filter": null}),
            vec![("#/filter", "is missing; {} matches everything")],
        ),
        (
            json!({"filter": {"a": {"$foo": 1}}}),
            vec![("#/filter/a/$foo", "$foo is not known as an operator.")],
        ),
        (
            json!({"filter": {}, "source": "orders"}),
            vec![("#/source", "must be \"events\"")],
        ),
        (
            json!({"filter": {}, "source": 5}),
            vec![("#/source", "must be \"events\"")],
        ),
    ]
}

/// Returns what is refused for another reason: the fields, and the status, the name, the title, the words, and the pointer
/// and the words of the fault, if there is one.
fn others(id: &str, ahead: &str) -> Vec<(Value, Value)> {
    let cursor = "the cursor is damaged: this service did not issue it";
    let bad_cursor = |detail: &str| {
        let kind = (400, "bad-cursor", "The cursor was not issued here");
        exact(kind, &format!("after: {detail}"), &[("#/after", detail)])
    };
    let bad_time = |detail: &str| {
        let kind = (400, "bad-parameter", "A query parameter cannot be used");
        exact(kind, &format!("since: {detail}"), &[("#/since", detail)])
    };
    let far = "is more than a minute ahead of the database's clock";
    let nobody = |id: &str| {
        let kind = (
            404,
            "subscription-not-found",
            "There is no such subscription",
        );
        exact(kind, &format!("there is no subscription {id:?}"), &[])
    };
    vec![
        (json!({"subscription": "nobody"}), nobody("nobody")),
        (json!({"subscription": ""}), nobody("")),
        (
            json!({"subscription": id, "after": "damaged"}),
            bad_cursor(cursor),
        ),
        (json!({"subscription": id, "after": ahead}), bad_cursor(far)),
        (
            json!({"subscription": id, "since": "yesterday"}),
            bad_time("must be an RFC 3339 time"),
        ),
        (
            json!({"subscription": id, "since": "2100-01-01T00:00:00Z"}),
            bad_time(far),
        ),
        (
            json!({"subscription": id, "since": FAR}),
            bad_time("is outside the range of cluster times"),
        ),
    ]
}

/// Returns the document of faults in fields.
fn invalid(faults: &[(&str, &str)]) -> Value {
    let kind = (
        422,
        "invalid-request",
        "The request was understood but refused",
    );
    let detail = match faults {
        [(pointer, words)] => format!("{pointer}: {words}"),
        many => format!("{} fields must be corrected", many.len()),
    };
    exact(kind, &detail, faults)
}

fn with_fields(mut message: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_subscribe_is_refused_and_the_socket_stays() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let (mut socket, welcome) = welcomed(&service).await;
    let ahead = ahead_of(&welcome["cursor"], 3_600);
    let mut cases = others(&id, &ahead);
    for (fields, faults) in invalid_shared() {
        let fields = with_fields(json!({"subscription": id}), &fields);
        cases.push((fields, invalid(&faults)));
    }
    for (fields, faults) in invalid_items(&id) {
        cases.push((fields, invalid(&faults)));
    }
    let mut wrong = Vec::new();
    for (fields, expected) in cases {
        let message = json!({"type": "subscribe", "handle": "h"});
        let answer = refused(&mut socket, with_fields(message, &fields)).await;
        if answer != expected {
            wrong.push(format!("{fields}:\n  {answer}\n  {expected}"));
        }
        // In the other form, it is the same.
        let (mut shared, mut item) = (json!({"type": "subscribe"}), json!({"handle": "h"}));
        for (name, value) in fields.as_object().unwrap() {
            let is_shared = ["after", "since", "onGap"].contains(&name.as_str());
            let to = if is_shared { &mut shared } else { &mut item };
            to[name] = value.clone();
        }
        shared["items"] = json!([item]);
        let answer = refused(&mut socket, shared).await;
        if answer != expected {
            wrong.push(format!("{fields} as an item:\n  {answer}\n  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // None of them has left anything behind.
    subscribe(&mut socket, "h", &id).await;
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["h"], 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_handle_is_refused_and_what_holds_for_all_items_refuses_all() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "h", &id).await;
    let kind = (409, "handle-in-use", "The handle is in use");
    let in_use = exact(kind, "the handle is in use on this socket", &[]);
    for wish in [
        json!({"subscription": id}),
        json!({"filter": {}}),
        json!({"subscription": 5}),
    ] {
        let again = with_fields(json!({"type": "subscribe", "handle": "h"}), &wish);
        assert_eq!(refused(&mut socket, again).await, in_use, "{wish}");
    }
    let items =
        json!([{"handle": "one", "subscription": id}, {"handle": "two", "subscription": id}]);
    for (name, faults) in [
        ("afetr", ("#/afetr", "is unknown")),
        ("filter", ("#/filter", "is unknown")),
    ] {
        let message = with_fields(
            json!({"type": "subscribe", "items": items}),
            &json!({name: {}}),
        );
        tell_anything(&mut socket, message).await;
        for handle in ["one", "two"] {
            let refused = socket.message().await;
            let expected =
                json!({"type": "refused", "handle": handle, "problem": invalid(&[faults])});
            assert_eq!(refused, expected);
        }
    }
    // `after` is no field of an item.
    let item = json!({"handle": "h2", "subscription": id, "after": "x"});
    tell_anything(&mut socket, json!({"type": "subscribe", "items": [item]})).await;
    let expected = json!({"type": "refused", "handle": "h2", "problem": invalid(&[("#/after", "is unknown")])});
    assert_eq!(socket.message().await, expected);
    let wish = json!({"type": "subscribe", "items": [
        {"handle": "one", "subscription": id}, {"handle": "one", "subscription": id},
        {"handle": "two", "subscription": "nobody"}]});
    tell(&mut socket, wish).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let message = socket.message().await;
        let status = message["problem"]["status"].as_u64().unwrap_or_default();
        answers.push((message["type"].clone(), message["handle"].clone(), status));
    }
    answers.sort_by_key(|(_, handle, status)| (handle.to_string(), *status));
    let expected = [
        ("connected", "one", 0),
        ("refused", "one", 409),
        ("refused", "two", 404),
    ];
    assert_eq!(
        answers,
        expected.map(|(kind, handle, status)| (json!(kind), json!(handle), status))
    );
    // Nothing else has happened to those that are open.
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["h", "one"], 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_no_handle_is_ignored() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let (mut socket, welcome) = welcomed(&service).await;
    let cursor = &welcome["cursor"];
    let foreign = Cursor::parse(cursor.as_str().unwrap()).unwrap().position;
    let foreign = foreign.cursor(DeploymentId([9; 6]));
    subscribe(&mut socket, "h", &id).await;
    for message in [
        json!({"type": "unsubscribe", "handle": "unknown"}),
        json!({"type": "ack", "handle": "unknown", "cursor": cursor}),
        // It is not durable.
        json!({"type": "ack", "handle": "h", "cursor": cursor}),
        json!({"type": "ack", "cursor": ahead_of(cursor, 5)}),
        json!({"type": "ack", "cursor": foreign}),
    ] {
        tell(&mut socket, message).await;
    }
    tell(&mut socket, json!({"type": "ping"})).await;
    assert_eq!(socket.message().await, json!({"type": "pong"}));
    service.publish("a", json!({"n": 0})).await;
    assert_eq!(event(&socket.message().await), (vec!["h"], 0));
    service.stop().await;
}

/// Messages that cannot be answered, each with the words of the end.
const UNANSWERABLE: [(&str, &str); 24] = [
    ("", ""),
    ("no JSON", ""),
    ("[]", "expected an object"),
    ("{}", "type: expected a string"),
    (r#"{"type":5}"#, "type: expected a string"),
    (r#"{"type":"nope"}"#, "unknown type \"nope\""),
    (
        r#"{"type":"subscribe","subscription":"a"}"#,
        "handle: is missing",
    ),
    (r#"{"type":"subscribe","handle":5}"#, HANDLE),
    (r#"{"type":"subscribe","handle":""}"#, HANDLE),
    (r#"{"type":"subscribe","handle":"a b"}"#, HANDLE),
    (r#"{"type":"subscribe","handle":"ä"}"#, HANDLE),
    (
        r#"{"type":"subscribe","handle":"12345678901234567890123456789012345678901234567890123456789012345"}"#,
        HANDLE,
    ),
    (
        r#"{"type":"subscribe","items":5}"#,
        "items: expected an array",
    ),
    (r#"{"type":"subscribe","items":[]}"#, "items: there is none"),
    (
        r#"{"type":"subscribe","items":[5]}"#,
        "items/0: expected an object",
    ),
    (
        r#"{"type":"subscribe","items":[{"handle":"a"},{"subscription":"b"}]}"#,
        "items/1/handle: is missing",
    ),
    (r#"{"type":"unsubscribe"}"#, "handle: is missing"),
    (r#"{"type":"unsubscribe","handle":5}"#, HANDLE),
    (r#"{"type":"ack"}"#, "missing field `cursor`"),
    (
        r#"{"type":"ack","cursor":"damaged"}"#,
        "the cursor is damaged: this service did not issue it",
    ),
    (
        r#"{"type":"ack","cursor":5}"#,
        "invalid type: integer `5`, expected a string",
    ),
    (
        r#"{"type":"ack","cursor":"damaged","handle":5}"#,
        "invalid type: integer `5`, expected a string",
    ),
    (r#"{"type":"refresh"}"#, "missing field `token`"),
    (
        r#"{"type":"refresh","token":5}"#,
        "token: expected a string",
    ),
];
const HANDLE: &str = "handle: expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_ends_the_socket() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    for (bad, words) in UNANSWERABLE {
        let mut socket = open(&service).await;
        subscribe(&mut socket, "h", &id).await;
        socket.say_anything(bad).await;
        let mut ended = socket.assert_ends(4520, "bad_message").await;
        assert!(ended["cursor"].take().is_string(), "{bad}");
        let detail = ended["detail"].clone();
        if words.is_empty() {
            // The words of the reader of JSON.
            assert!(
                detail
                    .as_str()
                    .is_some_and(|detail| detail.contains("column")),
                "{bad}: {detail}"
            );
        } else {
            assert_eq!(detail, words, "{bad}");
        }
        let expected = json!({"type": "ended", "reason": "bad_message", "code": 4520, "retryAfterMs": null,
            "cursor": null, "detail": detail});
        assert_eq!(ended, expected, "{bad}");
    }
    service
        .until("no handle is left", async || {
            service.count("tidegate_channels").await == 0
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_subprotocols_are_refused_before_the_upgrade() {
    let service = Service::start().await;
    for (offer, taken) in [
        (None, true),
        (Some("tidegate.many.v1"), true),
        (Some("graphql-ws, tidegate.many.v1"), true),
        (Some("tidegate.v1"), false),
        (Some("cloudevents.json"), false),
        (Some("tidegate.v1, cloudevents.json"), false),
    ] {
        let opened = Socket::open(service.address, "/api/v1/socket", offer).await;
        match opened {
            Ok(socket) if taken => {
                let expected = offer.map(|_| PROTOCOL);
                assert_eq!(socket.subprotocol.as_deref(), expected, "{offer:?}");
            }
            Err(tungstenite::Error::Http(answer)) if !taken => {
                assert_eq!(answer.status(), 400, "{offer:?}");
                let problem: Value =
                    serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
                let (name, words) = (
                    "Sec-WebSocket-Protocol",
                    "this socket speaks tidegate.many.v1 only",
                );
                let expected = json!({
                    "type": "/problems/bad-header", "title": "A header cannot be read", "status": 400,
                    "detail": format!("{name}: {words}"), "errors": [{"header": name, "detail": words}],
                });
                assert_eq!(problem, expected);
            }
            other => panic!("{offer:?}: {:?}", other.map(drop)),
        }
    }
    let (status, problem) = service.send("GET", "/socket", None).await;
    assert_eq!(
        (status, &problem["type"]),
        (426, &json!("/problems/upgrade-required"))
    );
    service.stop().await;
}
