//! Keys of issuers that left, and what hangs on them still.

use std::collections::HashMap;

use bson::DateTime;

use super::{KeyPrint, KeysChange, TokenIdentity};

/// The time that sockets have to come back with a token by another key.
const NOTICE_MILLIS: i64 = 30_000;
/// The time after which nothing can hang on a key that left: new tokens by it are refused.
const REMEMBERED_MILLIS: i64 = 3_600_000;

/// Keys of issuers that left, with the ends of the tokens that they have signed.
#[derive(Default, Debug)]
pub(super) struct RetiredKeys(HashMap<(Box<str>, KeyPrint), DateTime>);

impl RetiredKeys {
    /// Applies a change of an issuer's keys.
    pub(super) fn apply(&mut self, change: &KeysChange, now: DateTime) {
        let now = now.timestamp_millis();
        self.0
            .retain(|_, end| end.timestamp_millis() > now - REMEMBERED_MILLIS);
        for print in &change.came {
            self.0.remove(&(change.issuer.clone(), *print));
        }
        for print in &change.left {
            let end = DateTime::from_millis(now + NOTICE_MILLIS);
            self.0.insert((change.issuer.clone(), *print), end);
        }
    }

    /// Returns the end of a token whose key has left.
    pub(super) fn end_of(&self, token: &TokenIdentity) -> Option<DateTime> {
        if self.0.is_empty() {
            return None;
        }
        let key = (token.issuer.clone(), token.signed_by);
        self.0.get(&key).copied()
    }
}
