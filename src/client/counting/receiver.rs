//! One socket's bytes: messages are counted, a few of them timed, and pings answered.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::net::TcpStream;

use super::{
    frames::{Frame, Frames},
    samples::{now_micros, sent_micros},
    socket::{self, SocketEnd},
    tally::Tally,
};

pub(super) const TEXT: u8 = 1;
const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_PAYLOAD_BYTES: usize = 125;

/// One socket's side of the count.
pub struct Receiver {
    frames: Frames,
    tally: Arc<Tally>,
    seen: u64,
    samples: Vec<u32>,
}

/// The yield of one read.
#[derive(Default)]
struct Read {
    messages: u64,
    bytes: u64,
    close: Option<SocketEnd>,
}

impl Receiver {
    /// Makes the receiver of one socket. `number` tells sockets apart, so that they do not all sample the same
    /// messages.
    pub fn new(tally: Arc<Tally>, number: u64) -> Self {
        Self {
            frames: Frames::default(),
            tally,
            seen: number,
            samples: Vec::new(),
        }
    }

    /// Reads a socket to its end. `first` has the bytes that came with the answer to the handshake.
    pub async fn read(mut self, stream: TcpStream, first: Vec<u8>) -> SocketEnd {
        if let Err(end) = self.take(&first, &mut Vec::new()) {
            return end;
        }
        socket::pump(stream, |bytes, answer| self.take(bytes, answer)).await
    }

    /// Takes the bytes of a read, and puts into `answer` what is to be sent for them.
    fn take(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Result<(), SocketEnd> {
        let (stride, now) = (self.tally.stride(), now_micros());
        let mut read = Read::default();
        let Self {
            frames,
            tally,
            seen,
            samples,
        } = self;
        frames
            .feed(bytes, |frame| match frame.opcode {
                TEXT if is_event(frame.payload) => {
                    read.messages += 1;
                    read.bytes += frame.size as u64;
                    *seen += 1;
                    if seen.is_multiple_of(stride) {
                        let sent = sent_micros(frame.payload);
                        samples.extend(sent.map(|sent| micros_between(sent, now)));
                    }
                }
                TEXT => other(tally, &frame),
                PING => pong(frame.payload, answer),
                CLOSE => read.close = Some(SocketEnd::of(frame.payload)),
                _ => {}
            })
            .map_err(|error| SocketEnd::Broken(error.to_string()))?;
        if read.messages > 0 {
            tally.messages.fetch_add(read.messages, Relaxed);
            tally.bytes.fetch_add(read.bytes, Relaxed);
            tally.last.fetch_max(now, Relaxed);
        }
        if !samples.is_empty() {
            tally.sample(samples);
            samples.clear();
        }
        read.close.map_or(Ok(()), Err)
    }
}

/// Whether a message is an event. Others begin with another type.
pub(super) fn is_event(payload: &[u8]) -> bool {
    !payload.starts_with(br#"{"type":""#) || payload.starts_with(br#"{"type":"event""#)
}

fn other(tally: &Tally, frame: &Frame<'_>) {
    if frame.payload.starts_with(br#"{"type":"connected""#) {
        tally.connected.fetch_add(1, Relaxed);
    } else if is_refusal(frame.payload) || frame.payload.starts_with(br#"{"type":"ended","handle""#)
    {
        tally.refused.fetch_add(1, Relaxed);
    } else if frame.payload.starts_with(br#"{"type":"gap""#) {
        tally.gaps.fetch_add(1, Relaxed);
    }
}

/// Whether a message refuses a handle for good: not one that may be asked for again.
fn is_refusal(payload: &[u8]) -> bool {
    const AGAIN: &[u8] = br#""retryAfterMs""#;
    let is_refused = payload.starts_with(br#"{"type":"refused""#);
    is_refused && payload.windows(AGAIN.len()).all(|part| part != AGAIN)
}

fn micros_between(sent: u64, now: u64) -> u32 {
    u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX)
}

/// Writes a pong as a client must send it: masked, here with zeros.
pub(super) fn pong(payload: &[u8], answer: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_BYTES)];
    let length = u8::try_from(payload.len()).unwrap_or(0);
    answer.extend([0x8a, 0x80 | length, 0, 0, 0, 0]);
    answer.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &str) -> Vec<u8> {
        let mut frame = vec![0x81, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload.as_bytes());
        frame
    }

    #[test]
    fn events_are_counted_and_timed_and_the_rest_is_told_apart() {
        let tally = Arc::new(Tally::default());
        let mut receiver = Receiver::new(Arc::clone(&tally), 0);
        let sent = now_micros() - 1_000;
        let bytes = [
            text(r#"{"type":"connected"}"#),
            text(&format!(r#"{{"type":"event","sent":{sent}}}"#)),
            text(r#"{"type":"gap"}"#),
            text(r#"{"type":"refused","handle":"1"}"#),
            text(r#"{"type":"refused","handle":"3","problem":{},"retryAfterMs":50}"#),
            text(r#"{"type":"ended","handle":"2"}"#),
        ]
        .concat();
        receiver.take(&bytes, &mut Vec::new()).unwrap();
        assert_eq!(tally.messages(), 1);
        assert_eq!(tally.connected.load(Relaxed), 1);
        assert_eq!(tally.gaps.load(Relaxed), 1);
        assert_eq!(tally.refused.load(Relaxed), 2);
        assert!(tally.samples().percentile(50).unwrap() >= 1_000);
    }

    #[test]
    fn a_ping_is_answered_and_a_close_ends() {
        let mut receiver = Receiver::new(Arc::default(), 0);
        let mut answer = Vec::new();
        receiver.take(&[0x89, 2, b'h', b'i'], &mut answer).unwrap();
        assert_eq!(answer, [0x8a, 0x82, 0, 0, 0, 0, b'h', b'i']);
        let close = receiver.take(&[0x88, 2, 0x0f, 0xa0], &mut answer);
        assert_eq!(close, Err(SocketEnd::Code(4_000)));
    }
}
