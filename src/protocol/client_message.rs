//! The messages of a client to the service.

use std::fmt;

use serde::Deserialize;

use crate::position::Cursor;

/// Most characters of the fault of a client's message.
const FAULT_CHARS: usize = 200;

/// A message from a client.
#[derive(Debug)]
pub enum ClientMessage {
    /// Everything up to this cursor is handled.
    Ack(Cursor),
    /// A new credential of the same caller.
    Refresh(Token),
    /// A question for a sign of life.
    Ping,
}

/// The text of a credential. Never shown by `Debug`, nor by an error.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Token(Box<str>);

impl Token {
    /// Returns the text.
    pub fn into_text(self) -> Box<str> {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TryFrom<serde_json::Value> for Token {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text.into())),
            _ => Err("token: expected a string"),
        }
    }
}

impl ClientMessage {
    /// Reads a text message. The error is for people, and short however long the message is.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|error| shortened(&error))
    }

    fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Wire {
            Ack { cursor: String },
            Refresh { token: Token },
            Ping,
        }
        match serde_json::from_str(text).map_err(|error| error.to_string())? {
            Wire::Ping => Ok(Self::Ping),
            Wire::Refresh { token } => Ok(Self::Refresh(token)),
            Wire::Ack { cursor } => Cursor::parse(&cursor)
                .map(Self::Ack)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Returns a fault that is short, however long the message is that it quotes.
pub(super) fn shortened(error: &str) -> String {
    error.chars().take(FAULT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_messages_are_read_or_explained() {
        let ping = ClientMessage::parse(r#"{"type":"ping","x":1}"#);
        assert!(matches!(ping, Ok(ClientMessage::Ping)), "{ping:?}");
        let refresh = ClientMessage::parse(r#"{"type":"refresh","token":"abc"}"#);
        assert!(!format!("{refresh:?}").contains("abc"), "{refresh:?}");
        let Ok(ClientMessage::Refresh(token)) = refresh else {
            panic!("{refresh:?}");
        };
        assert_eq!(&*token.into_text(), "abc");
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"type":"nope"}"#,
            r#"{"type":"ack","cursor":"x"}"#,
            r#"{"type":"refresh"}"#,
        ] {
            assert!(ClientMessage::parse(bad).is_err(), "{bad}");
        }
        let number = ClientMessage::parse(r#"{"type":"refresh","token":1234}"#).unwrap_err();
        assert_eq!(number, "token: expected a string");
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
        let fault = ClientMessage::parse(&long).unwrap_err();
        assert!(fault.starts_with("unknown variant"), "{fault}");
        assert!(fault.chars().count() <= FAULT_CHARS);
    }
}
