//! Frames of a WebSocket as a server sends them, told apart by their headers. Payloads are not decoded.

/// The longest payload. A server of events sends none beyond it, so it bounds what is kept of a frame.
const LONGEST_BYTES: usize = 64 << 20;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;

/// The error of bytes that are no WebSocket frame of a server.
#[derive(Debug, thiserror::Error)]
#[error("what came is no WebSocket frame of a server")]
pub(super) struct NoFrame;

/// One whole frame.
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
    /// Bytes of the whole frame, header included.
    pub(super) size: usize,
}

/// A cutter of bytes into frames. Between two reads it keeps at most the begin of one frame.
#[derive(Default)]
pub(super) struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    /// Adds bytes, and hands over each frame that is whole by now.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), NoFrame> {
        while !self.begun.is_empty() {
            let missing = match extent(&self.begun)? {
                None => 1,
                Some((_, end)) => end - self.begun.len(),
            };
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.begun.extend_from_slice(taken);
            bytes = rest;
            if let Some((frame, _)) = first(&self.begun)? {
                each(frame);
                self.begun.clear();
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
        while let Some((frame, rest)) = first(bytes)? {
            each(frame);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

/// Returns the first frame and the bytes behind it, if it is whole.
fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, NoFrame> {
    let Some((start, size)) = extent(bytes)? else {
        return Ok(None);
    };
    let Some(payload) = bytes.get(start..size) else {
        return Ok(None);
    };
    let opcode = bytes[0] & OPCODE;
    let frame = Frame {
        opcode,
        payload,
        size,
    };
    Ok(Some((frame, &bytes[size..])))
}

/// Returns the start and the end of the first frame's payload (RFC 6455, section 5.2), once its header is there.
fn extent(bytes: &[u8]) -> Result<Option<(usize, usize)>, NoFrame> {
    let (start, length) = match bytes {
        [_, length, ..] if length & MASKED != 0 => return Err(NoFrame),
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [_, 127, rest @ ..] if rest.len() >= 8 => {
            let length = rest
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            (10, usize::try_from(length).map_err(|_| NoFrame)?)
        }
        [_, 126 | 127, ..] | [] | [_] => return Ok(None),
        [_, length, ..] => (2, usize::from(*length)),
    };
    if length > LONGEST_BYTES {
        return Err(NoFrame);
    }
    Ok(Some((start, start + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match payload.len() {
            length @ 0..126 => bytes.push(u8::try_from(length).unwrap()),
            length @ 126..65_536 => {
                bytes.push(126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_found_wherever_the_reads_end() {
        let lengths = [0, 1, 125, 126, 300, 65_535, 65_536, 5];
        let stream: Vec<u8> = lengths
            .iter()
            .flat_map(|length| frame(&vec![b'x'; *length]))
            .collect();
        for step in [1, 2, 3, 7, 127, 4_096, stream.len()] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for part in stream.chunks(step) {
                frames
                    .feed(part, |frame| found.push(frame.payload.len()))
                    .unwrap();
            }
            assert_eq!(found, lengths, "in steps of {step}");
        }
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for bytes in [
            &[0x81, 0x81, 0, 0, 0, 0, 0][..],
            &[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(Frames::default().feed(bytes, |_| ()).is_err());
        }
    }
}
