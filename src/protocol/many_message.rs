//! The messages of a client to the service on a socket for many subscriptions.
//!
//! A message is read in two steps. What makes it impossible to answer, a handle that cannot be used among it, is
//! found here, and ends the socket. All else that is wrong with a `subscribe` is refused later, item by item.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::client_message::{Token, shortened};
use crate::{extjson::parse_json, position::Cursor};

/// The most characters of a handle.
const HANDLE_CHARS: usize = 64;
/// The fields of a `subscribe` that hold for all of its items.
const SHARED: [&str; 3] = ["after", "since", "onGap"];

/// A message from a client.
#[derive(Debug)]
pub enum ManyMessage {
    /// It wants to hear of these.
    Subscribe(Asked),
    /// It wants to hear no more of this handle.
    Unsubscribe(Box<str>),
    /// Everything up to this cursor is handled: on one handle, or on all.
    Ack(Cursor, Option<Box<str>>),
    /// A new credential of the same caller.
    Refresh(Token),
    /// A question for a sign of life.
    Ping,
}

/// A `subscribe`.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The fields that hold for all items.
    pub shared: Map<String, Value>,
    /// The items, at least one.
    pub items: Vec<Wanted>,
}

/// One item of a `subscribe`.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The client's name for it.
    pub handle: Arc<str>,
    /// The other fields of the item.
    pub fields: Map<String, Value>,
}

/// Whether a text can be a handle.
pub fn usable_handle(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    (1..=HANDLE_CHARS).contains(&text.len()) && text.bytes().all(fits)
}

impl Wanted {
    /// Whether the client brings the filter, and there need be no subscription.
    pub fn is_adhoc(&self) -> bool {
        self.fields.contains_key("filter")
    }
}

impl ManyMessage {
    /// Reads a text message. The error is for people, and short however long the message is.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|error| shortened(&error))
    }

    fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Ack {
            cursor: String,
            handle: Option<Box<str>>,
        }
        #[derive(Deserialize)]
        struct Refresh {
            token: Token,
        }
        let value = parse_json(text.as_bytes())?;
        let Value::Object(mut fields) = value else {
            return Err("expected an object".to_owned());
        };
        let Some(Value::String(name)) = fields.remove("type") else {
            return Err("type: expected a string".to_owned());
        };
        match name.as_str() {
            "ping" => Ok(Self::Ping),
            "subscribe" => Asked::read(fields).map(Self::Subscribe),
            "unsubscribe" => {
                handle(&mut fields).map(|handle| Self::Unsubscribe(handle.as_ref().into()))
            }
            "ack" => {
                let ack: Ack = of(fields)?;
                let cursor = Cursor::parse(&ack.cursor).map_err(|error| error.to_string())?;
                Ok(Self::Ack(cursor, ack.handle))
            }
            "refresh" => of::<Refresh>(fields).map(|refresh| Self::Refresh(refresh.token)),
            other => Err(format!("unknown type {other:?}")),
        }
    }
}

impl Asked {
    /// Reads a `subscribe`, in either form, without its `type`.
    pub fn read(mut fields: Map<String, Value>) -> Result<Self, String> {
        let Some(items) = fields.remove("items") else {
            let handle = handle(&mut fields)?;
            let mut shared = Map::new();
            for name in SHARED {
                if let Some(value) = fields.remove(name) {
                    shared.insert(name.to_owned(), value);
                }
            }
            let items = vec![Wanted { handle, fields }];
            return Ok(Self { shared, items });
        };
        let Value::Array(items) = items else {
            return Err("items: expected an array".to_owned());
        };
        if items.is_empty() {
            return Err("items: there is none".to_owned());
        }
        let items = items.into_iter().enumerate().map(|(index, item)| {
            let Value::Object(mut fields) = item else {
                return Err(format!("items/{index}: expected an object"));
            };
            let handle = handle(&mut fields).map_err(|error| format!("items/{index}/{error}"))?;
            Ok(Wanted { handle, fields })
        });
        let items = items.collect::<Result<_, String>>()?;
        Ok(Self {
            shared: fields,
            items,
        })
    }
}

fn of<T: for<'a> Deserialize<'a>>(fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

/// Takes the handle out of a message or an item.
fn handle(fields: &mut Map<String, Value>) -> Result<Arc<str>, String> {
    match fields.remove("handle") {
        Some(Value::String(text)) if usable_handle(&text) => Ok(text.into()),
        Some(_) => Err(format!(
            "handle: expected 1 to {HANDLE_CHARS} of the characters A-Z a-z 0-9 . _ : -"
        )),
        None => Err("handle: is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_subscribe_are_read_alike() {
        let read = |text: &str| match ManyMessage::parse(text) {
            Ok(ManyMessage::Subscribe(asked)) => asked,
            other => panic!("{other:?}"),
        };
        let one =
            read(r#"{"type":"subscribe","handle":"a","subscription":"x","after":"c","nope":1}"#);
        let several = read(
            r#"{"type":"subscribe","after":"c","items":[{"handle":"a","subscription":"x","nope":1}]}"#,
        );
        for asked in [one, several] {
            assert_eq!(
                Value::Object(asked.shared),
                serde_json::json!({"after": "c"})
            );
            let [item] = asked.items.as_slice() else {
                panic!("{:?}", asked.items);
            };
            assert_eq!(&*item.handle, "a");
            let fields = serde_json::json!({"subscription": "x", "nope": 1});
            assert_eq!(Value::Object(item.fields.clone()), fields);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_explained() {
        for (bad, says) in [
            ("", "EOF"),
            ("[]", "expected an object"),
            ("{}", "type: expected a string"),
            (r#"{"type":5}"#, "type: expected a string"),
            (r#"{"type":"nope"}"#, "unknown type \"nope\""),
            (r#"{"type":"subscribe"}"#, "handle: is missing"),
            (
                r#"{"type":"subscribe","handle":""}"#,
                "handle: expected 1 to 64",
            ),
            (
                r#"{"type":"subscribe","handle":"a b"}"#,
                "handle: expected 1 to 64",
            ),
            (
                r#"{"type":"subscribe","handle":5}"#,
                "handle: expected 1 to 64",
            ),
            (
                r#"{"type":"subscribe","items":{}}"#,
                "items: expected an array",
            ),
            (r#"{"type":"subscribe","items":[]}"#, "items: there is none"),
            (
                r#"{"type":"subscribe","items":[1]}"#,
                "items/0: expected an object",
            ),
            (
                r#"{"type":"subscribe","items":[{"handle":"a"},{}]}"#,
                "items/1/handle: is missing",
            ),
            (r#"{"type":"unsubscribe"}"#, "handle: is missing"),
            (r#"{"type":"ack"}"#, "missing field `cursor`"),
            (r#"{"type":"ack","cursor":"x"}"#, "cursor"),
            (r#"{"type":"ack","cursor":5}"#, "invalid type"),
            (r#"{"type":"refresh"}"#, "missing field `token`"),
            (
                r#"{"type":"refresh","token":1234}"#,
                "token: expected a string",
            ),
        ] {
            let error = ManyMessage::parse(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
        assert!(ManyMessage::parse(&long).unwrap_err().chars().count() <= 200);
        assert!(usable_handle(&"x".repeat(64)) && !usable_handle(&"x".repeat(65)));
    }
}
