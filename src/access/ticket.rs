//! Stored tickets: a caller for one connection, restored from what its document says.

use bson::{Binary, Bson, DateTime, Document, RawBsonRef, RawDocument, doc, spec::BinarySubtype};

use super::{
    Caller, CallerKind, Claims, Credential, KeyLimits, SaidQuotas, Scope, TicketText,
    TokenIdentity, is_tenant,
};

/// Returns the document of a ticket with which a caller, or whom it gives the ticket to, receives these subscriptions. The
/// store adds its end.
pub(crate) fn ticket_document(
    text: &TicketText,
    caller: &Caller,
    subscriptions: &[String],
) -> Document {
    let optional = |text: &Option<Box<str>>| text.as_deref().map_or(Bson::Null, Bson::from);
    let scopes: Vec<Bson> = caller.scopes.iter().map(|s| s.as_str().into()).collect();
    doc! {
        "_id": text.id(),
        "credential": credential_document(&caller.credential),
        "caller": {
            "owner": optional(&caller.owner),
            "tenant": optional(&caller.tenant),
            "policy": optional(&caller.policy),
            "scopes": scopes,
            "claims": caller.claims.to_document(),
            "expiresAt": caller.expires_at.map_or(Bson::Null, Bson::from),
        },
        "subscriptions": subscriptions,
    }
}

/// Restores the caller of a stored ticket, without the limits and quotas of its key; `None` if the document cannot be used. Nothing is
/// guessed about what may be done.
pub(crate) fn ticket_caller(document: &RawDocument) -> Option<Caller> {
    let credential = credential(document.get_document("credential").ok()?)?;
    let (kind, id) = match &credential {
        Credential::Key { id, .. } => (CallerKind::Key, id.clone()),
        Credential::Token(token) => (CallerKind::Token, token.subject.clone()),
        Credential::None => return None,
    };
    let stored = document.get_document("caller").ok()?;
    let tenant = text(stored, "tenant")?;
    if tenant.as_deref().is_some_and(|name| !is_tenant(name)) {
        return None;
    }
    let scopes = texts(stored, "scopes")?;
    let scopes = scopes.iter().filter_map(|name| Scope::parse(name));
    let claims = Claims::read(stored.get_document("claims").ok()?);
    Some(Caller {
        kind,
        id,
        owner: Some(text(stored, "owner")??),
        tenant,
        scopes: scopes.collect(),
        policy: text(stored, "policy")?,
        claims,
        expires_at: date(stored, "expiresAt")?,
        credential,
        limits: KeyLimits {
            ticket: Some(texts(document, "subscriptions")?),
            ..KeyLimits::default()
        },
        quotas: SaidQuotas::default(),
    })
}

fn credential_document(credential: &Credential) -> Document {
    match credential {
        Credential::None => doc! {},
        Credential::Key {
            id,
            hash,
            not_after,
        } => doc! {
            "key": &**id,
            "hash": binary(hash),
            "notAfter": not_after.map_or(Bson::Null, Bson::from),
        },
        Credential::Token(token) => {
            let optional = |text: &Option<Box<str>>| text.as_deref().map_or(Bson::Null, Bson::from);
            doc! {
                "issuer": &*token.issuer,
                "subject": &*token.subject,
                "jti": optional(&token.jti),
                "kid": optional(&token.kid),
                "issuedAt": token.issued_at.map_or(Bson::Null, Bson::from),
                "signedBy": binary(&token.signed_by),
            }
        }
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

fn credential(stored: &RawDocument) -> Option<Credential> {
    if let Some(id) = text(stored, "key")? {
        return Some(Credential::Key {
            id,
            hash: stored.get_binary("hash").ok()?.bytes.try_into().ok()?,
            not_after: date(stored, "notAfter")?,
        });
    }
    Some(Credential::Token(Box::new(TokenIdentity {
        issuer: text(stored, "issuer")??,
        subject: text(stored, "subject")??,
        jti: text(stored, "jti")?,
        kid: text(stored, "kid")?,
        issued_at: match stored.get("issuedAt").ok()? {
            None | Some(RawBsonRef::Null) => None,
            Some(RawBsonRef::Int64(seconds)) => Some(seconds),
            Some(_) => return None,
        },
        signed_by: stored.get_binary("signedBy").ok()?.bytes.try_into().ok()?,
    })))
}

/// Returns a text, or none if the field is absent; `None` if it is of another type.
#[expect(
    clippy::option_option,
    reason = "a field is absent, usable, or neither"
)]
fn text(document: &RawDocument, field: &str) -> Option<Option<Box<str>>> {
    match document.get(field).ok()? {
        None | Some(RawBsonRef::Null) => Some(None),
        Some(RawBsonRef::String(text)) => Some(Some(text.into())),
        Some(_) => None,
    }
}

#[expect(
    clippy::option_option,
    reason = "a field is absent, usable, or neither"
)]
fn date(document: &RawDocument, field: &str) -> Option<Option<DateTime>> {
    match document.get(field).ok()? {
        None | Some(RawBsonRef::Null) => Some(None),
        Some(RawBsonRef::DateTime(date)) => Some(Some(date)),
        Some(_) => None,
    }
}

/// Returns a list of texts; `None` if it is anything else.
fn texts(document: &RawDocument, field: &str) -> Option<Box<[Box<str>]>> {
    let values = document.get_array(field).ok()?.into_iter();
    let text = |value| match value {
        Ok(RawBsonRef::String(text)) => Some(text.into()),
        _ => None,
    };
    values.map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ClaimValue, Scopes};
    use bson::RawDocumentBuf;

    fn caller() -> Caller {
        let mut claims = Claims::default();
        claims.insert("region", ClaimValue::String("eu".into()));
        Caller {
            kind: CallerKind::Key,
            id: "key_a".into(),
            owner: Some("key:key_a".into()),
            tenant: Some("acme".into()),
            scopes: Scopes::of(&[Scope::EventsRead, Scope::SubscriptionsOwn]),
            policy: Some("default".into()),
            claims,
            expires_at: Some(DateTime::from_millis(5)),
            credential: Credential::Key {
                id: "key_a".into(),
                hash: [7; 32],
                not_after: None,
            },
            ..Caller::anybody()
        }
    }

    fn stored(caller: &Caller) -> Document {
        ticket_document(&TicketText::mint(), caller, &["a".to_owned()])
    }

    fn restored(document: &Document) -> Option<Caller> {
        ticket_caller(&RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn a_ticket_gives_its_caller_back_for_its_subscriptions() {
        let mut expected = caller();
        expected.limits.ticket = Some(["a".into()].into());
        assert!(restored(&stored(&caller())) == Some(expected.clone()));
        let token = TokenIdentity {
            issuer: "main".into(),
            subject: "42".into(),
            jti: Some("j".into()),
            kid: None,
            issued_at: Some(5),
            signed_by: [9; 32],
        };
        let of_token = Caller {
            kind: CallerKind::Token,
            id: "42".into(),
            credential: Credential::Token(Box::new(token)),
            ..expected.clone()
        };
        assert!(restored(&stored(&of_token)) == Some(of_token));
        let by_certificate = Caller {
            credential: Credential::Key {
                id: "key_a".into(),
                hash: [7; 32],
                not_after: Some(DateTime::from_millis(9)),
            },
            ..expected
        };
        assert!(restored(&stored(&by_certificate)) == Some(by_certificate));
        let operator = Caller {
            tenant: None,
            policy: None,
            expires_at: None,
            claims: Claims::default(),
            ..caller()
        };
        let operator = restored(&stored(&operator)).unwrap();
        assert!(operator.is_operator() && operator.expires_at.is_none());
    }

    #[test]
    fn a_ticket_of_nobody_or_with_a_field_of_the_wrong_type_gives_nobody() {
        assert!(restored(&stored(&Caller::anybody())).is_none());
        for (field, value) in [
            ("owner", Bson::Null),
            ("tenant", 5.into()),
            ("tenant", "".into()),
            ("policy", true.into()),
            ("scopes", "admin".into()),
            ("scopes", vec![Bson::from(1)].into()),
            ("claims", Bson::Null),
            ("expiresAt", "never".into()),
        ] {
            let mut document = stored(&caller());
            document
                .get_document_mut("caller")
                .unwrap()
                .insert(field, value);
            assert!(restored(&document).is_none(), "{document}");
        }
        for field in ["credential", "caller", "subscriptions"] {
            let mut document = stored(&caller());
            document.remove(field);
            assert!(restored(&document).is_none(), "{document}");
        }
        let mut document = stored(&caller());
        let credential = document.get_document_mut("credential").unwrap();
        credential.insert("hash", "text");
        assert!(restored(&document).is_none());
        let mut document = stored(&caller());
        let credential = document.get_document_mut("credential").unwrap();
        credential.insert("notAfter", 5);
        assert!(restored(&document).is_none());
    }
}
