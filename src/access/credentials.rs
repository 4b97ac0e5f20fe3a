//! All credentials, revocations and policies, as the feed has applied them.

use std::sync::Arc;

use bson::{DateTime, RawDocument, RawDocumentBuf};

use super::{
    Caller, ClientCertificate, Credential, CredentialKind, Holder, KeyText, KeysChange, Policies,
    Revocation, Revocations, StoredKey, TokenIdentity, keys::Keys, retired_keys::RetiredKeys,
    revocation::Facts, room::Room,
};

/// The reason why a credential does not stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No credential is this one, or its document cannot be used.
    #[error("the credential is not valid")]
    Unknown,
    /// It has ended.
    #[error("the credential has expired")]
    Expired,
    /// A revocation names it.
    #[error("the credential is revoked")]
    Revoked,
    /// It gives another caller, or fewer rights, than when it was used.
    #[error("the credential has changed")]
    Changed,
    /// This node does not hold all revocations, and one of the others may name it.
    #[error(
        "this node has no room for all revocations (limits.credentials_bytes), so it cannot say whether the credential stands"
    )]
    Undecided,
}

impl Refusal {
    /// Returns the outcome of a proof that is refused so, as metrics name it.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked | Self::Changed => "revoked",
            Self::Undecided => "undecided",
        }
    }
}

/// A change of a stored credential.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum CredentialsChange {
    /// A document was made or changed.
    Stored(CredentialKind, RawDocumentBuf),
    /// A document was changed, and it is not known how: its `_id`, and what was found under it later.
    Unseen {
        kind: CredentialKind,
        key: RawDocumentBuf,
        found: Option<RawDocumentBuf>,
    },
    /// A document was deleted: its `_id`, as a one-element document `{_id}`.
    Deleted(CredentialKind, RawDocumentBuf),
    /// A collection was dropped or renamed away.
    AllDeleted(CredentialKind),
}

/// The sessions whose callers have to be judged anew after a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Touched {
    /// Nobody's.
    Nobody,
    /// Those of one key.
    Key(Box<str>),
    /// Those of credentials that a revocation names.
    Named(Box<Revocation>),
    /// All.
    Everybody,
    /// Nobody's, but what subscriptions see is narrowed in another way.
    Policy(PolicyChange),
}

/// The subscriptions whose filters have to be narrowed anew after a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PolicyChange {
    /// The policy that they are under; `None`: any.
    pub name: Option<Box<str>>,
    /// True if the policy is gone.
    pub deleted: bool,
}

/// All credentials, revocations and policies, as the feed has applied them. The router alone changes it.
#[derive(Debug)]
pub(crate) struct Credentials {
    keys: Keys,
    revocations: Revocations,
    policies: Arc<Policies>,
    /// They come from the issuers, and not from the database.
    retired: RetiredKeys,
}

impl Credentials {
    /// Returns no credentials. `narrows` is false for a service that asks nobody for a proof: its policies do nothing.
    pub(crate) fn new(narrows: bool) -> Self {
        Self {
            keys: Keys::default(),
            revocations: Revocations::default(),
            policies: Arc::new(Policies::new(narrows)),
            retired: RetiredKeys::default(),
        }
    }

    /// Returns no credentials. Those of each kind have so many bytes of room.
    pub(crate) fn with_room(narrows: bool, bytes: usize) -> Self {
        let room = || Room::of(bytes);
        Self {
            keys: Keys::with_room(room()),
            revocations: Revocations::with_room(room()),
            policies: Arc::new(Policies::with_room(narrows, room())),
            retired: RetiredKeys::default(),
        }
    }

    /// Returns the room that the credentials of a kind have.
    pub(crate) fn room(&self, kind: CredentialKind) -> &Room {
        match kind {
            CredentialKind::Key => self.keys.room(),
            CredentialKind::Policy => self.policies.room(),
            CredentialKind::Revocation => self.revocations.room(),
        }
    }

    /// Returns the policies as they are now.
    pub(crate) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Applies a change. Returns whose sessions it may concern.
    pub(crate) fn apply(&mut self, change: &CredentialsChange) -> Touched {
        match change {
            CredentialsChange::Stored(CredentialKind::Key, document) => self.store_key(document),
            // It is gone until what was found is stored.
            CredentialsChange::Unseen { kind, key, .. } => {
                self.apply(&CredentialsChange::Deleted(*kind, key.clone()))
            }
            CredentialsChange::Deleted(CredentialKind::Key, key) => self.delete_key(key),
            CredentialsChange::AllDeleted(CredentialKind::Key) => {
                self.keys.clear();
                Touched::Everybody
            }
            CredentialsChange::Stored(CredentialKind::Revocation, document) => {
                let id = id_bytes(document);
                let Some(revocation) = Revocation::read(document) else {
                    self.revocations.remove(&id);
                    return Touched::Nobody;
                };
                self.revocations.insert(&id, revocation.clone());
                Touched::Named(Box::new(revocation))
            }
            // Nobody who is gone comes back by these.
            CredentialsChange::Deleted(CredentialKind::Revocation, key) => {
                self.revocations.remove(&id_bytes(key));
                Touched::Nobody
            }
            CredentialsChange::AllDeleted(CredentialKind::Revocation) => {
                let room = self.revocations.room().emptied();
                self.revocations = Revocations::with_room(room);
                Touched::Nobody
            }
            CredentialsChange::Stored(CredentialKind::Policy, document) => {
                let name = Arc::make_mut(&mut self.policies).store(document);
                policy_changed(name, false)
            }
            CredentialsChange::Deleted(CredentialKind::Policy, key) => {
                let name = Arc::make_mut(&mut self.policies).remove(key);
                policy_changed(name, true)
            }
            CredentialsChange::AllDeleted(CredentialKind::Policy) => {
                let all = PolicyChange {
                    name: None,
                    deleted: true,
                };
                if Arc::make_mut(&mut self.policies).clear() {
                    Touched::Policy(all)
                } else {
                    Touched::Nobody
                }
            }
        }
    }

    fn store_key(&mut self, document: &RawDocument) -> Touched {
        let key = match StoredKey::read(document) {
            Ok(key) => key,
            Err(fault) => {
                let touched = self.delete_key(document);
                let key = document.get_str("_id").unwrap_or_default();
                tracing::warn!(key, %fault, "a stored key grants nothing");
                return touched;
            }
        };
        let id: Box<str> = key.id().into();
        match self.keys.insert(key) {
            Some(_) => Touched::Key(id),
            None => Touched::Nobody,
        }
    }

    fn delete_key(&mut self, document: &RawDocument) -> Touched {
        let Ok(Some(bson::RawBsonRef::String(id))) = document.get("_id") else {
            return Touched::Nobody;
        };
        match self.keys.remove(id) {
            Some(_) => Touched::Key(id.into()),
            None => Touched::Nobody,
        }
    }

    /// Applies a change of the keys of an issuer of tokens.
    pub(crate) fn apply_keys(&mut self, change: &KeysChange, now: DateTime) {
        self.retired.apply(change, now);
    }

    /// Replaces all that is stored by what a load has found.
    pub(crate) fn replace(&mut self, loaded: Self) {
        let retired = std::mem::take(&mut self.retired);
        *self = Self { retired, ..loaded };
    }

    /// Returns the caller that the key of this id proves, whether it stands or not.
    pub(crate) fn caller_of_key(&self, id: &str) -> Option<Caller> {
        Some(self.keys.get(id)?.caller())
    }

    /// Whether a key of this id is known.
    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.keys.get(id).is_some()
    }

    /// Whether a key is for this certificate.
    pub(crate) fn has_key_for(&self, certificate: &ClientCertificate) -> bool {
        self.keys.of_certificate(&certificate.fingerprint).is_some()
    }

    /// Returns the ids of all keys, with their tenants and their ends.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = (&str, Holder, Option<DateTime>)> {
        self.keys.iter().map(facts_of_key)
    }

    /// Returns the tenant of a key and its end.
    pub(crate) fn key(&self, id: &str) -> Option<(Holder, Option<DateTime>)> {
        let (_, holder, end) = facts_of_key(self.keys.get(id)?);
        Some((holder, end))
    }

    /// Returns a revocation by its `_id`, as a document that has one.
    pub(crate) fn revocation(&self, document: &RawDocument) -> Option<&Revocation> {
        self.revocations.get(&id_bytes(document))
    }

    /// Returns the `_id` of all revocations, each as a one-element document `{_id}`, with their tenants.
    pub(crate) fn all_revocations(&self) -> impl Iterator<Item = (&RawDocument, Option<&str>)> {
        let all = self.revocations.all();
        all.filter_map(|(id, one)| Some((RawDocument::from_bytes(id).ok()?, one.tenant())))
    }

    /// Returns the revocations that are not in `before`, or say something else there, each with its `_id`, as a
    /// one-element document `{_id}`.
    pub(crate) fn revocations_since(&self, before: &Self) -> Vec<(RawDocumentBuf, Revocation)> {
        let new = self.revocations.since(&before.revocations);
        let readable = new.filter_map(|(id, revocation)| {
            let id = RawDocument::from_bytes(id).ok()?;
            Some((id.to_owned(), revocation.clone()))
        });
        readable.collect()
    }

    /// Whether a revocation names a caller's credential. Where it is not known any more how old that is, it does.
    pub(crate) fn names(&self, revocation: &Revocation, caller: &Caller, now: DateTime) -> bool {
        let facts = match &caller.credential {
            Credential::None => return false,
            Credential::Key { id, .. } => Facts {
                token: None,
                tenant: caller.tenant.as_deref(),
                issued_at: self.keys.get(id).and_then(StoredKey::created_at),
            },
            Credential::Token(token) => facts_of_token(token, caller),
        };
        revocation.revokes(facts, now)
    }

    /// Returns the number of keys with a text, and of those for a certificate.
    pub(crate) fn keys(&self) -> (usize, usize) {
        self.keys.counts()
    }

    /// Returns the number of revocations.
    pub(crate) fn revocations(&self) -> usize {
        self.revocations.len()
    }

    /// Returns the caller that a key proves.
    pub(crate) fn authenticate(&self, key: &KeyText, now: DateTime) -> Result<Caller, Refusal> {
        let stored = self.keys.get(&key.id()).ok_or(Refusal::Unknown)?;
        if !stored.has_text(&key.hash()) {
            return Err(Refusal::Unknown);
        }
        self.judge_key(stored, stored.expires_at(), now)?;
        self.decided(false, stored.tenant())?;
        Ok(stored.caller())
    }

    /// Returns the caller that a client's certificate proves. It ends with the certificate, if not sooner.
    pub(crate) fn authenticate_certificate(
        &self,
        certificate: &ClientCertificate,
        now: DateTime,
    ) -> Result<Caller, Refusal> {
        let stored = self.keys.of_certificate(&certificate.fingerprint);
        let stored = stored.ok_or(Refusal::Unknown)?;
        let mut caller = stored.caller();
        if let Credential::Key { not_after, .. } = &mut caller.credential {
            *not_after = Some(certificate.not_after);
        }
        caller.expires_at = first(caller.expires_at, Some(certificate.not_after));
        self.judge_key(stored, caller.expires_at, now)?;
        self.decided(false, stored.tenant())?;
        Ok(caller)
    }

    /// Judges a caller that was authenticated before: whether its credential still stands and gives it as much.
    /// Returns the end of the credential as it is now.
    pub(crate) fn judge(
        &self,
        caller: &Caller,
        now: DateTime,
    ) -> Result<Option<DateTime>, Refusal> {
        self.judge_session(caller, now).and_then(|end| {
            let is_token = matches!(caller.credential, Credential::Token(_));
            self.decided(is_token, caller.tenant.as_deref())?;
            Ok(end)
        })
    }

    /// Judges the caller of a session in the same way. Revocations that are not held count no more: it was judged by each
    /// when that came.
    pub(crate) fn judge_session(
        &self,
        caller: &Caller,
        now: DateTime,
    ) -> Result<Option<DateTime>, Refusal> {
        match &caller.credential {
            Credential::None => Ok(None),
            Credential::Key {
                id,
                hash,
                not_after,
            } => {
                let stored = self.keys.get(id).filter(|stored| stored.has_hash(hash));
                let stored = stored.ok_or(Refusal::Unknown)?;
                let end = first(stored.expires_at(), *not_after);
                self.judge_key(stored, end, now)?;
                if !stored.gives_as_much(caller) {
                    return Err(Refusal::Changed);
                }
                Ok(end)
            }
            Credential::Token(token) => {
                self.judge_token(token, caller, now)?;
                match first(self.retired.end_of(token), caller.expires_at) {
                    Some(end) if end <= now => Err(Refusal::Expired),
                    end => Ok(end),
                }
            }
        }
    }

    /// Refuses a new use of a credential if a revocation that is not held may name it. None names a key of operators.
    fn decided(&self, is_token: bool, tenant: Option<&str>) -> Result<(), Refusal> {
        let nameable = is_token || tenant.is_some();
        if nameable && self.revocations.is_incomplete() {
            return Err(Refusal::Undecided);
        }
        Ok(())
    }

    fn judge_key(
        &self,
        key: &StoredKey,
        end: Option<DateTime>,
        now: DateTime,
    ) -> Result<(), Refusal> {
        let facts = Facts {
            token: None,
            tenant: key.tenant(),
            issued_at: key.created_at(),
        };
        self.judge_facts(facts, end, now)
    }

    fn judge_token(
        &self,
        token: &TokenIdentity,
        caller: &Caller,
        now: DateTime,
    ) -> Result<(), Refusal> {
        self.judge_facts(facts_of_token(token, caller), caller.expires_at, now)
    }

    fn judge_facts(
        &self,
        facts: Facts<'_>,
        end: Option<DateTime>,
        now: DateTime,
    ) -> Result<(), Refusal> {
        if self.revocations.revoke(facts, now) {
            return Err(Refusal::Revoked);
        }
        if end.is_some_and(|end| end <= now) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

/// Returns the first of two ends.
fn first(one: Option<DateTime>, other: Option<DateTime>) -> Option<DateTime> {
    one.into_iter().chain(other).min()
}

fn facts_of_token<'c>(token: &'c TokenIdentity, caller: &'c Caller) -> Facts<'c> {
    let issued = token.issued_at.map(|seconds| seconds.saturating_mul(1_000));
    Facts {
        token: Some(token),
        tenant: caller.tenant.as_deref(),
        issued_at: issued.map(DateTime::from_millis),
    }
}

fn facts_of_key(key: &StoredKey) -> (&str, Holder, Option<DateTime>) {
    let holder = Holder {
        tenant: key.tenant().map(Into::into),
        owner: None,
    };
    (key.id(), holder, key.expires_at())
}

fn policy_changed(name: Option<Box<str>>, deleted: bool) -> Touched {
    name.map_or(Touched::Nobody, |name| {
        let name = Some(name);
        Touched::Policy(PolicyChange { name, deleted })
    })
}

/// Returns the `_id` of a document as bytes that no other value has.
fn id_bytes(document: &RawDocument) -> Vec<u8> {
    let mut alone = RawDocumentBuf::new();
    if let Ok(Some(id)) = document.get("_id") {
        alone.append(bson::raw::cstr!("_id"), id);
    }
    alone.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;
    use bson::{Binary, Document, doc, spec::BinarySubtype};

    const NOW: DateTime = DateTime::from_millis(1_000);

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn key_document(text: &KeyText, more: Document) -> Document {
        let bytes = text.hash().to_vec();
        let hash = Binary {
            subtype: BinarySubtype::Generic,
            bytes,
        };
        let mut document = doc! {
            "_id": text.id(), "hash": hash, "scopes": ["events:read", "metrics"], "tenant": "acme",
        };
        document.extend(more);
        document
    }

    fn store(all: &mut Credentials, kind: CredentialKind, document: &Document) -> Touched {
        all.apply(&CredentialsChange::Stored(kind, raw(document)))
    }

    fn delete(all: &mut Credentials, kind: CredentialKind, id: &str) -> Touched {
        all.apply(&CredentialsChange::Deleted(kind, raw(&doc! {"_id": id})))
    }

    fn with_key(more: Document) -> (Credentials, KeyText) {
        let (mut all, text) = (Credentials::new(true), KeyText::mint());
        let touched = store(&mut all, CredentialKind::Key, &key_document(&text, more));
        assert_eq!(touched, Touched::Nobody);
        (all, text)
    }

    #[test]
    fn a_key_stands_from_its_document_to_its_delete() {
        let (mut all, text) = with_key(doc! {});
        let caller = all.authenticate(&text, NOW).unwrap();
        assert!(caller.may(Scope::EventsRead));
        assert_eq!(all.judge(&caller, NOW), Ok(None));
        assert_eq!(
            all.authenticate(&KeyText::mint(), NOW),
            Err(Refusal::Unknown)
        );
        let touched = delete(&mut all, CredentialKind::Key, &text.id());
        assert_eq!(touched, Touched::Key(text.id().into()));
        assert_eq!(all.authenticate(&text, NOW), Err(Refusal::Unknown));
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Unknown));
    }

    #[test]
    fn another_secret_under_the_same_id_is_not_the_key() {
        let (mut all, text) = with_key(doc! {});
        let caller = all.authenticate(&text, NOW).unwrap();
        let mut other = key_document(&KeyText::mint(), doc! {});
        other.insert("_id", text.id());
        let touched = store(&mut all, CredentialKind::Key, &other);
        assert_eq!(touched, Touched::Key(text.id().into()));
        assert_eq!(all.authenticate(&text, NOW), Err(Refusal::Unknown));
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Unknown));
    }

    #[test]
    fn a_key_that_cannot_be_read_any_more_is_gone() {
        let (mut all, text) = with_key(doc! {});
        let broken = key_document(&text, doc! {"scopes": 5});
        let touched = store(&mut all, CredentialKind::Key, &broken);
        assert_eq!(touched, Touched::Key(text.id().into()));
        assert!(!all.has_key(&text.id()));
    }

    #[test]
    fn a_key_ends_at_its_time() {
        let (all, text) = with_key(doc! {"expiresAt": DateTime::from_millis(1_001)});
        let caller = all.authenticate(&text, NOW).unwrap();
        assert_eq!(
            all.judge(&caller, NOW),
            Ok(Some(DateTime::from_millis(1_001)))
        );
        let then = DateTime::from_millis(1_001);
        assert_eq!(all.authenticate(&text, then), Err(Refusal::Expired));
        assert_eq!(all.judge(&caller, then), Err(Refusal::Expired));
    }

    #[test]
    fn a_session_stands_while_its_key_gives_the_same_caller_and_no_fewer_rights() {
        let all_fields = doc! {"policy": "p", "claims": {"region": "eu"}};
        for (change, stands) in [
            (doc! {"name": "other"}, true),
            (
                doc! {"scopes": ["events:read", "metrics", "events:publish"]},
                true,
            ),
            (doc! {"scopes": ["events:read"]}, false),
            (doc! {"tenant": "other"}, false),
            (doc! {"policy": "q"}, false),
            (doc! {"claims": {"region": "us"}}, false),
            (doc! {"networks": ["10.0.0.0/8"]}, false),
        ] {
            let (mut all, text) = with_key(all_fields.clone());
            let caller = all.authenticate(&text, NOW).unwrap();
            let mut changed = key_document(&text, all_fields.clone());
            changed.extend(change.clone());
            store(&mut all, CredentialKind::Key, &changed);
            assert_eq!(all.judge(&caller, NOW).is_ok(), stands, "{change}");
        }
    }

    #[test]
    fn a_revoked_tenant_has_no_keys_until_the_revocation_goes() {
        let (mut all, text) = with_key(doc! {});
        let caller = all.authenticate(&text, NOW).unwrap();
        let revocation = doc! {"_id": "r", "tenant": "acme"};
        let touched = store(&mut all, CredentialKind::Revocation, &revocation);
        let Touched::Named(named) = touched else {
            panic!("{touched:?}");
        };
        assert!(all.names(&named, &caller, NOW));
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Revoked));
        assert_eq!(all.authenticate(&text, NOW), Err(Refusal::Revoked));
        delete(&mut all, CredentialKind::Revocation, "r");
        assert_eq!(all.judge(&caller, NOW), Ok(None));
    }

    #[test]
    fn a_token_stands_until_it_is_revoked_or_ends() {
        let token = TokenIdentity {
            issuer: "main".into(),
            subject: "42".into(),
            jti: Some("j".into()),
            kid: None,
            issued_at: Some(0),
            signed_by: [0; 32],
        };
        let caller = Caller {
            credential: Credential::Token(Box::new(token)),
            expires_at: Some(DateTime::from_millis(2_000)),
            ..Caller::anybody()
        };
        let mut all = Credentials::new(true);
        assert_eq!(all.judge(&caller, NOW), Ok(caller.expires_at));
        let later = DateTime::from_millis(2_000);
        assert_eq!(all.judge(&caller, later), Err(Refusal::Expired));
        let revocation = doc! {"_id": "r", "jti": "j"};
        store(&mut all, CredentialKind::Revocation, &revocation);
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Revoked));
    }

    #[test]
    fn a_token_ends_soon_after_its_key_has_left_unless_the_key_comes_back() {
        let token = TokenIdentity {
            issuer: "main".into(),
            subject: "42".into(),
            jti: None,
            kid: None,
            issued_at: None,
            signed_by: [1; 32],
        };
        let caller = Caller {
            credential: Credential::Token(Box::new(token)),
            expires_at: Some(DateTime::MAX),
            ..Caller::anybody()
        };
        let change = |issuer: &str, left, came| KeysChange {
            issuer: issuer.into(),
            left,
            came,
        };
        let mut all = Credentials::new(true);
        all.apply_keys(&change("main", vec![[2; 32]], vec![]), NOW);
        all.apply_keys(&change("other", vec![[1; 32]], vec![]), NOW);
        assert_eq!(all.judge(&caller, NOW), Ok(caller.expires_at));
        all.apply_keys(&change("main", vec![[1; 32]], vec![]), NOW);
        all.replace(Credentials::new(true));
        let end = DateTime::from_millis(31_000);
        assert_eq!(all.judge(&caller, NOW), Ok(Some(end)));
        assert_eq!(all.judge(&caller, end), Err(Refusal::Expired));
        all.apply_keys(&change("main", vec![], vec![[1; 32]]), NOW);
        assert_eq!(all.judge(&caller, NOW), Ok(caller.expires_at));
    }

    #[test]
    fn a_change_that_was_not_seen_takes_the_key_until_it_is_found() {
        let (mut all, text) = with_key(doc! {});
        let unseen = CredentialsChange::Unseen {
            kind: CredentialKind::Key,
            key: raw(&doc! {"_id": text.id()}),
            found: Some(raw(&key_document(&text, doc! {}))),
        };
        assert_eq!(all.apply(&unseen), Touched::Key(text.id().into()));
        assert_eq!(all.authenticate(&text, NOW), Err(Refusal::Unknown));
    }

    #[test]
    fn dropped_keys_end_everybody() {
        let (mut all, text) = with_key(doc! {});
        let dropped = CredentialsChange::AllDeleted(CredentialKind::Key);
        assert_eq!(all.apply(&dropped), Touched::Everybody);
        assert_eq!(
            (all.keys(), all.authenticate(&text, NOW)),
            ((0, 0), Err(Refusal::Unknown))
        );
    }

    #[test]
    fn nobody_in_particular_always_stands() {
        let all = Credentials::new(true);
        assert_eq!(all.judge(&Caller::anybody(), NOW), Ok(None));
    }

    fn small(bytes: usize) -> Credentials {
        Credentials::with_room(true, bytes)
    }

    #[test]
    fn a_key_without_room_grants_nothing_and_displaces_nobody() {
        let texts: Vec<_> = (0..3).map(|_| KeyText::mint()).collect();
        let document = |text| key_document(text, doc! {});
        let bytes = Room::for_document(raw(&document(&texts[0])).as_bytes().len());
        let mut all = small(2 * bytes);
        for text in &texts {
            store(&mut all, CredentialKind::Key, &document(text));
        }
        assert!(
            texts[..2]
                .iter()
                .all(|text| all.authenticate(text, NOW).is_ok())
        );
        assert_eq!(all.authenticate(&texts[2], NOW), Err(Refusal::Unknown));
        assert_eq!(all.room(CredentialKind::Key).withheld(), 1);
        // One that grew is gone too, with its sockets, since nobody may go on by what it said before.
        let larger = key_document(&texts[0], doc! {"name": "n".repeat(bytes)});
        let touched = store(&mut all, CredentialKind::Key, &larger);
        assert_eq!(touched, Touched::Key(texts[0].id().into()));
        assert_eq!(all.authenticate(&texts[0], NOW), Err(Refusal::Unknown));
        // There is room again, and the other kinds had theirs.
        store(&mut all, CredentialKind::Key, &document(&texts[2]));
        assert!(all.authenticate(&texts[2], NOW).is_ok());
        assert!(all.room(CredentialKind::Policy).has(2 * bytes));
        all.apply(&CredentialsChange::AllDeleted(CredentialKind::Key));
        assert_eq!(all.room(CredentialKind::Key).withheld(), 0);
    }

    #[test]
    fn a_policy_without_room_is_missing() {
        let policy = doc! {"_id": "default", "read": {"tenant": "$claims.tenant"}};
        let bytes = Room::for_document(raw(&policy).as_bytes().len());
        let mut all = small(bytes);
        store(&mut all, CredentialKind::Policy, &policy);
        let caller = Caller {
            tenant: Some("acme".into()),
            ..all_of_a_key()
        };
        assert!(all.policies().check(&caller).is_ok());
        let larger = doc! {"_id": "default", "read": {"tenant": "$claims.tenant", "a": "a"}};
        let touched = store(&mut all, CredentialKind::Policy, &larger);
        assert!(matches!(
            touched,
            Touched::Policy(PolicyChange { deleted: false, .. })
        ));
        assert!(all.policies().check(&caller).is_err());
        store(&mut all, CredentialKind::Policy, &policy);
        assert!(all.policies().check(&caller).is_ok());
    }

    fn all_of_a_key() -> Caller {
        let (all, text) = with_key(doc! {});
        all.authenticate(&text, NOW).unwrap()
    }

    #[test]
    fn a_revocation_without_room_is_not_forgotten() {
        let mut all = small(4_000);
        let (acme, operators) = (KeyText::mint(), KeyText::mint());
        let operator = key_document(&operators, doc! {"tenant": bson::Bson::Null});
        store(&mut all, CredentialKind::Key, &key_document(&acme, doc! {}));
        store(&mut all, CredentialKind::Key, &operator);
        let caller = all.authenticate(&acme, NOW).unwrap();
        let revoke = |all: &mut Credentials, id: &str, tenant: &str| {
            let revocation = doc! {"_id": id, "tenant": tenant};
            store(all, CredentialKind::Revocation, &revocation)
        };
        let mut n = 0;
        while all.room(CredentialKind::Revocation).withheld() == 0 {
            assert_eq!(all.judge(&caller, NOW), Ok(None), "{n}");
            n += 1;
            revoke(&mut all, &n.to_string(), &format!("t{n}"));
        }
        assert!(n > 3, "{n}");
        // What stood goes on, what comes anew is refused, and operators can mend it.
        assert_eq!(all.judge_session(&caller, NOW), Ok(None));
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Undecided));
        assert_eq!(all.authenticate(&acme, NOW), Err(Refusal::Undecided));
        assert!(all.authenticate(&operators, NOW).is_ok());
        // The one that comes next names the session, whatever the room.
        let touched = revoke(&mut all, "next", "acme");
        assert!(matches!(touched, Touched::Named(_)), "{touched:?}");
        assert_eq!(all.judge_session(&caller, NOW), Err(Refusal::Revoked));
        revoke(&mut all, "over", "other");
        assert_eq!(all.authenticate(&acme, NOW), Err(Refusal::Undecided));
        assert!(all.revocations() <= n);
        all.apply(&CredentialsChange::AllDeleted(CredentialKind::Revocation));
        assert!(all.authenticate(&acme, NOW).is_ok());
    }
}
