//! Any bytes from a client of a WebSocket, in pieces of any size: reading ends, no message is larger than
//! allowed, what goes back is bounded, and each text is a message or is refused.

#![no_main]

use std::io::{self, ErrorKind, Read, Write};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::protocol::ClientMessage;
use tungstenite::{
    Message,
    error::Error,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

/// As in `carrier/websocket.rs`, but for a smaller message.
const MESSAGE_BYTES: usize = 1024;
const READ_BUFFER_BYTES: usize = 1024;
const CONTROL_BYTES: usize = 4 * 1024;

struct Client<'a> {
    bytes: &'a [u8],
    piece: usize,
    refuse_next: bool,
    answered: usize,
}

impl Read for Client<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.refuse_next = !self.refuse_next;
        if self.refuse_next {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = self.piece.min(buf.len()).min(self.bytes.len());
        buf[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.answered += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [piece, bytes @ ..] = bytes else {
        return;
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(CONTROL_BYTES * 4)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    let mut codec = WebSocketContext::new(Role::Server, Some(config));
    let mut client = Client {
        bytes,
        piece: usize::from(*piece) + 1,
        refuse_next: false,
        answered: 0,
    };
    // Each byte is read once, and each read may be refused once before.
    for _ in 0..=4 * bytes.len() + 4 {
        match codec.read(&mut client) {
            Ok(Message::Text(text)) => {
                assert!(text.len() <= MESSAGE_BYTES);
                drop(ClientMessage::parse(&text));
            }
            Ok(Message::Binary(payload)) => assert!(payload.len() <= MESSAGE_BYTES),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                // A pong is no longer than its ping, a close no longer than its own.
                assert!(client.answered <= bytes.len() + 256);
                return;
            }
        }
    }
    panic!("it goes on for ever");
});
