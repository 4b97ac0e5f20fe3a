//! The messages of a client to the service.

use serde::Deserialize;

use crate::position::Cursor;

/// Most characters of the fault of a client's message.
const FAULT_CHARS: usize = 200;

/// A message from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    /// Everything up to this cursor is handled.
    Ack(Cursor),
    /// A question for a sign of life.
    Ping,
}

impl ClientMessage {
    /// Reads a text message. The error is for people, and short however long the message is.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|error| error.chars().take(FAULT_CHARS).collect())
    }

    fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Wire {
            Ack { cursor: String },
            Ping,
        }
        match serde_json::from_str(text).map_err(|error| error.to_string())? {
            Wire::Ping => Ok(Self::Ping),
            Wire::Ack { cursor } => Cursor::parse(&cursor)
                .map(Self::Ack)
                .map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_messages_are_read_or_explained() {
        assert_eq!(
            ClientMessage::parse(r#"{"type":"ping","x":1}"#),
            Ok(ClientMessage::Ping)
        );
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"type":"nope"}"#,
            r#"{"type":"ack","cursor":"x"}"#,
        ] {
            assert!(ClientMessage::parse(bad).is_err(), "{bad}");
        }
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
        let fault = ClientMessage::parse(&long).unwrap_err();
        assert!(fault.starts_with("unknown variant"), "{fault}");
        assert!(fault.chars().count() <= FAULT_CHARS);
    }
}
