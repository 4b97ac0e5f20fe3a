//! The end of the session's credential: the router sets it, and the session warns its client of it.
//!
//! It is looked at in every turn of the session, so it is not under the lock of the queue.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{Receiver, Sender, wake_receiver};

/// The end of a credential that does not end.
const NEVER: i64 = i64::MAX;

/// The end of a credential, in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct CredentialEnd(AtomicI64);

impl Default for CredentialEnd {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

impl Sender {
    /// Tells the session the end of its credential, in milliseconds since 1970; `None`: it has none.
    pub(crate) fn credential_ends(&self, millis: Option<i64>) {
        let millis = millis.unwrap_or(NEVER);
        if self.0.credential_end.0.swap(millis, Ordering::AcqRel) != millis {
            wake_receiver(self.0.lock());
        }
    }
}

impl Receiver {
    /// Returns the end of the session's credential, in milliseconds since 1970; `None`: it has none. A session that looks
    /// after it has registered to be woken misses no change.
    pub(crate) fn credential_end(&self) -> Option<i64> {
        let millis = self.0.credential_end.0.load(Ordering::Acquire);
        (millis != NEVER).then_some(millis)
    }
}
