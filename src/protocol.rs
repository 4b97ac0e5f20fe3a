//! What is said on a socket: the frames, and the one table of endings.
//!
//! Pure text building. A frame is encoded once and shared by every connection that gets it; the
//! WebSocket header is part of the shared bytes, because a server's frames are not masked and so
//! are the same for all.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::json;

use crate::position::{Cursor, Position};

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
}

impl Dialect {
    /// How many there are; [`Dialect::index`] is below it.
    pub const COUNT: usize = 2;

    /// A number for tables by dialect.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name, on a socket that of its `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate.v1",
            Self::CloudEvents => "cloudevents.json",
        }
    }

    /// The dialect of a subprotocol's name.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Tidegate, Self::CloudEvents]
            .into_iter()
            .find(|d| d.name() == name)
    }
}

/// One message, ready for the wire and shared by all who get it.
#[derive(Debug)]
pub struct Frame {
    /// The WebSocket frame, header and payload.
    pub bytes: Bytes,
    /// Where a client stands that has read it.
    pub position: Position,
    /// When it was encoded, if it carries an event (else it is about the connection).
    pub event_at: Option<Instant>,
}

impl Frame {
    /// A text frame about the connection.
    pub fn notice(payload: &str, position: Position) -> Self {
        Self {
            bytes: text_frame(payload.as_bytes()),
            position,
            event_at: None,
        }
    }

    /// A text frame that carries an event.
    pub fn event(payload: &str, position: Position) -> Self {
        Self {
            event_at: Some(Instant::now()),
            ..Self::notice(payload, position)
        }
    }
}

/// Encodes an unmasked, unfragmented text frame (RFC 6455, section 5.2).
pub fn text_frame(payload: &[u8]) -> Bytes {
    const FINAL_TEXT: u8 = 0x81;
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(FINAL_TEXT);
    match payload.len() {
        len @ 0..=125 => out.put_u8(u8::try_from(len).unwrap_or(125)),
        len @ 126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
        }
        len => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
    out.extend_from_slice(payload);
    out.freeze()
}

/// The text of an `event` message around an event that is already JSON.
pub fn event_message(cursor: &str, event_json: &str) -> String {
    let mut text = String::with_capacity(event_json.len() + cursor.len() + 40);
    text.push_str(r#"{"type":"event","cursor":""#);
    text.push_str(cursor);
    text.push_str(r#"","event":"#);
    text.push_str(event_json);
    text.push('}');
    text
}

/// The first message on a connection.
pub fn connected_message(
    connection_id: &str,
    subscription_json: &str,
    cursor: &str,
    recovered: bool,
) -> String {
    format!(
        r#"{{"type":"connected","connectionId":{},"subscription":{subscription_json},"cursor":"{cursor}","recovered":{recovered}}}"#,
        json!(connection_id)
    )
}

/// Says that the subscription's document changed.
pub fn updated_message(subscription_json: &str, cursor: &str) -> String {
    format!(r#"{{"type":"updated","subscription":{subscription_json},"cursor":"{cursor}"}}"#)
}

/// Says that events between two cursors may be missing.
pub fn gap_message(reason: GapReason, after: Option<&str>, cursor: &str) -> String {
    json!({"type": "gap", "reason": reason.token(), "after": after, "cursor": cursor}).to_string()
}

/// Precedes every close that the server begins.
pub fn ended_message(ending: Ending, retry_after_ms: Option<u64>, cursor: &str) -> String {
    json!({
        "type": "ended",
        "reason": ending.token(),
        "code": ending.code(),
        "retryAfterMs": retry_after_ms,
        "cursor": cursor,
    })
    .to_string()
}

/// The answer to a client's `ping`.
pub const PONG_MESSAGE: &str = r#"{"type":"pong"}"#;

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
}

impl GapReason {
    /// The stable name.
    pub const fn token(self) -> &'static str {
        match self {
            Self::HistoryLost => "history_lost",
            Self::OtherDeployment => "other_deployment",
            Self::OversizedChange => "oversized_change",
            Self::UndecodableChange => "undecodable_change",
            Self::NotReplayable => "not_replayable",
        }
    }
}

/// What a client may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    /// Handled up to here.
    Ack(Cursor),
    /// Are you there.
    Ping,
}

impl ClientMessage {
    /// Reads a text message; the error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
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
    fn frame_headers_follow_the_three_length_forms() {
        for (len, header) in [
            (5usize, vec![0x81, 5]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text_frame(&vec![b'x'; len]);
            assert_eq!(&frame[..header.len()], &header[..]);
            assert_eq!(frame.len(), header.len() + len);
        }
    }

    #[test]
    fn messages_are_json() {
        let texts = [
            event_message("c", r#"{"id":"1"}"#),
            connected_message("a\"b", r#"{"id":"s"}"#, "c", true),
            updated_message(r#"{"id":"s"}"#, "c"),
            gap_message(GapReason::HistoryLost, None, "c"),
            ended_message(Ending::Shutdown, Some(5), "c"),
            PONG_MESSAGE.to_owned(),
        ];
        for text in texts {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(value["type"].is_string(), "{text}");
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
    }
}
