//! Keys to be made: what a document of a new key says, and what its maker may give away.

use bson::{Binary, DateTime, Document, doc, spec::BinarySubtype};
use ipnet::IpNet;

use super::{
    Caller, Claims, KeyProof, KeyText, Quota, SaidQuotas, Scope, Scopes, certificate::Fingerprint,
};

/// A key to be made.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct NewKey {
    pub name: Option<String>,
    pub scopes: Scopes,
    pub tenant: Option<String>,
    pub policy: Option<String>,
    pub claims: Option<Claims>,
    pub networks: Option<Vec<IpNet>>,
    pub origins: Option<Vec<String>>,
    pub subscriptions: Option<Vec<String>>,
    pub quotas: SaidQuotas,
    pub expires_at: Option<DateTime>,
    /// The certificate of a client that the key is for. `None`: it has a text.
    pub certificate: Option<Fingerprint>,
}

/// A field of a new key that gives more than its maker has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Excess {
    pub field: &'static str,
    pub reason: String,
}

impl NewKey {
    /// Takes from the maker what the request does not name, and refuses what goes beyond the maker's own rights.
    pub(crate) fn within(mut self, maker: &Caller) -> Result<Self, Excess> {
        let excess = |field, reason: &str| {
            Err(Excess {
                field,
                reason: reason.to_owned(),
            })
        };
        if let Some(scope) = self.scopes.iter().find(|scope| !maker.may(*scope)) {
            return excess("scopes", &format!("you do not have {}", scope.as_str()));
        }
        if maker.tenant.is_some() {
            inherit(&mut self.tenant, maker.tenant.as_deref()).map_err(|()| of_tenant("tenant"))?;
        }
        if maker.tenant.is_some() || maker.policy.is_some() {
            inherit(&mut self.policy, maker.policy.as_deref()).map_err(|()| of_tenant("policy"))?;
            match &self.claims {
                Some(claims) if *claims != maker.claims => return Err(of_tenant("claims")),
                _ => self.claims = Some(maker.claims.clone()),
            }
        }
        if self.certificate.is_some() && maker.tenant.is_some() {
            // A certificate is no secret. Whoever binds it to a key says for whom its holder acts.
            return excess("certificate", "is for operators");
        }
        if self.tenant.is_some() && self.scopes.iter().any(|scope| scope == Scope::Admin) {
            return excess(
                "scopes",
                "admin is for operators, and this key is of a tenant",
            );
        }
        let limits = &maker.limits;
        narrow(
            &mut self.networks,
            limits.networks.as_deref(),
            |own, all| all.iter().any(|net| net.contains(own)),
        )
        .map_err(|()| beyond("networks"))?;
        let texts = |own: &String, all: &[Box<str>]| all.iter().any(|one| **one == **own);
        narrow(&mut self.origins, limits.origins.as_deref(), texts)
            .map_err(|()| beyond("origins"))?;
        narrow(
            &mut self.subscriptions,
            limits.subscriptions.as_deref(),
            texts,
        )
        .map_err(|()| beyond("subscriptions"))?;
        for quota in Quota::ALL {
            let Some(most) = maker.quotas.bound(quota) else {
                continue;
            };
            match self.quotas.get(quota) {
                None => self.quotas.set(quota, most.get()),
                Some(number) if number == 0 || number > most.get() => return Err(beyond("limits")),
                Some(_) => {}
            }
        }
        match (self.expires_at, maker.expires_at) {
            (None, end) => self.expires_at = end,
            (Some(end), Some(latest)) if end > latest => {
                return excess("expiresAt", "is later than the end of your own credential");
            }
            _ => {}
        }
        Ok(self)
    }

    /// Returns the document of the key with this text. A key for a certificate takes the id from it and nothing else.
    pub(crate) fn to_document(&self, text: &KeyText, by: &str, now: DateTime) -> Document {
        let proof = match self.certificate {
            None => KeyProof::Text(text.hash()),
            Some(fingerprint) => KeyProof::Certificate(fingerprint),
        };
        let (field, bytes) = proof.stored();
        let proof = Binary {
            subtype: BinarySubtype::Generic,
            bytes: bytes.to_vec(),
        };
        let scopes: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
        let mut document = doc! {"_id": text.id(), field: proof, "scopes": scopes};
        let mut set = |field: &str, value: Option<bson::Bson>| {
            if let Some(value) = value {
                document.insert(field, value);
            }
        };
        set("name", self.name.clone().map(Into::into));
        set("tenant", self.tenant.clone().map(Into::into));
        set("policy", self.policy.clone().map(Into::into));
        let claims = self.claims.as_ref().filter(|claims| !claims.is_empty());
        set("claims", claims.map(|claims| claims.to_document().into()));
        let networks = self.networks.as_ref().map(|networks| {
            let texts = networks.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().into()
        });
        set("networks", networks);
        set("origins", self.origins.clone().map(Into::into));
        set("subscriptions", self.subscriptions.clone().map(Into::into));
        let quotas = Some(self.quotas).filter(|quotas| !quotas.is_empty());
        set("limits", quotas.map(|quotas| quotas.to_document().into()));
        set("expiresAt", self.expires_at.map(Into::into));
        set("createdAt", Some(now.into()));
        set("createdBy", Some(by.into()));
        document
    }
}

fn of_tenant(field: &'static str) -> Excess {
    let reason = "is that of your own credential: leave it out";
    Excess {
        field,
        reason: reason.to_owned(),
    }
}

fn beyond(field: &'static str) -> Excess {
    let reason = "goes beyond the limits of your own credential";
    Excess {
        field,
        reason: reason.to_owned(),
    }
}

/// Takes over the maker's value; an error if another one is asked for.
fn inherit(asked: &mut Option<String>, own: Option<&str>) -> Result<(), ()> {
    match asked {
        Some(asked) if Some(&**asked) != own => Err(()),
        _ => {
            *asked = own.map(str::to_owned);
            Ok(())
        }
    }
}

/// Takes over the maker's limit where none is asked for; an error if an entry is not within it.
fn narrow<T, L: Clone>(
    asked: &mut Option<Vec<T>>,
    own: Option<&[L]>,
    within: impl Fn(&T, &[L]) -> bool,
) -> Result<(), ()>
where
    T: From<L>,
{
    let Some(own) = own else { return Ok(()) };
    match asked {
        Some(asked) if asked.iter().all(|entry| within(entry, own)) => Ok(()),
        Some(_) => Err(()),
        None => {
            *asked = Some(own.iter().cloned().map(T::from).collect());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{CallerKind, ClaimValue, KeyLimits, StoredKey};
    use bson::RawDocumentBuf;

    fn maker() -> Caller {
        let mut claims = Claims::default();
        claims.insert("region", ClaimValue::String("eu".into()));
        Caller {
            kind: CallerKind::Key,
            tenant: Some("acme".into()),
            policy: Some("p".into()),
            scopes: Scopes::of(&[Scope::KeysWrite, Scope::EventsRead]),
            claims,
            expires_at: Some(DateTime::from_millis(1_000)),
            quotas: {
                let mut quotas = SaidQuotas::default();
                quotas.set(Quota::Connections, 5);
                quotas
            },
            limits: KeyLimits {
                networks: Some(["10.0.0.0/8".parse().unwrap()].into()),
                origins: None,
                subscriptions: Some(["a".into(), "b".into()].into()),
                ticket: None,
            },
            ..Caller::anybody()
        }
    }

    #[test]
    fn a_minted_key_has_what_its_maker_has() {
        let asked = NewKey {
            scopes: Scopes::of(&[Scope::EventsRead]),
            ..NewKey::default()
        };
        let key = asked.within(&maker()).unwrap();
        let text = KeyText::mint();
        let document = key.to_document(&text, "key:m", DateTime::from_millis(5));
        let stored = StoredKey::read(&RawDocumentBuf::try_from(&document).unwrap()).unwrap();
        let (minted, maker) = (stored.caller(), maker());
        assert_eq!(minted.tenant, maker.tenant);
        assert_eq!(minted.policy, maker.policy);
        assert_eq!(minted.claims, maker.claims);
        assert_eq!(minted.limits, maker.limits);
        assert_eq!(minted.quotas, maker.quotas);
        assert_eq!(minted.expires_at, maker.expires_at);
        assert!(stored.has_text(&text.hash()));
    }

    #[test]
    fn nobody_gives_away_more_than_they_have() {
        let text = |text: &str| Some(text.to_owned());
        for (field, asked) in [
            (
                "scopes",
                NewKey {
                    scopes: Scopes::of(&[Scope::Metrics]),
                    ..NewKey::default()
                },
            ),
            (
                "scopes",
                NewKey {
                    scopes: Scopes::of(&[Scope::Admin]),
                    ..NewKey::default()
                },
            ),
            (
                "tenant",
                NewKey {
                    tenant: text("other"),
                    ..NewKey::default()
                },
            ),
            (
                "policy",
                NewKey {
                    policy: text("q"),
                    ..NewKey::default()
                },
            ),
            (
                "claims",
                NewKey {
                    claims: Some(Claims::default()),
                    ..NewKey::default()
                },
            ),
            (
                "networks",
                NewKey {
                    networks: Some(vec!["0.0.0.0/0".parse().unwrap()]),
                    ..NewKey::default()
                },
            ),
            (
                "subscriptions",
                NewKey {
                    subscriptions: Some(vec!["c".to_owned()]),
                    ..NewKey::default()
                },
            ),
            (
                "certificate",
                NewKey {
                    certificate: Some([1; 32]),
                    ..NewKey::default()
                },
            ),
            ("limits", with_connections(6)),
            ("limits", with_connections(0)),
            (
                "expiresAt",
                NewKey {
                    expires_at: Some(DateTime::from_millis(1_001)),
                    ..NewKey::default()
                },
            ),
        ] {
            assert_eq!(asked.within(&maker()).unwrap_err().field, field);
        }
    }

    fn with_connections(most: u32) -> NewKey {
        let mut key = NewKey::default();
        key.quotas.set(Quota::Connections, most);
        key
    }

    #[test]
    fn a_key_has_lower_limits_than_its_maker_if_it_asks_for_them() {
        let key = with_connections(4).within(&maker()).unwrap();
        assert_eq!(
            key,
            NewKey {
                quotas: with_connections(4).quotas,
                ..key.clone()
            }
        );
    }

    #[test]
    fn an_operator_who_is_narrowed_makes_no_key_that_is_not() {
        let operator = Caller {
            tenant: None,
            ..maker()
        };
        let asked = NewKey {
            scopes: Scopes::of(&[Scope::EventsRead]),
            ..NewKey::default()
        };
        let key = asked.clone().within(&operator).unwrap();
        assert_eq!(key.policy.as_deref(), Some("p"));
        assert_eq!(key.claims, Some(operator.claims.clone()));
        let other = NewKey {
            policy: Some("q".to_owned()),
            ..asked
        };
        assert_eq!(other.within(&operator).unwrap_err().field, "policy");
    }

    #[test]
    fn an_operator_makes_keys_of_tenants_but_no_administrators_among_them() {
        let mut operator = Caller::anybody();
        let mut asked = NewKey {
            tenant: Some("acme".to_owned()),
            policy: Some("p".to_owned()),
            scopes: Scopes::of(&[Scope::EventsRead]),
            ..NewKey::default()
        };
        assert_eq!(asked.clone().within(&operator).unwrap(), asked);
        asked.scopes = Scopes::of(&[Scope::Admin]);
        assert_eq!(asked.clone().within(&operator).unwrap_err().field, "scopes");
        asked.tenant = None;
        assert!(asked.clone().within(&operator).is_ok());
        asked.certificate = Some([1; 32]);
        assert_eq!(asked.clone().within(&operator).unwrap(), asked);
        operator.scopes = Scopes::of(&[Scope::KeysWrite]);
        assert_eq!(asked.within(&operator).unwrap_err().field, "scopes");
    }
}
