//! The messages of the service to a client, and their encoding in each dialect.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{dialect::Dialect, ending::Ending, frame_kind::FrameKind, gap::GapReason};

/// One message before it is encoded.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The value of `type`.
    name: &'static str,
    /// The cursor of a client that has read it.
    cursor: Option<&'a str>,
    /// The time that a client should wait before it comes back.
    retry_after_ms: Option<u64>,
    json: String,
}

impl<'a> Message<'a> {
    fn new(name: &'static str, cursor: Option<&'a str>, json: String) -> Self {
        Self {
            name,
            cursor,
            retry_after_ms: None,
            json,
        }
    }

    /// Wraps an event, given as JSON.
    pub fn event(cursor: &'a str, event_json: &str) -> Self {
        let mut text = String::with_capacity(event_json.len() + cursor.len() + 40);
        text.push_str(r#"{"type":"event","cursor":""#);
        text.push_str(cursor);
        text.push_str(r#"","event":"#);
        text.push_str(event_json);
        text.push('}');
        Self::new("event", Some(cursor), text)
    }

    /// Takes an event that is the whole message and holds its cursor.
    pub fn bare_event(cursor: &'a str, event_json: String) -> Self {
        Self::new("event", Some(cursor), event_json)
    }

    /// Opens a connection.
    pub fn connected(
        connection_id: &str,
        subscription_json: &str,
        cursor: &'a str,
        recovered: bool,
    ) -> Self {
        let text = format!(
            r#"{{"type":"connected","connectionId":{},"subscription":{subscription_json},"cursor":"{cursor}","recovered":{recovered}}}"#,
            json!(connection_id)
        );
        Self::new("connected", Some(cursor), text)
    }

    /// Says that the subscription's document changed.
    pub fn updated(subscription_json: &str, cursor: &'a str) -> Self {
        let text = format!(
            r#"{{"type":"updated","subscription":{subscription_json},"cursor":"{cursor}"}}"#
        );
        Self::new("updated", Some(cursor), text)
    }

    /// Says that events between two cursors may be missing.
    pub fn gap(reason: GapReason, after: Option<&str>, cursor: &'a str) -> Self {
        let json =
            json!({"type": "gap", "reason": reason.token(), "after": after, "cursor": cursor});
        Self::new("gap", Some(cursor), json.to_string())
    }

    /// Precedes every close that the server begins. `cursor` is missing if the connection never had one. `detail`
    /// tells people what was wrong.
    pub fn ended(
        ending: Ending,
        retry_after_ms: Option<u64>,
        cursor: Option<&'a str>,
        detail: Option<&str>,
    ) -> Self {
        let mut json = json!({
            "type": "ended",
            "reason": ending.token(),
            "code": ending.code(),
            "retryAfterMs": retry_after_ms,
            "cursor": cursor,
        });
        if let Some(detail) = detail {
            json["detail"] = detail.into();
        }
        Self {
            retry_after_ms,
            ..Self::new("ended", cursor, json.to_string())
        }
    }

    /// Says that the caller's credential ends soon: at a time, and so many milliseconds from now.
    pub fn expiring(expires_at: Option<&str>, in_ms: u64, cursor: Option<&'a str>) -> Self {
        let json = json!({
            "type": "expiring",
            "expiresAt": expires_at,
            "inMs": in_ms,
            "cursor": cursor,
        });
        Self::new("expiring", cursor, json.to_string())
    }

    /// Answers a client's `refresh` that was taken. `expires_at` is the end of the new credential, if it has one.
    pub fn refreshed(expires_at: Option<&str>) -> Self {
        let json = json!({"type": "refreshed", "expiresAt": expires_at});
        Self::new("refreshed", None, json.to_string())
    }

    /// Answers a client's `refresh` that was refused, with a problem document.
    pub fn refused(problem: &Value) -> Self {
        let json = json!({"type": "refused", "problem": problem});
        Self::new("refused", None, json.to_string())
    }

    /// Answers a client's `ping`.
    pub fn pong() -> Self {
        Self::new("pong", None, r#"{"type":"pong"}"#.to_owned())
    }

    /// Says that everything up to a cursor was sent.
    pub fn at(cursor: &'a str) -> Self {
        let json = format!(r#"{{"type":"at","cursor":"{cursor}"}}"#);
        Self::new("at", Some(cursor), json)
    }

    /// Encodes the id of a server-sent event that is none: it moves the client's last id, and nothing else.
    pub fn bare_id(id: &str) -> Bytes {
        format!("id: {id}\n\n").into()
    }

    /// Opens a session for many subscriptions. `limits` are those that its client meets.
    pub fn welcome(connection_id: &str, cursor: &'a str, limits: &Value) -> Self {
        let json = json!({
            "type": "welcome",
            "connectionId": connection_id,
            "cursor": cursor,
            "limits": limits,
        });
        Self::new("welcome", Some(cursor), json.to_string())
    }

    /// Opens a channel under a handle. `subscription_json` is `null` if it has no document. `replaying`: it catches
    /// up first.
    pub fn connected_under(
        handle: &str,
        subscription_json: &str,
        cursor: &'a str,
        recovered: bool,
        replaying: bool,
        warnings: &[String],
    ) -> Self {
        let mut text = format!(
            r#"{{"type":"connected","handle":{},"subscription":{subscription_json},"cursor":"{cursor}","recovered":{recovered},"replaying":{replaying}"#,
            json!(handle)
        );
        if !warnings.is_empty() {
            text.push_str(r#","warnings":"#);
            text.push_str(&json!(warnings).to_string());
        }
        text.push('}');
        Self::new("connected", Some(cursor), text)
    }

    /// Says that the channel under a handle has caught up, and shares the session's order behind a cursor.
    pub fn live(handle: &str, cursor: &'a str) -> Self {
        let json = json!({"type": "live", "handle": handle, "cursor": cursor});
        Self::new("live", Some(cursor), json.to_string())
    }

    /// Answers a `subscribe` that was refused, with a problem document.
    pub fn refused_under(handle: &str, problem: &Value, retry_after_ms: Option<u64>) -> Self {
        let mut json = json!({"type": "refused", "handle": handle, "problem": problem});
        if let Some(retry_after_ms) = retry_after_ms {
            json["retryAfterMs"] = retry_after_ms.into();
        }
        Self::new("refused", None, json.to_string())
    }

    /// Names the handle of a message about one channel. `replay`: it catches up. `more`: what follows belongs to the same
    /// change.
    #[must_use]
    pub fn under(mut self, handle: &str, replay: bool, more: bool) -> Self {
        let begun = format!(r#"{{"type":"{}","#, self.name);
        let rest = self.json.strip_prefix(&begun).unwrap_or_default();
        let replay = if replay { r#""replay":true,"# } else { "" };
        let more = if more { r#""more":true,"# } else { "" };
        let handle = json!(handle);
        self.json = format!(r#"{begun}"handle":{handle},{replay}{more}{rest}"#);
        self
    }

    /// Encodes the message for the wire. Where it names handles, that is all but its head.
    pub fn encode(&self, dialect: Dialect) -> Bytes {
        match self.kind(dialect) {
            FrameKind::Tail(_) => Bytes::copy_from_slice(self.tail().as_bytes()),
            FrameKind::Whole if dialect.is_sse() => self.server_sent_event(self.cursor).into(),
            FrameKind::Whole => text_frame(self.json.as_bytes()),
        }
    }

    /// Encodes a whole message of a session for many subscriptions. `id`: the client's standing, as server-sent
    /// events tell it.
    pub fn encode_whole(&self, dialect: Dialect, id: Option<&str>) -> Bytes {
        if dialect.is_sse() {
            self.server_sent_event(id).into()
        } else {
            text_frame(self.json.as_bytes())
        }
    }

    /// Returns the part of the message that [`Message::encode`] gives.
    pub fn kind(&self, dialect: Dialect) -> FrameKind {
        if dialect.is_of_many() && matches!(self.name, "event" | "updated" | "gap") {
            FrameKind::Tail(self.name)
        } else {
            FrameKind::Whole
        }
    }

    /// Returns the JSON behind the `type`.
    fn tail(&self) -> &str {
        let begun = r#"{"type":"","#.len() + self.name.len();
        self.json.get(begun..).unwrap_or_default()
    }

    /// Encodes the message as a server-sent event (WHATWG HTML, section 9.2.6). The JSON has no line breaks, so
    /// the data is one line.
    fn server_sent_event(&self, id: Option<&str>) -> String {
        let mut text = String::with_capacity(self.json.len() + 160);
        let mut field = |name: &str, value: &str| {
            for part in [name, ": ", value, "\n"] {
                text.push_str(part);
            }
        };
        field("event", self.name);
        if let Some(id) = id {
            field("id", id);
        }
        if let Some(retry_after_ms) = self.retry_after_ms {
            field("retry", &retry_after_ms.to_string());
        }
        field("data", &self.json);
        text.push('\n');
        text
    }
}

/// Encodes an unmasked, unfragmented text frame (RFC 6455, section 5.2).
fn text_frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + FRAME_HEADER_BYTES);
    put_text_header(payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.freeze()
}

/// The most bytes of the header of a server's frame.
pub(super) const FRAME_HEADER_BYTES: usize = 10;

/// Writes the header of such a frame with so many bytes.
pub(super) fn put_text_header(len: usize, out: &mut BytesMut) {
    const FINAL_TEXT: u8 = 0x81;
    out.put_u8(FINAL_TEXT);
    match len {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn all() -> [Message<'static>; 18] {
        [
            Message::event("c", r#"{"id":"1"}"#),
            Message::connected("a\"b\nc", r#"{"id":"s"}"#, "c", true),
            Message::updated(r#"{"id":"s"}"#, "c"),
            Message::gap(GapReason::HistoryLost, None, "c"),
            Message::ended(Ending::Shutdown, Some(5), Some("c"), None),
            Message::ended(Ending::BadMessage, None, Some("c"), Some("a\nb")),
            Message::ended(Ending::Overloaded, Some(5), None, None),
            Message::expiring(Some("2030-01-31T12:00:00Z"), 30_000, Some("c")),
            Message::refreshed(None),
            Message::refused(&json!({"status": 401})),
            Message::pong(),
            Message::at("c"),
            Message::welcome("a\"b", "c", &json!({"handles": 1})),
            Message::connected_under("a\"b", "null", "c", true, false, &["a\nb".to_owned()]),
            Message::live("a\"b", "c"),
            Message::refused_under("a\"b", &json!({"status": 404}), Some(5)),
            Message::gap(GapReason::HistoryLost, None, "c").under("a\"b", true, true),
            Message::ended(Ending::Deleted, None, Some("c"), None).under("a\"b", false, false),
        ]
    }

    #[test]
    fn messages_are_json_that_says_its_type() {
        for message in all() {
            let value: serde_json::Value = serde_json::from_str(&message.json).unwrap();
            assert_eq!(value["type"], message.name);
            assert_eq!(value["cursor"].as_str(), message.cursor);
        }
    }

    #[test]
    fn a_message_is_its_head_and_its_tail() {
        for message in all() {
            let FrameKind::Tail(name) = message.kind(Dialect::Many) else {
                continue;
            };
            assert_eq!(
                message.encode(Dialect::Many),
                message.encode(Dialect::SseMany)
            );
            let whole = format!(r#"{{"type":"{name}",{}"#, message.tail());
            assert_eq!(whole, message.json);
        }
    }

    #[test]
    fn a_server_sent_event_has_one_line_a_field() {
        for message in all() {
            let text = message.server_sent_event(message.cursor);
            let (fields, nothing) = text.split_once("\n\n").unwrap();
            assert_eq!(nothing, "");
            let data = fields.lines().last().unwrap();
            assert_eq!(data.strip_prefix("data: "), Some(message.json.as_str()));
        }
        assert_eq!(
            Message::ended(Ending::Shutdown, Some(5), Some("c"), None).server_sent_event(Some("c")),
            "event: ended\nid: c\nretry: 5\ndata: {\"type\":\"ended\",\"reason\":\"shutdown\",\
             \"code\":1001,\"retryAfterMs\":5,\"cursor\":\"c\"}\n\n"
        );
    }
}
