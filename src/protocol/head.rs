//! The heads of messages that name handles: the part that is a session's own, before what all sessions share.

use bytes::{Bytes, BytesMut};

use super::message::{FRAME_HEADER_BYTES, put_text_header};

/// Stands behind the tail of a server-sent event.
const END_OF_EVENT: &[u8] = b"\n\n";

/// The handles that a message is for.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// One, by name.
    Handle(&'a str),
    /// All of these, in order.
    Handles(&'a [&'a str]),
}

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The value of `type`.
    pub name: &'static str,
    /// The handles that it is for.
    pub to: To<'a>,
    /// True if the handle catches up.
    pub replay: bool,
    /// True if what follows belongs to the same change.
    pub more: bool,
}

impl Head<'_> {
    /// Encodes the head for a WebSocket. `tail_bytes` follow it.
    pub fn of_socket(&self, tail_bytes: usize) -> Bytes {
        let json = self.json();
        let mut out = BytesMut::with_capacity(json.len() + FRAME_HEADER_BYTES);
        put_text_header(json.len() + tail_bytes, &mut out);
        out.extend_from_slice(json.as_bytes());
        out.freeze()
    }

    /// Encodes the head for server-sent events. `id` is the client's standing. Also returns what follows the tail.
    pub fn of_stream(&self, id: Option<&str>) -> (Bytes, &'static [u8]) {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let head = format!("event: {}\n{id}data: {}", self.name, self.json());
        (head.into(), END_OF_EVENT)
    }

    /// Handles need no escapes in JSON, but those of server-sent events may be any ids.
    fn json(&self) -> String {
        let mut out = format!(r#"{{"type":"{}","#, self.name);
        match self.to {
            To::Handle(handle) => {
                out.push_str(r#""handle":"#);
                push_quoted(&mut out, handle);
            }
            To::Handles(handles) => {
                out.push_str(r#""to":["#);
                for (index, handle) in handles.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    push_quoted(&mut out, handle);
                }
                out.push(']');
            }
        }
        for (set, mark) in [
            (self.replay, r#","replay":true"#),
            (self.more, r#","more":true"#),
        ] {
            if set {
                out.push_str(mark);
            }
        }
        out.push(',');
        out
    }
}

/// Writes a handle as a JSON string.
fn push_quoted(out: &mut String, handle: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if handle.bytes().all(plain) {
        out.push('"');
        out.push_str(handle);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(handle).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_names_its_handles_and_its_marks() {
        let head = Head {
            name: "event",
            to: To::Handles(&["a", "b\"c"]),
            replay: true,
            more: true,
        };
        let json = r#"{"type":"event","to":["a","b\"c"],"replay":true,"more":true,"#;
        let socket = head.of_socket(3);
        assert_eq!(&socket[..2], [0x81, u8::try_from(json.len() + 3).unwrap()]);
        assert_eq!(&socket[2..], json.as_bytes());
        let updated = Head {
            name: "updated",
            to: To::Handle("a"),
            replay: false,
            more: false,
        };
        let (stream, end) = updated.of_stream(Some("c"));
        assert_eq!(
            stream,
            "event: updated\nid: c\ndata: {\"type\":\"updated\",\"handle\":\"a\","
        );
        assert_eq!(end, b"\n\n");
    }
}
