//! The proof that nothing is left of a credential: what became of the sockets of a key that is gone, and of those that a
//! revocation names.
//!
//! A socket may outlive its session: the client does not read, or another reason has ended it a moment before. So it is the
//! sockets that are not closed yet that count, whatever has ended their sessions. They are collected before anything is ended,
//! because a session that is told to end may have closed its socket a moment later.

use std::{collections::HashMap, time::Instant};

use bson::{DateTime, RawDocument, RawDocumentBuf};

use super::{
    Router,
    lifecycle::When,
    observe::{EndedRight, Observed},
    registry::Closed,
};
use crate::{
    access::{
        CredentialKind, Credentials, CredentialsChange, Holder, Revocation, Right, RightKind,
    },
    position::Position,
    protocol::Ending,
    subscription::DocumentKey,
};

/// A key whose document is gone.
#[derive(Debug)]
pub(super) struct LostKey {
    id: Box<str>,
    /// The holder; `None` if its document could not be read.
    holder: Option<Holder>,
    expires_at: Option<DateTime>,
    sockets: Vec<Closed>,
}

/// A revocation that is new.
#[derive(Debug)]
pub(super) struct NewRevocation {
    id: DocumentKey,
    tenant: Option<Box<str>>,
    /// The sockets of what it names.
    sockets: Vec<Closed>,
}

/// Rights that a load has found to be gone.
#[derive(Debug)]
pub(super) struct LostRights {
    keys: Vec<LostKey>,
    revocations: Vec<NewRevocation>,
    gone: Vec<GoneRevocation>,
}

/// A revocation whose document is gone. What it has ended stays so, and may be asked about.
#[derive(Debug)]
pub(super) struct GoneRevocation {
    right: Right,
    holder: Holder,
}

impl GoneRevocation {
    fn new(document: &RawDocument, tenant: Option<&str>) -> Self {
        Self {
            right: Right::of(
                RightKind::Revocation,
                &DocumentKey::of(document).to_string(),
            ),
            holder: Holder {
                tenant: tenant.map(Into::into),
                owner: None,
            },
        }
    }
}

impl Router {
    /// Returns the keys that a change takes away. To be called before it is applied.
    pub(super) fn keys_lost_by(&self, change: &CredentialsChange) -> Vec<LostKey> {
        match change {
            CredentialsChange::Deleted(CredentialKind::Key, key) => {
                let DocumentKey::Text(id) = DocumentKey::of(key) else {
                    return Vec::new();
                };
                let known = self.credentials.read(|all| all.key(&id));
                let (holder, expires_at) = known.unzip();
                let sockets = self.registry.sockets_of_key(&id);
                vec![LostKey {
                    id,
                    holder,
                    expires_at: expires_at.flatten(),
                    sockets,
                }]
            }
            CredentialsChange::AllDeleted(CredentialKind::Key) => {
                let sockets = self.registry.sockets_by_key();
                self.credentials
                    .read(|all| all_keys(all, sockets, |_| true))
            }
            _ => Vec::new(),
        }
    }

    /// Returns the revocations that a change takes back. It is not applied yet.
    pub(super) fn revocations_lost_by(&self, change: &CredentialsChange) -> Vec<GoneRevocation> {
        match change {
            CredentialsChange::Deleted(CredentialKind::Revocation, key)
            | CredentialsChange::Unseen {
                kind: CredentialKind::Revocation,
                key,
                found: None,
            } => self.credentials.read(|all| {
                let known = all.revocation(key);
                let gone = known.map(|one| GoneRevocation::new(key, one.tenant()));
                gone.into_iter().collect()
            }),
            CredentialsChange::AllDeleted(CredentialKind::Revocation) => {
                self.credentials.read(|all| gone_revocations(all, |_| true))
            }
            _ => Vec::new(),
        }
    }

    /// Returns the revocation that a change brings, if it names somebody. To be called before it is applied.
    pub(super) fn revocation_in(
        &self,
        change: &CredentialsChange,
        now: DateTime,
    ) -> Option<NewRevocation> {
        let (CredentialsChange::Stored(CredentialKind::Revocation, document)
        | CredentialsChange::Unseen {
            kind: CredentialKind::Revocation,
            found: Some(document),
            ..
        }) = change
        else {
            return None;
        };
        let revocation = Revocation::read(document)?;
        Some(self.new_revocation(DocumentKey::of(document), &revocation, now))
    }

    /// Returns the rights that are gone in what a load has found. To be called before it is applied.
    pub(super) fn rights_lost_by(&self, loaded: &Credentials) -> LostRights {
        let sockets = self.registry.sockets_by_key();
        let before = |all: &Credentials| {
            let keys = all_keys(all, sockets, |id| !loaded.has_key(id));
            let gone = gone_revocations(all, |id| loaded.revocation(id).is_none());
            (keys, loaded.revocations_since(all), gone)
        };
        let (keys, mut revocations, gone) = self.credentials.read(before);
        // The first load shows no revocation that is new. There is no socket either.
        if self.loaded_at == Position::START {
            revocations.clear();
        }
        let now = DateTime::now();
        let new = |(id, revocation): (RawDocumentBuf, Revocation)| {
            self.new_revocation(DocumentKey::of(&id), &revocation, now)
        };
        LostRights {
            keys,
            revocations: revocations.into_iter().map(new).collect(),
            gone,
        }
    }

    fn new_revocation(
        &self,
        id: DocumentKey,
        revocation: &Revocation,
        now: DateTime,
    ) -> NewRevocation {
        let sockets = self.credentials.read(|all| {
            let named = |caller: &_| all.names(revocation, caller, now);
            self.registry.sockets_of(named)
        });
        NewRevocation {
            id,
            tenant: revocation.tenant().map(Into::into),
            sockets,
        }
    }

    /// Tells what became of the sockets of all these. Their sessions have ended.
    pub(super) async fn publish_lost(&self, lost: LostRights, when: When) {
        self.publish_lost_keys(lost.keys, when).await;
        for revocation in lost.revocations {
            self.publish_revocation(revocation, when).await;
        }
        self.publish_gone(lost.gone).await;
    }

    /// Tells that these revocations were taken back, or have expired.
    pub(super) async fn publish_gone(&self, gone: Vec<GoneRevocation>) {
        for GoneRevocation { right, holder } in gone {
            let gone = Observed::RevocationGone(right, holder, self.position);
            self.observers.publish(gone).await;
        }
    }

    /// Tells what became of the sockets of keys that are gone. Their sessions have ended.
    pub(super) async fn publish_lost_keys(&self, keys: Vec<LostKey>, when: When) {
        for key in keys {
            let has_expired = key.expires_at.is_some_and(|end| end <= when.latest());
            let ended = EndedRight {
                right: Right::of(RightKind::Key, &key.id),
                holder: key.holder,
                at: self.position,
                wall_time: when.seen(),
                ending: if has_expired {
                    Ending::Expired
                } else {
                    Ending::Deleted
                },
                decided: Instant::now(),
                closed: key.sockets.into(),
            };
            self.observers.publish(Observed::Ended(ended)).await;
        }
    }

    /// Tells what became of the sockets that a revocation names. Their sessions have ended.
    pub(super) async fn publish_revocation(&self, revocation: NewRevocation, when: When) {
        let ended = EndedRight {
            right: Right::of(RightKind::Revocation, &revocation.id.to_string()),
            holder: Some(Holder {
                tenant: revocation.tenant,
                owner: None,
            }),
            at: self.position,
            wall_time: when.seen(),
            ending: Ending::Forbidden,
            decided: Instant::now(),
            closed: revocation.sockets.into(),
        };
        self.observers.publish(Observed::Ended(ended)).await;
    }
}

fn gone_revocations(
    all: &Credentials,
    is_gone: impl Fn(&RawDocument) -> bool,
) -> Vec<GoneRevocation> {
    let gone = all.all_revocations().filter(|(id, _)| is_gone(id));
    gone.map(|(id, tenant)| GoneRevocation::new(id, tenant))
        .collect()
}

/// Returns the keys that are lost, with their sockets.
fn all_keys(
    all: &Credentials,
    mut sockets: HashMap<Box<str>, Vec<Closed>>,
    is_lost: impl Fn(&str) -> bool,
) -> Vec<LostKey> {
    let keys = all.all_keys().filter(|(id, ..)| is_lost(id));
    let lost = keys.map(|(id, holder, expires_at)| LostKey {
        id: id.into(),
        holder: Some(holder),
        expires_at,
        sockets: sockets.remove(id).unwrap_or_default(),
    });
    lost.collect()
}
