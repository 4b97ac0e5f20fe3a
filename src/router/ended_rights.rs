//! The proof that nothing is left of a credential: what became of the sockets of a key that is gone, and of those that a
//! revocation names.
//!
//! A socket may outlive its session: the client does not read, or another reason has ended it a moment before. So it is the
//! sockets that are not closed yet that count, whatever has ended their sessions.

use std::time::Instant;

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
}

/// Rights that a load has found to be gone.
#[derive(Debug)]
pub(super) struct LostRights {
    keys: Vec<LostKey>,
    revocations: Vec<(RawDocumentBuf, Revocation)>,
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
    /// Returns the keys that a change takes away. It is not applied yet.
    pub(super) fn keys_lost_by(&self, change: &CredentialsChange) -> Vec<LostKey> {
        match change {
            CredentialsChange::Deleted(CredentialKind::Key, key) => {
                let DocumentKey::Text(id) = DocumentKey::of(key) else {
                    return Vec::new();
                };
                let known = self.credentials.read(|all| all.key(&id));
                let (holder, expires_at) = known.unzip();
                vec![LostKey {
                    id,
                    holder,
                    expires_at: expires_at.flatten(),
                }]
            }
            CredentialsChange::AllDeleted(CredentialKind::Key) => {
                self.credentials.read(|all| all_keys(all, |_| true))
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

    /// Returns the rights that are gone in what a load has found. It is not applied yet.
    pub(super) fn rights_lost_by(&self, loaded: &Credentials) -> LostRights {
        self.credentials.read(|before| LostRights {
            keys: all_keys(before, |id| !loaded.has_key(id)),
            // The first load shows no revocation that is new. There is no socket either.
            revocations: if self.loaded_at > Position::START {
                loaded.revocations_since(before)
            } else {
                Vec::new()
            },
            gone: gone_revocations(before, |id| loaded.revocation(id).is_none()),
        })
    }

    /// Tells what became of the sockets of all these. Their sessions have ended.
    pub(super) async fn publish_lost(&self, lost: LostRights, when: When) {
        self.publish_lost_keys(lost.keys, when).await;
        for (id, revocation) in lost.revocations {
            self.publish_revocation(&DocumentKey::of(&id), &revocation, when)
                .await;
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
        if keys.is_empty() {
            return;
        }
        let mut left = self.registry.sockets_left_by_key();
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
                closed: left.remove(&*key.id).unwrap_or_default().into(),
            };
            self.observers.publish(Observed::Ended(ended)).await;
        }
    }

    /// Tells what became of the sockets that a revocation names. Their sessions have ended.
    pub(super) async fn publish_revocation(
        &self,
        key: &DocumentKey,
        revocation: &Revocation,
        when: When,
    ) {
        let now = when.latest();
        let closed: Vec<Closed> = self.credentials.read(|all| {
            self.registry
                .sockets_left(|caller| all.names(revocation, caller, now))
        });
        let ended = EndedRight {
            right: Right::of(RightKind::Revocation, &key.to_string()),
            holder: Some(Holder {
                tenant: revocation.tenant().map(Into::into),
                owner: None,
            }),
            at: self.position,
            wall_time: when.seen(),
            ending: Ending::Forbidden,
            decided: Instant::now(),
            closed: closed.into(),
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

fn all_keys(all: &Credentials, is_lost: impl Fn(&str) -> bool) -> Vec<LostKey> {
    let keys = all.all_keys().filter(|(id, ..)| is_lost(id));
    let lost = keys.map(|(id, holder, expires_at)| LostKey {
        id: id.into(),
        holder: Some(holder),
        expires_at,
    });
    lost.collect()
}
