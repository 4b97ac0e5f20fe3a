//! What is said on a connection: the messages, and the one table of endings.
//!
//! Pure text building. A frame is encoded once and shared by every connection of its dialect that gets
//! it; a WebSocket header is part of the shared bytes, because a server's frames are not masked and so
//! are the same for all.

mod frame;
mod message;

use serde::Deserialize;

pub use self::{
    frame::{Begun, Frame},
    message::Message,
};
use crate::position::Cursor;

/// Why a connection ended. The token serves the `ended` frame, the close text and the metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// The client closed the socket in order.
    ClientLeft,
    /// This node stops.
    Shutdown,
    /// The client broke RFC 6455.
    ProtocolError,
    /// The client sent a binary message.
    Binary,
    /// The client sent text that is not UTF-8.
    NotUtf8,
    /// The client sent a message over the limit.
    TooBig,
    /// The socket broke; nothing could be said.
    ConnectionLost,
    /// A fault of ours in this connection.
    InternalError,
    /// This node cannot serve the connection now.
    Overloaded,
    /// The outbox was full while the socket refused bytes.
    SlowConsumer,
    /// No sign of life in time.
    HeartbeatMissed,
    /// Events are missing and the client asked to be closed then.
    Resync,
    /// The subscription was deleted.
    Deleted,
    /// The subscription was deleted after its `expiresAt`.
    Expired,
    /// The credential ran out.
    CredentialExpired,
    /// The credential does not allow this.
    Forbidden,
    /// The client sent a message that cannot be understood.
    BadMessage,
}

impl Ending {
    /// Every ending there is.
    pub const ALL: [Self; 17] = [
        Self::ClientLeft,
        Self::Shutdown,
        Self::ProtocolError,
        Self::Binary,
        Self::NotUtf8,
        Self::TooBig,
        Self::ConnectionLost,
        Self::InternalError,
        Self::Overloaded,
        Self::SlowConsumer,
        Self::HeartbeatMissed,
        Self::Resync,
        Self::Deleted,
        Self::Expired,
        Self::CredentialExpired,
        Self::Forbidden,
        Self::BadMessage,
    ];

    /// Close code, token, and whether a client should try again: the whole table in one place.
    const fn row(self) -> (u16, &'static str, bool) {
        match self {
            Self::ClientLeft => (1000, "client_left", false),
            Self::Shutdown => (1001, "shutdown", true),
            Self::ProtocolError => (1002, "protocol_error", false),
            Self::Binary => (1003, "binary", false),
            Self::ConnectionLost => (1006, "connection_lost", true),
            Self::NotUtf8 => (1007, "not_utf8", false),
            Self::TooBig => (1009, "too_big", false),
            Self::InternalError => (1011, "internal_error", true),
            Self::Overloaded => (1013, "overloaded", true),
            Self::SlowConsumer => (4000, "slow_consumer", true),
            Self::HeartbeatMissed => (4001, "heartbeat_missed", true),
            Self::Resync => (4002, "resync", true),
            Self::Deleted => (4500, "deleted", false),
            Self::Expired => (4501, "expired", false),
            Self::CredentialExpired => (4510, "credential_expired", false),
            Self::Forbidden => (4511, "forbidden", false),
            Self::BadMessage => (4520, "bad_message", false),
        }
    }

    /// The WebSocket close code (RFC 6455, section 7.4).
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The stable name.
    pub const fn token(self) -> &'static str {
        self.row().1
    }

    /// Whether the same request may succeed later.
    pub const fn retry(self) -> bool {
        self.row().2
    }

    /// The ending that stands behind a close code, as a client reads it.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.code() == code)
    }
}

/// How one connection wants its messages written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// `tidegate.v1`: every message is an object with a `type`.
    Tidegate,
    /// `cloudevents.json`: bare CloudEvents and nothing else.
    CloudEvents,
    /// Server-sent events: the messages of `tidegate.v1` as the events of an HTTP answer.
    Sse,
}

impl Dialect {
    /// How many there are; [`Dialect::index`] is below it.
    pub const COUNT: usize = Self::ALL.len();

    /// Every dialect there is.
    pub const ALL: [Self; 3] = [Self::Tidegate, Self::CloudEvents, Self::Sse];

    /// A number for tables by dialect.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether there are messages about the connection. Bare CloudEvents have no room for any.
    pub const fn has_messages(self) -> bool {
        !matches!(self, Self::CloudEvents)
    }

    /// The name, on a socket that of its `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate.v1",
            Self::CloudEvents => "cloudevents.json",
            Self::Sse => "sse",
        }
    }

    /// The dialect of a subprotocol's name.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Tidegate, Self::CloudEvents]
            .into_iter()
            .find(|d| d.name() == name)
    }
}

/// Why events may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapReason {
    /// The database no longer has the history that the feed needed.
    HistoryLost,
    /// The cursor was issued by another deployment.
    OtherDeployment,
    /// A change was too large for the change stream to carry.
    OversizedChange,
    /// A change could not be decoded.
    UndecodableChange,
    /// What was asked for lies before what can be replayed.
    NotReplayable,
    /// What was asked for lies before the subscription, which gets nothing of that time.
    BeforeSubscription,
}

impl GapReason {
    /// Every reason there is.
    pub const ALL: [Self; 6] = [
        Self::HistoryLost,
        Self::OtherDeployment,
        Self::OversizedChange,
        Self::UndecodableChange,
        Self::NotReplayable,
        Self::BeforeSubscription,
    ];

    /// The stable name.
    pub const fn token(self) -> &'static str {
        match self {
            Self::HistoryLost => "history_lost",
            Self::OtherDeployment => "other_deployment",
            Self::OversizedChange => "oversized_change",
            Self::UndecodableChange => "undecodable_change",
            Self::NotReplayable => "not_replayable",
            Self::BeforeSubscription => "before_subscription",
        }
    }

    /// Whether a connection of this dialect hears of it. One that has no messages is closed at a gap, and
    /// would come back for what was before its subscription with the same time for ever.
    pub const fn concerns(self, dialect: Dialect) -> bool {
        dialect.has_messages() || self.closes()
    }

    /// Whether it closes those that want that of a gap. Nothing that the subscription could have delivered is
    /// missing where a client asks for what was before it, and it would come back with the same time for ever.
    pub const fn closes(self) -> bool {
        !matches!(self, Self::BeforeSubscription)
    }
}

/// Characters that are told of what is wrong with a client's message.
const FAULT_CHARS: usize = 200;

/// What a client may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    /// Handled up to here.
    Ack(Cursor),
    /// Are you there.
    Ping,
}

impl ClientMessage {
    /// Reads a text message; the error is for people, and short whatever the message is.
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
    fn codes_and_tokens_are_unique_and_agree_on_retry() {
        for ending in Ending::ALL {
            let same_code = Ending::ALL
                .iter()
                .filter(|e| e.code() == ending.code())
                .count();
            let same_token = Ending::ALL
                .iter()
                .filter(|e| e.token() == ending.token())
                .count();
            assert_eq!((same_code, same_token), (1, 1), "{ending:?}");
            match ending.code() {
                4000..=4499 => assert!(ending.retry(), "{ending:?}"),
                4500..=4999 => assert!(!ending.retry(), "{ending:?}"),
                _ => {}
            }
        }
    }

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
