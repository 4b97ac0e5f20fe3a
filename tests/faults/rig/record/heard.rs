//! The messages that a client gets.

use std::fmt;

use serde_json::Value;
use tidegate::position::{Cursor, Position};

use super::Version;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Connected {
        at: Position,
        version: Version,
        recovered: bool,
    },
    Event {
        number: u64,
        at: Position,
    },
    Updated {
        version: Version,
        at: Position,
    },
    Gap {
        after: Option<Position>,
        upto: Position,
    },
    Ended {
        reason: String,
        at: Position,
    },
    /// The client knows that it has everything up to here, which may lie behind the last message.
    Everything {
        at: Position,
    },
    /// A message that could not be read.
    Odd(String),
}

/// Writes a message in a word or two, so that a whole connection fits a line.
impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { at, version, .. } => {
                write!(f, "connected v{} {at:?}", version.number)
            }
            Self::Event { number, .. } => write!(f, "{number}"),
            Self::Updated { version, at } => write!(f, "updated v{} {at:?}", version.number),
            Self::Gap { after, upto } => write!(f, "gap {after:?} to {upto:?}"),
            Self::Ended { reason, .. } => write!(f, "ended {reason}"),
            Self::Everything { at } => write!(f, "everything {at:?}"),
            Self::Odd(text) => write!(f, "odd {text}"),
        }
    }
}

/// Reads a message of `tidegate.v1`.
pub(crate) fn read_message(message: &Value) -> Option<Heard> {
    // `at` says where a quiet client stands, and nothing of what it received.
    if ["pong", "at"].contains(&message["type"].as_str().unwrap_or_default()) {
        return None;
    }
    let read = || {
        let at = position(&message["cursor"])?;
        Some(match message["type"].as_str()? {
            "connected" => Heard::Connected {
                at,
                version: Version::told(&message["subscription"])?,
                recovered: message["recovered"].as_bool()?,
            },
            "event" => Heard::Event {
                number: message["event"]["data"]["n"].as_u64()?,
                at,
            },
            "updated" => Heard::Updated {
                version: Version::told(&message["subscription"])?,
                at,
            },
            "gap" => Heard::Gap {
                after: position(&message["after"]),
                upto: at,
            },
            "ended" => Heard::Ended {
                reason: message["reason"].as_str()?.to_owned(),
                at,
            },
            _ => return None,
        })
    };
    Some(read().unwrap_or_else(|| Heard::Odd(message.to_string())))
}

/// Reads a message of `cloudevents.json`.
pub(crate) fn read_cloudevent(event: &Value) -> Heard {
    let read = || {
        Some(Heard::Event {
            number: event["data"]["n"].as_u64()?,
            at: position(&event["tidegatecursor"])?,
        })
    };
    read().unwrap_or_else(|| Heard::Odd(event.to_string()))
}

fn position(cursor: &Value) -> Option<Position> {
    Some(Cursor::parse(cursor.as_str()?).ok()?.position)
}
