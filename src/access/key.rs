//! Stored API keys.

use std::sync::LazyLock;

use bson::{DateTime, RawBsonRef, RawDocument, spec::BinarySubtype};
use ipnet::IpNet;
use subtle::ConstantTimeEq as _;

use super::{
    Caller, CallerKind, Claims, Credential, KeyLimits, MOST_CLAIMS, SaidQuotas, Scope, Scopes,
    certificate::Fingerprint, room::Room, sight::KEY_OWNER,
};

/// The most entries in a key's list of networks, origins or subscriptions.
const MOST_ENTRIES: usize = 1_000;

/// A field of a stored key that cannot be used. The key grants nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {reason}")]
pub(crate) struct KeyFault {
    pub field: &'static str,
    pub reason: &'static str,
}

/// The part of a stored key that it is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyProof {
    /// The SHA-256 of its text.
    Text([u8; 32]),
    /// The fingerprint of a client's certificate. There is no text.
    Certificate(Fingerprint),
}

impl KeyProof {
    /// Returns the field of the document, and its bytes.
    pub(super) fn stored(&self) -> (&'static str, &[u8; 32]) {
        match self {
            Self::Text(hash) => ("hash", hash),
            Self::Certificate(fingerprint) => ("certificate", fingerprint),
        }
    }
}

/// An API key, as the feed has applied its document.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StoredKey {
    id: Box<str>,
    proof: KeyProof,
    scopes: Scopes,
    expires_at: Option<DateTime>,
    created_at: Option<DateTime>,
    /// The room that it takes.
    bytes: usize,
    /// `None` if the key says no more than that, as most do.
    more: Option<Box<More>>,
}

#[derive(Clone, PartialEq, Default, Debug)]
struct More {
    tenant: Option<Box<str>>,
    policy: Option<Box<str>>,
    claims: Claims,
    limits: KeyLimits,
    quotas: SaidQuotas,
}

impl More {
    /// Returns the name of the policy. A tenant always has one.
    fn policy(&self) -> Option<&str> {
        let default = self.tenant.is_some().then_some("default");
        self.policy.as_deref().or(default)
    }
}

impl StoredKey {
    /// Reads a key's document. A field of the wrong type is a fault: nothing is guessed about what may be done.
    pub(crate) fn read(document: &RawDocument) -> Result<Self, KeyFault> {
        let id = text_of(document, "_id")?.ok_or(fault("_id", "is missing"))?;
        let more = More {
            tenant: text_of(document, "tenant")?,
            policy: text_of(document, "policy")?,
            claims: match value_of(document, "claims")? {
                None => Claims::default(),
                Some(RawBsonRef::Document(claims)) if claims.iter().nth(MOST_CLAIMS).is_some() => {
                    return Err(fault("claims", "has too many entries"));
                }
                Some(RawBsonRef::Document(claims)) => Claims::read(claims),
                Some(_) => return Err(fault("claims", "must be a document")),
            },
            limits: KeyLimits {
                networks: list_of(document, "networks", |text| text.parse::<IpNet>().ok())?,
                origins: list_of(document, "origins", |text| Some(text.into()))?,
                subscriptions: list_of(document, "subscriptions", |text| Some(text.into()))?,
                ticket: None,
            },
            quotas: match value_of(document, "limits")? {
                None => SaidQuotas::default(),
                Some(RawBsonRef::Document(limits)) => SaidQuotas::read(limits)
                    .map_err(|_| fault("limits", "has a quota that cannot be used"))?,
                Some(_) => return Err(fault("limits", "must be a document")),
            },
        };
        if more.tenant.as_deref().is_some_and(|name| !is_tenant(name)) {
            return Err(fault("tenant", "must not be empty or contain a colon"));
        }
        let scopes = list_of(document, "scopes", |text| Some(Scope::parse(text)))?;
        let mut scopes: Scopes = scopes.into_iter().flatten().flatten().collect();
        if more.tenant.is_some() {
            // Only operators have it, whatever a document says.
            scopes = scopes.without(Scope::Admin);
        }
        Ok(Self {
            proof: proof_of(document)?,
            id,
            scopes,
            expires_at: date_of(document, "expiresAt")?,
            created_at: date_of(document, "createdAt")?,
            bytes: Room::for_document(document.as_bytes().len()),
            more: (more != More::default()).then(|| Box::new(more)),
        })
    }

    /// Returns the `_id`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether this is the key whose text has this SHA-256. It takes as long whatever the answer is.
    pub(crate) fn has_text(&self, hash: &[u8; 32]) -> bool {
        matches!(self.proof, KeyProof::Text(_)) && self.has_hash(hash)
    }

    /// Whether it has this hash, be it of its text or its certificate: then it is the key that it was.
    pub(super) fn has_hash(&self, hash: &[u8; 32]) -> bool {
        self.proof.stored().1.ct_eq(hash).into()
    }

    /// Returns the fingerprint of the certificate that it is for.
    pub(crate) fn certificate(&self) -> Option<&Fingerprint> {
        match &self.proof {
            KeyProof::Text(_) => None,
            KeyProof::Certificate(fingerprint) => Some(fingerprint),
        }
    }

    /// Returns the tenant; `None` is an operator's key.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.more.as_ref()?.tenant.as_deref()
    }

    /// Returns the time at which it was made, where the document says so.
    pub(crate) fn created_at(&self) -> Option<DateTime> {
        self.created_at
    }

    /// Returns the time at which it ends.
    pub(crate) fn expires_at(&self) -> Option<DateTime> {
        self.expires_at
    }

    /// Returns the room that it takes on a node.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns what it may do at all.
    pub(crate) fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Whether it gives at least what it gave to a caller: the same identity, and no fewer rights. Nothing is copied: a
    /// revocation asks this for every session.
    pub(crate) fn gives_as_much(&self, then: &Caller) -> bool {
        static NOTHING: LazyLock<More> = LazyLock::new(More::default);
        let more = self.more.as_deref().unwrap_or(&NOTHING);
        more.tenant == then.tenant
            && more.policy() == then.policy.as_deref()
            && more.claims == then.claims
            && more.limits.cover(&then.limits)
            && self.scopes.cover(then.scopes)
    }

    /// Returns the caller that this key proves.
    pub(crate) fn caller(&self) -> Caller {
        let more = self.more.as_deref().cloned().unwrap_or_default();
        Caller {
            kind: CallerKind::Key,
            id: self.id.clone(),
            owner: Some(format!("{KEY_OWNER}{}", self.id).into()),
            policy: more.policy().map(Into::into),
            tenant: more.tenant,
            scopes: self.scopes,
            claims: more.claims,
            expires_at: self.expires_at,
            credential: Credential::Key {
                id: self.id.clone(),
                hash: *self.proof.stored().1,
                not_after: None,
            },
            limits: more.limits,
            quotas: more.quotas,
        }
    }
}

/// Whether a text can be the name of a tenant. A colon ends the name in an id of the tenant's own choice.
pub(crate) fn is_tenant(name: &str) -> bool {
    !name.is_empty() && !name.contains(':')
}

const fn fault(field: &'static str, reason: &'static str) -> KeyFault {
    KeyFault { field, reason }
}

/// Returns the value of a field; `None` if it is absent or null.
fn value_of<'d>(
    document: &'d RawDocument,
    field: &'static str,
) -> Result<Option<RawBsonRef<'d>>, KeyFault> {
    match document.get(field) {
        Ok(value) => Ok(value.filter(|value| *value != RawBsonRef::Null)),
        Err(_) => Err(fault(field, "cannot be read")),
    }
}

fn text_of(document: &RawDocument, field: &'static str) -> Result<Option<Box<str>>, KeyFault> {
    match value_of(document, field)? {
        None => Ok(None),
        Some(RawBsonRef::String(text)) => Ok(Some(text.into())),
        Some(_) => Err(fault(field, "must be a string")),
    }
}

fn date_of(document: &RawDocument, field: &'static str) -> Result<Option<DateTime>, KeyFault> {
    match value_of(document, field)? {
        None => Ok(None),
        Some(RawBsonRef::DateTime(date)) => Ok(Some(date)),
        Some(_) => Err(fault(field, "must be a date")),
    }
}

fn list_of<T>(
    document: &RawDocument,
    field: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<Box<[T]>>, KeyFault> {
    let values = match value_of(document, field)? {
        None => return Ok(None),
        Some(RawBsonRef::Array(values)) => values,
        Some(_) => return Err(fault(field, "must be an array of strings")),
    };
    let mut list = Vec::new();
    for value in values {
        let Ok(RawBsonRef::String(text)) = value else {
            return Err(fault(field, "must be an array of strings"));
        };
        if list.len() == MOST_ENTRIES {
            return Err(fault(field, "has too many entries"));
        }
        list.push(read(text).ok_or(fault(field, "has an entry that cannot be read"))?);
    }
    Ok(Some(list.into()))
}

fn proof_of(document: &RawDocument) -> Result<KeyProof, KeyFault> {
    let of_text = bytes_of(document, "hash")?;
    match (of_text, bytes_of(document, "certificate")?) {
        (Some(hash), None) => Ok(KeyProof::Text(hash)),
        (None, Some(fingerprint)) => Ok(KeyProof::Certificate(fingerprint)),
        (None, None) => Err(fault("hash", "must be 32 bytes of binary data")),
        (Some(_), Some(_)) => Err(fault("certificate", "must not stand beside a hash")),
    }
}

fn bytes_of(document: &RawDocument, field: &'static str) -> Result<Option<[u8; 32]>, KeyFault> {
    match value_of(document, field)? {
        None => Ok(None),
        Some(RawBsonRef::Binary(binary)) if binary.subtype == BinarySubtype::Generic => {
            let bytes = binary.bytes.try_into();
            bytes
                .map(Some)
                .map_err(|_| fault(field, "must have 32 bytes"))
        }
        Some(_) => Err(fault(field, "must be 32 bytes of binary data")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::KeyText;
    use bson::{Binary, Bson, Document, RawDocumentBuf, doc};

    fn binary(bytes: Vec<u8>) -> Bson {
        let subtype = BinarySubtype::Generic;
        Binary { subtype, bytes }.into()
    }

    fn stored(text: &KeyText, more: Document) -> Document {
        let hash = binary(text.hash().to_vec());
        let mut document = doc! {"_id": text.id(), "hash": hash, "scopes": ["events:read"]};
        document.extend(more);
        document
    }

    fn read(document: &Document) -> Result<StoredKey, KeyFault> {
        StoredKey::read(&RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn a_key_gives_what_its_document_says() {
        let text = KeyText::mint();
        let more = doc! {
            "tenant": "acme", "policy": "p", "claims": {"region": "eu"}, "networks": ["10.0.0.0/8"],
            "subscriptions": ["a"], "limits": {"connections": 3}, "expiresAt": DateTime::MAX, "name": "mine",
        };
        let key = read(&stored(&text, more)).unwrap();
        assert!(key.has_text(&text.hash()) && !key.has_text(&KeyText::mint().hash()));
        let caller = key.caller();
        assert_eq!(
            caller.owner.as_deref(),
            Some(&*format!("key:{}", text.id()))
        );
        assert_eq!(caller.tenant.as_deref(), Some("acme"));
        assert_eq!(caller.policy.as_deref(), Some("p"));
        assert!(caller.may(Scope::EventsRead) && !caller.may(Scope::EventsPublish));
        assert_eq!(caller.expires_at, Some(DateTime::MAX));
        assert_eq!(caller.limits.networks.unwrap().len(), 1);
        assert_eq!(caller.claims.to_document(), doc! {"region": "eu"});
        assert_eq!(caller.quotas.to_document(), doc! {"connections": 3_i64});
    }

    #[test]
    fn a_key_for_a_certificate_has_no_text() {
        let hash = KeyText::mint().hash();
        let document =
            doc! {"_id": "a", "certificate": binary(hash.to_vec()), "scopes": ["metrics"]};
        let key = read(&document).unwrap();
        assert_eq!(key.certificate(), Some(&hash));
        assert!(!key.has_text(&hash));
        assert!(key.caller().may(Scope::Metrics));
        assert_eq!(key.caller().owner.as_deref(), Some("key:a"));
    }

    #[test]
    fn a_tenant_always_has_a_policy_and_an_operator_only_one_that_is_named() {
        let text = KeyText::mint();
        let policy = |more| read(&stored(&text, more)).unwrap().caller().policy;
        assert_eq!(policy(doc! {}), None);
        assert_eq!(policy(doc! {"policy": "p"}).as_deref(), Some("p"));
        assert_eq!(policy(doc! {"tenant": "acme"}).as_deref(), Some("default"));
    }

    #[test]
    fn the_key_of_a_tenant_is_never_an_administrators() {
        let text = KeyText::mint();
        for (tenant, admin) in [(Bson::Null, true), ("acme".into(), false)] {
            let more = doc! {"tenant": tenant, "scopes": ["admin", "unheard of"]};
            let caller = read(&stored(&text, more)).unwrap().caller();
            assert_eq!(caller.may(Scope::Admin), admin);
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_makes_a_key_useless() {
        let text = KeyText::mint();
        for (field, value) in [
            ("_id", Bson::from(5)),
            ("hash", Bson::from("text")),
            ("hash", binary(vec![1; 31])),
            ("certificate", "text".into()),
            ("certificate", binary(vec![1; 31])),
            // Nobody could say which of the two counts.
            ("certificate", binary(vec![1; 32])),
            ("scopes", "admin".into()),
            ("scopes", vec![Bson::from(1)].into()),
            ("tenant", vec![Bson::from("acme")].into()),
            ("tenant", "".into()),
            ("tenant", "a:b".into()),
            ("policy", 1.into()),
            ("claims", "x".into()),
            ("networks", vec![Bson::from("nowhere")].into()),
            ("subscriptions", true.into()),
            ("limits", 5.into()),
            ("limits", doc! {"connections": -1}.into()),
            ("expiresAt", "never".into()),
        ] {
            let document = stored(&text, doc! {field: value});
            assert_eq!(read(&document).unwrap_err().field, field, "{document}");
        }
        assert_eq!(read(&doc! {"_id": text.id()}).unwrap_err().field, "hash");
    }
}
