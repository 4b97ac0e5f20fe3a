//! Lines, grouped into requests.

use std::time::Duration;

use super::lines::{Line, Lines};
use crate::{cli::failure::Failure, extjson};

/// The largest body of a request, unless one event alone is larger.
const BODY_BYTES: usize = 1 << 20;
/// The longest that a batch waits for more lines. What trickles out of a pipe is sent as it arrives.
const LINGER: Duration = Duration::from_millis(20);

/// Lines and the request that they make: a JSON array of the lines as they are, so that no number or spelling changes
/// on the way.
#[derive(Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    /// The number of the line of each event in the body.
    pub(super) numbers: Vec<usize>,
    /// The numbers of lines that are not JSON, and the reasons.
    pub(super) unreadable: Vec<(usize, String)>,
    /// Bytes that were read for the batch.
    pub(super) bytes: usize,
}

impl Batch {
    /// Whether the batch has nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Builds the request's body.
    pub(super) fn body(&self) -> Vec<u8> {
        [b"[", &self.body[..], b"]"].concat()
    }

    fn lines(&self) -> usize {
        self.numbers.len() + self.unreadable.len()
    }

    fn add(&mut self, line: &Line) {
        self.bytes += line.bytes;
        match extjson::parse_json(&line.text) {
            Ok(_) => {
                if !self.is_empty() {
                    self.body.push(b',');
                }
                self.body
                    .extend_from_slice(extjson::without_mark(&line.text));
                self.numbers.push(line.number);
            }
            Err(reason) => self.unreadable.push((line.number, reason)),
        }
    }
}

/// A stream of batches.
pub(super) struct Batches {
    lines: Lines,
    held_back: Option<Line>,
    events: usize,
}

impl Batches {
    /// Makes batches of at most `events` lines.
    pub(super) fn new(lines: Lines, events: usize) -> Self {
        Self {
            lines,
            held_back: None,
            events,
        }
    }

    /// Returns the next batch; `None` after the last line.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let mut batch = Batch::default();
        while batch.lines() < self.events {
            let Some(line) = self.line(batch.lines() == 0).await? else {
                break;
            };
            if !batch.is_empty() && batch.body.len() + line.text.len() > BODY_BYTES {
                self.held_back = Some(line);
                break;
            }
            batch.add(&line);
        }
        Ok((batch.lines() > 0).then_some(batch))
    }

    /// Returns the next line. It waits for the first of a batch, and only briefly for the others.
    async fn line(&mut self, first: bool) -> Result<Option<Line>, Failure> {
        if let Some(line) = self.held_back.take() {
            return Ok(Some(line));
        }
        let patience = if first { Duration::MAX } else { LINGER };
        let Ok(read) = tokio::time::timeout(patience, self.lines.next()).await else {
            return Ok(None);
        };
        read.map_err(|error| Failure::Failed(format!("the input cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: Vec<u8>, events: usize) -> Vec<Batch> {
        let reader = Box::new(std::io::Cursor::new(input));
        let mut batches = Batches::new(Lines::new(reader), events);
        let mut all = Vec::new();
        while let Some(batch) = batches.next().await.unwrap() {
            all.push(batch);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_sent_as_they_are_and_bad_ones_are_named() {
        let batches = all(b"{\"n\":1.50}\nnope\n\n{\"n\":2}\n{}".to_vec(), 3).await;
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].body(), b"[{\"n\":1.50},{\"n\":2}]");
        assert_eq!(batches[0].numbers, [1, 4]);
        assert_eq!(batches[0].unreadable[0].0, 2);
        assert_eq!(batches[1].numbers, [5]);
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_dropped() {
        let batches = all("\u{feff}{\"n\":1}\n\u{feff}{\"n\":2}".into(), 3).await;
        assert_eq!(batches[0].body(), b"[{\"n\":1},{\"n\":2}]");
    }

    #[tokio::test]
    async fn a_body_is_bounded_but_a_large_event_goes_alone() {
        let large = format!("\"{}\"\n", "x".repeat(BODY_BYTES));
        let batches = all(["{}\n", &large, "{}\n{}"].concat().into_bytes(), 500).await;
        let numbers: Vec<_> = batches.iter().map(|batch| batch.numbers.clone()).collect();
        assert_eq!(numbers, [vec![1], vec![2], vec![3, 4]]);
    }
}
