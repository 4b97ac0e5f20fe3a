//! Points in the feed's order, and the opaque cursors that clients keep.
//!
//! MongoDB's resume tokens are documented as comparable: their `_data` is a hex `KeyString` that begins
//! with the cluster time, the token's version and type, and the place within a transaction. Those
//! leading fields identify one change; what follows (collection, document key) adds length, not
//! order. A [`Position`] is therefore the first 24 bytes of a token: fixed in size, `Copy`, and
//! ordered like the tokens themselves. Resuming the feed uses the whole token, which is kept elsewhere.

use std::fmt;

use bson::{DateTime, Timestamp};
use data_encoding::BASE32HEX_NOPAD;

const POSITION_BYTES: usize = 24;
const DEPLOYMENT_BYTES: usize = 6;
const CURSOR_VERSION: u8 = 1;
/// The type byte that introduces a timestamp in a `KeyString`, and thus every resume token.
const KEYSTRING_TIMESTAMP: u8 = 0x82;
const RAW_CURSOR_BYTES: usize = 1 + DEPLOYMENT_BYTES + POSITION_BYTES + 4;

/// Returns the date of a cluster time, of which `seconds` is the time.
pub(crate) fn date_of(seconds: u32) -> DateTime {
    DateTime::from_millis(i64::from(seconds) * 1_000)
}

/// A point in the order of the feed. Comparing positions compares commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; POSITION_BYTES]);

impl Position {
    /// The position before all changes.
    pub const START: Self = Self([0; POSITION_BYTES]);

    /// Returns the position before all changes committed at `time`.
    pub fn at(time: Timestamp) -> Self {
        let mut bytes = [0; POSITION_BYTES];
        bytes[0] = KEYSTRING_TIMESTAMP;
        bytes[1..5].copy_from_slice(&time.time.to_be_bytes());
        bytes[5..9].copy_from_slice(&time.increment.to_be_bytes());
        Self(bytes)
    }

    /// Returns the position behind all changes committed at `time`, and before every later one.
    pub fn behind(time: Timestamp) -> Self {
        let mut bytes = Self::at(time).0;
        bytes[9..].fill(0xFF);
        Self(bytes)
    }

    /// Reads the `_data` of a resume token (hex text).
    pub fn from_token_data(data: &str) -> Result<Self, CursorError> {
        let mut bytes = [0; POSITION_BYTES];
        let text = data.as_bytes();
        if text.len() < 18 || !text.len().is_multiple_of(2) {
            return Err(CursorError::Damaged);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
        }
        if bytes[0] == KEYSTRING_TIMESTAMP {
            Ok(Self(bytes))
        } else {
            Err(CursorError::Damaged)
        }
    }

    /// Returns the first position behind this one, for a change that follows and has no readable token.
    #[must_use]
    pub fn next(self) -> Self {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (next, carries) = byte.overflowing_add(1);
            *byte = next;
            if !carries {
                break;
            }
        }
        Self(bytes)
    }

    /// Returns the cluster time of the commit.
    pub fn cluster_time(self) -> Timestamp {
        let word = |at: usize| {
            u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
        };
        Timestamp {
            time: word(1),
            increment: word(5),
        }
    }

    /// Formats the commit's time for people: to the second, with the increment within it.
    pub fn moment(self) -> String {
        let time = self.cluster_time();
        let date = date_of(time.time);
        match date.try_to_rfc3339_string() {
            Ok(text) => format!("{text}/{}", time.increment),
            Err(_) => format!("{}/{}", time.time, time.increment),
        }
    }

    /// Returns the opaque text that a client keeps for this position on `deployment`.
    pub fn cursor(self, deployment: DeploymentId) -> String {
        let mut text = String::with_capacity(BASE32HEX_NOPAD.encode_len(RAW_CURSOR_BYTES));
        self.write_cursor(deployment, &mut text);
        text
    }

    /// Appends the text that [`Position::cursor`] returns.
    pub fn write_cursor(self, deployment: DeploymentId, out: &mut String) {
        let mut raw = [0; RAW_CURSOR_BYTES];
        raw[0] = CURSOR_VERSION;
        raw[1..=DEPLOYMENT_BYTES].copy_from_slice(&deployment.0);
        raw[1 + DEPLOYMENT_BYTES..RAW_CURSOR_BYTES - 4].copy_from_slice(&self.0);
        let check = crc32fast::hash(&raw[..RAW_CURSOR_BYTES - 4]);
        raw[RAW_CURSOR_BYTES - 4..].copy_from_slice(&check.to_be_bytes());
        BASE32HEX_NOPAD.encode_append(&raw, out);
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.cluster_time();
        write!(f, "Position({}.{}", time.time, time.increment)?;
        for byte in &self.0[9..] {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ")")
    }
}

/// The id of one Tidegate deployment (one database on one cluster). Cursors of another one are not honoured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeploymentId(pub [u8; DEPLOYMENT_BYTES]);

/// A cursor that a client presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The deployment that issued it.
    pub deployment: DeploymentId,
    /// The position that it stands for.
    pub position: Position,
}

impl Cursor {
    /// Reads a cursor's text. Any text that [`Position::cursor`] did not issue is damaged.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let raw = BASE32HEX_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| CursorError::Damaged)?;
        if raw.len() != RAW_CURSOR_BYTES || raw[0] != CURSOR_VERSION {
            return Err(CursorError::Damaged);
        }
        let (body, check) = raw.split_at(RAW_CURSOR_BYTES - 4);
        if crc32fast::hash(body).to_be_bytes() != check {
            return Err(CursorError::Damaged);
        }
        let mut deployment = [0; DEPLOYMENT_BYTES];
        deployment.copy_from_slice(&body[1..=DEPLOYMENT_BYTES]);
        let mut position = [0; POSITION_BYTES];
        position.copy_from_slice(&body[1 + DEPLOYMENT_BYTES..]);
        Ok(Self {
            deployment: DeploymentId(deployment),
            position: Position(position),
        })
    }
}

/// The reason why a cursor or a resume token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CursorError {
    /// This service did not issue the text, or it was changed on the way.
    #[error("the cursor is damaged: this service did not issue it")]
    Damaged,
}

fn hex_digit(digit: u8) -> Result<u8, CursorError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(CursorError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: DeploymentId = DeploymentId([1, 2, 3, 4, 5, 6]);

    fn time(time: u32, increment: u32) -> Timestamp {
        Timestamp { time, increment }
    }

    #[test]
    fn the_next_position_lies_behind_and_before_every_other() {
        let at = |increment| Position::at(Timestamp { time: 5, increment });
        assert!(at(7) < at(7).next() && at(7).next() < at(7).next().next());
        let mut position = at(7);
        position.0[POSITION_BYTES - 1] = 0xFF;
        assert!(position < position.next() && position.next() < at(8));
    }

    #[test]
    fn a_moment_can_be_read() {
        let position = Position::at(time(1_795_964_848, 46));
        assert_eq!(position.moment(), "2026-11-29T15:07:28Z/46");
    }

    #[test]
    fn a_token_keeps_its_cluster_time() {
        let token = "8263F8AC1F000000022B022C0100296E5A1004";
        let position = Position::from_token_data(token).unwrap();
        assert_eq!(position.cluster_time(), time(0x63F8_AC1F, 2));
        assert!(position > Position::at(time(0x63F8_AC1F, 2)));
        assert!(position < Position::at(time(0x63F8_AC1F, 3)));
        let behind = Position::behind(time(0x63F8_AC1F, 2));
        assert!(position < behind && behind < Position::at(time(0x63F8_AC1F, 3)));
        assert_eq!(behind.cluster_time(), time(0x63F8_AC1F, 2));
    }

    #[test]
    fn a_cursor_with_any_character_changed_is_damaged() {
        let text = Position::at(time(7, 1)).cursor(HERE);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                Cursor::parse(&changed),
                Err(CursorError::Damaged),
                "{changed}"
            );
        }
        assert_eq!(Cursor::parse(""), Err(CursorError::Damaged));
        assert_eq!(Cursor::parse(&text[1..]), Err(CursorError::Damaged));
    }

    proptest! {
        #[test]
        fn cursors_sort_as_text_like_positions(a: [u8; 23], b: [u8; 23]) {
            let make = |tail: [u8; 23]| {
                let mut bytes = [KEYSTRING_TIMESTAMP; POSITION_BYTES];
                bytes[1..].copy_from_slice(&tail);
                Position(bytes)
            };
            let (a, b) = (make(a), make(b));
            prop_assert_eq!(a.cmp(&b), a.cursor(HERE).cmp(&b.cursor(HERE)));
            prop_assert_eq!(
                Cursor::parse(&a.cursor(HERE)),
                Ok(Cursor { deployment: HERE, position: a })
            );
        }

        #[test]
        fn parsing_any_text_does_not_panic(text: String) {
            let parsed = Cursor::parse(&text);
            prop_assert!(parsed.is_err());
            let token = Position::from_token_data(&text);
            prop_assert!(token.is_err() || text.len() >= 18);
        }
    }
}
