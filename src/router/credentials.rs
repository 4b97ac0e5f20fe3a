//! The credentials of this node, as the router has applied them: it writes, and everyone else asks.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bson::DateTime;
use tokio::time::sleep;

use crate::access::{
    Caller, ClientCertificate, CredentialKind, Credentials, KeyText, Policies, Refusal,
};

/// A clock may be set meanwhile, so no end is waited for longer than this at once.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Waits until a time has come by this node's clock, but not for long; for ever if there is none.
pub(super) async fn near(end: Option<DateTime>) {
    let Some(end) = end else {
        return std::future::pending().await;
    };
    let left = end
        .timestamp_millis()
        .saturating_sub(DateTime::now().timestamp_millis());
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    sleep(left.min(LONGEST_SLEEP)).await;
}

/// The numbers of documents for which there is no room, by kind.
pub(crate) type Withheld = [usize; CredentialKind::ALL.len()];

/// The credentials as the router has applied them. Clones share them. Whoever holds the lock only looks something up,
/// and the router alone writes.
#[derive(Clone, Debug)]
pub(crate) struct SharedCredentials(Arc<RwLock<Credentials>>);

impl SharedCredentials {
    /// Shares these credentials.
    pub(super) fn new(credentials: Credentials) -> Self {
        Self(Arc::new(RwLock::new(credentials)))
    }

    /// Returns the policies as they are now. After a change it returns other ones.
    pub(crate) fn policies(&self) -> Arc<Policies> {
        self.read(|all| Arc::clone(all.policies()))
    }

    /// Returns the caller that a key proves now.
    pub(crate) fn authenticate(&self, key: &KeyText) -> Result<Caller, Refusal> {
        self.read(|all| all.authenticate(key, DateTime::now()))
    }

    /// Returns the caller that a client's certificate proves now.
    pub(crate) fn authenticate_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Caller, Refusal> {
        self.read(|all| all.authenticate_certificate(certificate, DateTime::now()))
    }

    /// Judges a caller that was authenticated before. Returns the end of its credential.
    pub(crate) fn judge(&self, caller: &Caller) -> Result<Option<DateTime>, Refusal> {
        self.read(|all| all.judge(caller, DateTime::now()))
    }

    /// Whether a key of this id is applied.
    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.read(|all| all.has_key(id))
    }

    /// Whether a key for this certificate is applied.
    pub(crate) fn has_key_for(&self, certificate: &ClientCertificate) -> bool {
        self.read(|all| all.has_key_for(certificate))
    }

    /// Returns the number of documents of each kind for which there is no room.
    pub(crate) fn withheld(&self) -> Withheld {
        self.read(|all| CredentialKind::ALL.map(|kind| all.room(kind).withheld()))
    }

    /// Looks something up.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Credentials) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something. For the router alone.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Credentials) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
