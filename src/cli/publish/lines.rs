//! Numbered lines of a file or a pipe.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The longest line. A file without line breaks is the wrong input.
const LINE_BYTES: usize = 16 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The number of the line, from 1. Blank lines count.
    pub(super) number: usize,
    /// The text without white space around it.
    pub(super) text: Vec<u8>,
    /// Bytes that were read for the line.
    pub(super) bytes: usize,
}

/// A reader of lines.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Send + Unpin>,
    partial: Vec<u8>,
    number: usize,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn AsyncBufRead + Send + Unpin>) -> Self {
        Self {
            reader,
            partial: Vec::new(),
            number: 0,
        }
    }

    /// Returns the next line that is not blank. May be cancelled: what was read so far is kept.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let room = LINE_BYTES + 1 - self.partial.len();
            let mut bounded = (&mut self.reader).take(room as u64);
            bounded.read_until(b'\n', &mut self.partial).await?;
            if self.partial.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if self.partial.len() > LINE_BYTES {
                let text = format!("line {} is longer than {LINE_BYTES} bytes", self.number);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            let read = std::mem::take(&mut self.partial);
            let text = trimmed(&read, self.number);
            if !text.is_empty() {
                return Ok(Some(Line {
                    number: self.number,
                    text: text.to_vec(),
                    bytes: read.len(),
                }));
            }
        }
    }
}

fn trimmed(line: &[u8], number: usize) -> &[u8] {
    let line = match line.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if number == 1 => rest,
        _ => line,
    };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(input: &'static [u8], expected: &[(usize, &str)]) {
        let mut lines = Lines::new(Box::new(input));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((line.number, String::from_utf8(line.text).unwrap()));
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, t)| (*n, (*t).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn blank_lines_are_counted_and_skipped() {
        check(b"", &[]).await;
        check(b"{}\r\n\n  \n {} ", &[(1, "{}"), (4, "{}")]).await;
        check(b"\xEF\xBB\xBF{}\n", &[(1, "{}")]).await;
    }

    #[tokio::test]
    async fn a_line_that_arrives_in_pieces_survives_cancelled_reads() {
        use tokio::io::AsyncWriteExt as _;
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(Box::new(tokio::io::BufReader::new(reader)));
        writer.write_all(b"{\"a\"").await.unwrap();
        let cancelled = tokio::time::timeout(std::time::Duration::ZERO, lines.next()).await;
        assert!(cancelled.is_err());
        writer.write_all(b":1}\n").await.unwrap();
        let line = lines.next().await.unwrap().unwrap();
        assert_eq!((line.number, &*line.text), (1, &b"{\"a\":1}"[..]));
    }
}
