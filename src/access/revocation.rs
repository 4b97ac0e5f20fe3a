//! Revocations: documents that take credentials away before their end.

use std::collections::HashMap;

use bson::{DateTime, RawBsonRef, RawDocument};
use smallvec::SmallVec;

use super::{CredentialKind, Scope, Scopes, TokenIdentity, room::Room};

/// A revocation, as the feed has applied its document. It names credentials by every field that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Revocation {
    /// The issuer's name in the settings; `None` is every issuer.
    issuer: Option<Box<str>>,
    named: Named,
    tenant: Option<Box<str>>,
    /// Credentials made from then on stand.
    issued_before: Option<DateTime>,
    /// It holds until then; `None`: for ever.
    expires_at: Option<DateTime>,
}

/// The narrowest thing that a revocation names.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Named {
    Token(Box<str>),
    Subject(Box<str>),
    SigningKey(Box<str>),
    Tenant(Box<str>),
}

/// The facts of a credential that a revocation can name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'c> {
    /// `None` for keys.
    pub token: Option<&'c TokenIdentity>,
    pub tenant: Option<&'c str>,
    /// The time at which it was made, if it says so.
    pub issued_at: Option<DateTime>,
}

impl Revocation {
    /// Reads a revocation's document; `None` if it names nothing, or cannot be read: it revokes nobody.
    pub(crate) fn read(document: &RawDocument) -> Option<Self> {
        let text = |field| text_of(document, field);
        let (jti, sub, kid, tenant) = (text("jti")?, text("sub")?, text("kid")?, text("tenant")?);
        let named = match (jti, sub, kid) {
            (Some(jti), None, None) => Named::Token(jti),
            (None, Some(sub), None) => Named::Subject(sub),
            (None, None, Some(kid)) => Named::SigningKey(kid),
            (None, None, None) => Named::Tenant(tenant.clone()?),
            _ => return None,
        };
        Some(Self {
            issuer: text("issuer")?,
            named,
            tenant,
            issued_before: date_of(document, "issuedBefore")?,
            expires_at: date_of(document, "expiresAt")?,
        })
    }

    /// Returns the scopes that who makes or takes back such a revocation has besides the right to do so: all that may be
    /// taken away with it. One holder's credentials within a tenant need none; nobody could revoke a user otherwise.
    pub(crate) fn needed_scopes(&self) -> Scopes {
        let one_holder = matches!(self.named, Named::Token(_) | Named::Subject(_));
        needed_scopes(one_holder, self.tenant.is_some())
    }

    /// Returns the tenant that it names.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether it takes a credential away.
    pub(crate) fn revokes(&self, facts: Facts<'_>, now: DateTime) -> bool {
        if self.expires_at.is_some_and(|end| end <= now) {
            return false;
        }
        let Some(token) = facts.token else {
            return matches!(self.named, Named::Tenant(_))
                && self.issuer.is_none()
                && self.concerns(facts);
        };
        let named = match &self.named {
            Named::Token(jti) => token.jti.as_ref() == Some(jti),
            Named::Subject(subject) => token.subject == *subject,
            Named::SigningKey(kid) => token.kid.as_ref() == Some(kid),
            Named::Tenant(_) => true,
        };
        let issued = (self.issuer.as_ref()).is_none_or(|issuer| token.issuer == *issuer);
        named && issued && self.concerns(facts)
    }

    /// Whether tenant and age are those that it names. A credential without an age is revoked.
    fn concerns(&self, facts: Facts<'_>) -> bool {
        let tenant = self.tenant.as_deref();
        let before = |end| facts.issued_at.is_none_or(|issued| issued < end);
        tenant.is_none_or(|tenant| facts.tenant == Some(tenant))
            && self.issued_before.is_none_or(before)
    }
}

/// Returns the scopes that a revocation needs that is for one holder of credentials, or for any, of one tenant, or of all
/// and operators too.
pub(super) fn needed_scopes(one_holder: bool, one_tenant: bool) -> Scopes {
    match (one_holder, one_tenant) {
        (true, true) => Scopes::NONE,
        // Nobody of a tenant is an administrator.
        (false, true) => Scopes::ALL.without(Scope::Admin),
        (_, false) => Scopes::ALL,
    }
}

/// All revocations, found by what they name.
#[derive(Default, Debug)]
pub(crate) struct Revocations {
    by_id: HashMap<Box<[u8]>, Revocation>,
    by_name: HashMap<Named, SmallVec<[Box<[u8]>; 1]>>,
    room: Room,
    /// The `_id` of the one for which there was no room. It is held until the next one comes, so that those whom it names
    /// can be judged.
    last: Option<Box<[u8]>>,
}

impl Revocations {
    /// Returns no revocations, for which there is so much room.
    pub(super) fn with_room(room: Room) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Returns the room that they have.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Whether some are not held. Then nobody can say of a credential that none of them names it.
    pub(super) fn is_incomplete(&self) -> bool {
        self.room.withheld() > 0
    }

    /// Adds a revocation under the bytes of its `_id`, in place of one that has them. Without room for it, it is held until
    /// the next one comes.
    pub(super) fn insert(&mut self, id: &[u8], revocation: Revocation) {
        self.remove(id);
        if let Some(last) = self.last.take() {
            self.remove(&last);
        }
        let named = revocation.named.clone();
        self.room
            .take(revocation.tenant(), bytes_of(id, &revocation));
        self.by_name.entry(named).or_default().push(id.into());
        self.by_id.insert(id.into(), revocation);
        if self.room.is_exceeded() {
            self.room.withhold(CredentialKind::Revocation.collection());
            self.last = Some(id.into());
        }
    }

    /// Removes a revocation; false if there is none of this `_id`.
    pub(super) fn remove(&mut self, id: &[u8]) -> bool {
        let Some(old) = self.by_id.remove(id) else {
            return false;
        };
        self.room.give_back(old.tenant(), bytes_of(id, &old));
        if self.last.as_deref() == Some(id) {
            self.last = None;
            self.room.find();
        }
        if let Some(ids) = self.by_name.get_mut(&old.named) {
            ids.retain(|other| **other != *id);
            if ids.is_empty() {
                self.by_name.remove(&old.named);
            }
        }
        true
    }

    /// Returns the revocation under the bytes of an `_id`.
    pub(super) fn get(&self, id: &[u8]) -> Option<&Revocation> {
        self.by_id.get(id)
    }

    /// Returns all, with the bytes of their `_id`.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], &Revocation)> {
        self.by_id.iter().map(|(id, one)| (&**id, one))
    }

    /// Returns those that are not in `before`, or say something else there, with the bytes of their `_id`.
    pub(super) fn since<'r>(
        &'r self,
        before: &'r Self,
    ) -> impl Iterator<Item = (&'r [u8], &'r Revocation)> {
        let all = self.by_id.iter();
        let new = all.filter(|(id, revocation)| before.by_id.get(*id) != Some(revocation));
        new.map(|(id, revocation)| (&**id, revocation))
    }

    /// Returns the number of revocations.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether any revocation takes a credential away.
    pub(crate) fn revoke(&self, facts: Facts<'_>, now: DateTime) -> bool {
        let mut names: SmallVec<[Named; 4]> = SmallVec::new();
        if let Some(token) = facts.token {
            names.extend(token.jti.clone().map(Named::Token));
            names.push(Named::Subject(token.subject.clone()));
            names.extend(token.kid.clone().map(Named::SigningKey));
        }
        names.extend(facts.tenant.map(|tenant| Named::Tenant(tenant.into())));
        let ids = names.iter().filter_map(|name| self.by_name.get(name));
        ids.flatten()
            .filter_map(|id| self.by_id.get(id))
            .any(|revocation| revocation.revokes(facts, now))
    }
}

/// Returns the room that a revocation takes. Its `reason` is not held.
fn bytes_of(id: &[u8], revocation: &Revocation) -> usize {
    let named = match &revocation.named {
        Named::Token(name)
        | Named::Subject(name)
        | Named::SigningKey(name)
        | Named::Tenant(name) => name.len(),
    };
    let texts = [&revocation.issuer, &revocation.tenant];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    // The `_id` and the name are held twice.
    Room::for_document(2 * (id.len() + named) + texts)
}

/// Returns a text, or none if the field is absent; `None` if it is of another type.
#[expect(
    clippy::option_option,
    reason = "a field is absent, usable, or neither"
)]
fn text_of(document: &RawDocument, field: &str) -> Option<Option<Box<str>>> {
    match document.get(field) {
        Ok(None | Some(RawBsonRef::Null)) => Some(None),
        Ok(Some(RawBsonRef::String(text))) => Some(Some(text.into())),
        _ => None,
    }
}

#[expect(
    clippy::option_option,
    reason = "a field is absent, usable, or neither"
)]
fn date_of(document: &RawDocument, field: &str) -> Option<Option<DateTime>> {
    match document.get(field) {
        Ok(None | Some(RawBsonRef::Null)) => Some(None),
        Ok(Some(RawBsonRef::DateTime(date))) => Some(Some(date)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, RawDocumentBuf, doc};

    const NOW: DateTime = DateTime::from_millis(1_000_000);

    fn read(document: &Document) -> Option<Revocation> {
        Revocation::read(&RawDocumentBuf::try_from(document).unwrap())
    }

    fn token() -> TokenIdentity {
        TokenIdentity {
            issuer: "main".into(),
            subject: "42".into(),
            jti: Some("j".into()),
            kid: Some("k".into()),
            issued_at: Some(500),
            signed_by: [0; 32],
        }
    }

    fn revokes(document: &Document, token: Option<&TokenIdentity>, issued: Option<i64>) -> bool {
        let facts = Facts {
            token,
            tenant: Some("acme"),
            issued_at: issued.map(DateTime::from_millis),
        };
        let Some(revocation) = read(document) else {
            return false;
        };
        let mut all = Revocations::default();
        all.insert(b"r", revocation.clone());
        let found = all.revoke(facts, NOW);
        assert_eq!(found, revocation.revokes(facts, NOW), "{document}");
        found
    }

    #[test]
    fn a_revocation_takes_what_it_names() {
        let token = token();
        let before = DateTime::from_millis(600_000);
        for (document, of_token, of_key) in [
            (doc! {"issuer": "main", "jti": "j"}, true, false),
            (doc! {"jti": "j"}, true, false),
            (doc! {"issuer": "other", "jti": "j"}, false, false),
            (doc! {"jti": "J"}, false, false),
            (doc! {"sub": "42"}, true, false),
            (doc! {"sub": "42", "tenant": "acme"}, true, false),
            (doc! {"sub": "42", "tenant": "other"}, false, false),
            (doc! {"sub": "42", "issuedBefore": before}, true, false),
            (
                doc! {"sub": "42", "issuedBefore": DateTime::from_millis(400_000)},
                false,
                false,
            ),
            (doc! {"kid": "k"}, true, false),
            (doc! {"tenant": "acme"}, true, true),
            (doc! {"tenant": "acme", "issuedBefore": before}, true, true),
            (doc! {"issuer": "main", "tenant": "acme"}, true, false),
            (doc! {"tenant": "acme", "expiresAt": NOW}, false, false),
            (
                doc! {"tenant": "acme", "expiresAt": DateTime::MAX},
                true,
                true,
            ),
            (doc! {"tenant": ""}, false, false),
        ] {
            assert_eq!(
                revokes(&document, Some(&token), Some(500_000)),
                of_token,
                "{document}"
            );
            assert_eq!(
                revokes(&document, None, Some(500_000)),
                of_key,
                "{document}"
            );
        }
    }

    #[test]
    fn what_does_not_say_when_it_was_made_is_revoked_with_the_old() {
        let document = doc! {"tenant": "acme", "issuedBefore": DateTime::MIN};
        assert!(revokes(&document, Some(&token()), None));
        assert!(revokes(&document, None, None));
    }

    #[test]
    fn a_document_that_names_nothing_or_cannot_be_read_revokes_nobody() {
        for document in [
            doc! {},
            doc! {"issuer": "main"},
            doc! {"jti": "j", "sub": "42"},
            doc! {"jti": 5},
            doc! {"sub": "42", "issuedBefore": "soon"},
            doc! {"tenant": "acme", "expiresAt": true},
        ] {
            assert_eq!(read(&document), None, "{document}");
        }
        assert!(read(&doc! {"jti": "j", "sub": Bson::Null}).is_some());
    }

    #[test]
    fn a_removed_revocation_revokes_no_more() {
        let mut all = Revocations::default();
        let facts = Facts {
            token: None,
            tenant: Some("acme"),
            issued_at: None,
        };
        for id in [b"a", b"b"] {
            all.insert(id, read(&doc! {"tenant": "acme"}).unwrap());
        }
        all.insert(b"a", read(&doc! {"tenant": "other"}).unwrap());
        assert_eq!(all.len(), 2);
        assert!(all.revoke(facts, NOW));
        assert!(all.remove(b"b") && !all.remove(b"b"));
        assert!(!all.revoke(facts, NOW));
        assert!(all.by_name.len() == 1 && all.len() == 1);
    }
}
