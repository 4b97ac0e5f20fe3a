//! All API keys, by their ids and by their certificates.

use std::collections::HashMap;

use super::{CredentialKind, StoredKey, certificate::Fingerprint, room::Room};

/// All API keys, as the feed has applied them.
#[derive(Default, Debug)]
pub(super) struct Keys {
    by_id: HashMap<Box<str>, StoredKey>,
    /// The ids of the keys that a certificate is for. One at most, unless a program has stored another one where no index
    /// hinders it.
    by_certificate: HashMap<Fingerprint, Vec<Box<str>>>,
    room: Room,
}

impl Keys {
    /// Returns no keys, for which there is so much room.
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

    /// Stores a key, unless there is no room for it. Returns the one that had its id before.
    pub(super) fn insert(&mut self, key: StoredKey) -> Option<StoredKey> {
        let before = self.remove(key.id());
        if !self.room.has(key.bytes()) {
            self.room.withhold(CredentialKind::Key.collection());
            return before;
        }
        self.room.take(key.tenant(), key.bytes());
        let id: Box<str> = key.id().into();
        if let Some(certificate) = key.certificate() {
            let ids = self.by_certificate.entry(*certificate).or_default();
            ids.push(id.clone());
        }
        self.by_id.insert(id, key);
        before
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, id: &str) -> Option<StoredKey> {
        let key = self.by_id.remove(id)?;
        self.room.give_back(key.tenant(), key.bytes());
        if let Some(certificate) = key.certificate()
            && let Some(ids) = self.by_certificate.get_mut(certificate)
        {
            ids.retain(|one| **one != *id);
            if ids.is_empty() {
                self.by_certificate.remove(certificate);
            }
        }
        Some(key)
    }

    /// Removes all keys.
    pub(super) fn clear(&mut self) {
        *self = Self::with_room(self.room.emptied());
    }

    /// Returns the key of an id.
    pub(super) fn get(&self, id: &str) -> Option<&StoredKey> {
        self.by_id.get(id)
    }

    /// Returns the key that a certificate is for. If it is for several, nobody can say whose it is: then it is nobody's.
    pub(super) fn of_certificate(&self, certificate: &Fingerprint) -> Option<&StoredKey> {
        match self.by_certificate.get(certificate)?.as_slice() {
            [id] => self.by_id.get(id),
            _ => None,
        }
    }

    /// Returns all keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &StoredKey> {
        self.by_id.values()
    }

    /// Returns the number of keys with a text, and of those with a certificate.
    pub(super) fn counts(&self) -> (usize, usize) {
        let certificates = self.by_certificate.values().map(Vec::len).sum();
        (self.by_id.len() - certificates, certificates)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Binary, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};

    use crate::access::{
        Caller, ClientCertificate, CredentialKind, Credentials, CredentialsChange, KeyText, Refusal,
    };

    const NOW: DateTime = DateTime::from_millis(1_000);

    fn certificate(byte: u8, end: i64) -> ClientCertificate {
        ClientCertificate {
            fingerprint: [byte; 32],
            not_after: DateTime::from_millis(end),
        }
    }

    fn document(id: &str, byte: u8, more: Document) -> Document {
        let fingerprint = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![byte; 32],
        };
        let mut document = doc! {"_id": id, "certificate": fingerprint, "scopes": ["events:read"]};
        document.extend(more);
        document
    }

    fn store(all: &mut Credentials, document: &Document) {
        let raw = RawDocumentBuf::try_from(document).unwrap();
        all.apply(&CredentialsChange::Stored(CredentialKind::Key, raw));
    }

    fn delete(all: &mut Credentials, id: &str) {
        let raw = RawDocumentBuf::try_from(&doc! {"_id": id}).unwrap();
        all.apply(&CredentialsChange::Deleted(CredentialKind::Key, raw));
    }

    fn proved(all: &Credentials, byte: u8) -> Result<Caller, Refusal> {
        all.authenticate_certificate(&certificate(byte, 5_000), NOW)
    }

    #[test]
    fn a_certificate_proves_the_key_that_is_for_it() {
        let mut all = Credentials::new(true);
        assert_eq!(proved(&all, 1).unwrap_err(), Refusal::Unknown);
        store(&mut all, &document("a", 1, doc! {}));
        let caller = proved(&all, 1).unwrap();
        assert_eq!(caller.owner.as_deref(), Some("key:a"));
        assert_eq!(proved(&all, 2).unwrap_err(), Refusal::Unknown);
        assert_eq!(
            all.judge(&caller, NOW),
            Ok(Some(DateTime::from_millis(5_000)))
        );
        assert_eq!(all.keys(), (0, 1));
        // Another one is another key.
        store(&mut all, &document("a", 2, doc! {}));
        assert_eq!(proved(&all, 1).unwrap_err(), Refusal::Unknown);
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Unknown));
        let caller = proved(&all, 2).unwrap();
        delete(&mut all, "a");
        assert_eq!(proved(&all, 2).unwrap_err(), Refusal::Unknown);
        assert_eq!(all.judge(&caller, NOW), Err(Refusal::Unknown));
        assert_eq!(all.keys(), (0, 0));
    }

    #[test]
    fn a_key_ends_with_its_certificate_or_sooner() {
        for (certificate_end, key_end, end) in [
            (5_000, DateTime::MAX, 5_000),
            (5_000, DateTime::from_millis(3_000), 3_000),
        ] {
            let mut all = Credentials::new(true);
            store(&mut all, &document("a", 1, doc! {"expiresAt": key_end}));
            let shown = certificate(1, certificate_end);
            let caller = all.authenticate_certificate(&shown, NOW).unwrap();
            let end = DateTime::from_millis(end);
            assert_eq!(caller.expires_at, Some(end));
            assert_eq!(all.judge(&caller, NOW), Ok(Some(end)));
            assert_eq!(all.judge(&caller, end), Err(Refusal::Expired));
            let later = all.authenticate_certificate(&shown, end);
            assert_eq!(later.unwrap_err(), Refusal::Expired);
        }
    }

    #[test]
    fn a_certificate_of_two_keys_is_nobodys_until_one_of_them_is_gone() {
        let mut all = Credentials::new(true);
        store(&mut all, &document("a", 1, doc! {}));
        store(&mut all, &document("b", 1, doc! {}));
        assert_eq!(proved(&all, 1).unwrap_err(), Refusal::Unknown);
        delete(&mut all, "a");
        assert_eq!(proved(&all, 1).unwrap().owner.as_deref(), Some("key:b"));
        let dropped = CredentialsChange::AllDeleted(CredentialKind::Key);
        all.apply(&dropped);
        assert_eq!(proved(&all, 1).unwrap_err(), Refusal::Unknown);
    }

    #[test]
    fn a_text_proves_no_key_for_a_certificate_and_a_certificate_none_with_a_text() {
        let text = KeyText::mint();
        let mut all = Credentials::new(true);
        let mut stored = document(&text.id(), 1, doc! {});
        let hash = Binary {
            subtype: BinarySubtype::Generic,
            bytes: text.hash().to_vec(),
        };
        stored.insert("certificate", hash.clone());
        store(&mut all, &stored);
        assert_eq!(all.authenticate(&text, NOW).unwrap_err(), Refusal::Unknown);
        stored.remove("certificate");
        stored.insert("hash", hash);
        store(&mut all, &stored);
        let shown = ClientCertificate {
            fingerprint: text.hash(),
            not_after: DateTime::MAX,
        };
        assert!(all.authenticate(&text, NOW).is_ok());
        let by_certificate = all.authenticate_certificate(&shown, NOW);
        assert_eq!(by_certificate.unwrap_err(), Refusal::Unknown);
    }
}
