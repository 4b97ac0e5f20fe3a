//! Revocations to be made.

use bson::{DateTime, Document, doc};

use super::{Caller, Scopes, new_key::Excess, revocation::needed_scopes, text::random};

/// Random digits of an id.
const ID_DIGITS: usize = 20;

/// A revocation to be made. It names what all of its fields name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct NewRevocation {
    pub issuer: Option<String>,
    pub jti: Option<String>,
    pub sub: Option<String>,
    pub kid: Option<String>,
    pub tenant: Option<String>,
    pub issued_before: Option<DateTime>,
    pub expires_at: Option<DateTime>,
    pub reason: Option<String>,
}

impl NewRevocation {
    /// Ensures that it names something, in one way. The error says what it must name.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let named = [&self.jti, &self.sub, &self.kid];
        match named.into_iter().flatten().count() {
            0 if self.tenant.is_none() => Err("must name one of jti, sub, kid and tenant"),
            0 | 1 => Ok(()),
            _ => Err("must name one of jti, sub and kid only"),
        }
    }

    /// Keeps it within the tenant of who makes it. Another tenant is refused, and so is one that takes away more than its
    /// maker has.
    pub(crate) fn within(self, maker: &Caller) -> Result<Self, Excess> {
        let bound = self.within_tenant(maker)?;
        let needed = bound.needed_scopes();
        if maker.scopes.cover(needed) {
            return Ok(bound);
        }
        Err(bound.too_wide())
    }

    fn within_tenant(mut self, maker: &Caller) -> Result<Self, Excess> {
        match (&self.tenant, maker.tenant.as_deref()) {
            (Some(asked), Some(own)) if asked != own => Err(Excess {
                field: "tenant",
                reason: "is that of your own credential: leave it out".to_owned(),
            }),
            (_, own) => {
                if let Some(own) = own {
                    self.tenant = Some(own.to_owned());
                }
                Ok(self)
            }
        }
    }

    fn needed_scopes(&self) -> Scopes {
        let one_holder = self.jti.is_some() || self.sub.is_some();
        needed_scopes(one_holder, self.tenant.is_some())
    }

    /// Returns the refusal of a revocation for which its maker has too few scopes.
    fn too_wide(&self) -> Excess {
        let field = match self {
            Self { jti: Some(_), .. } => "jti",
            Self { sub: Some(_), .. } => "sub",
            Self { kid: Some(_), .. } => "kid",
            _ => "tenant",
        };
        let (needed, advice) = match (&self.tenant, field) {
            (Some(_), _) => ("every scope but admin", "name one holder, by jti or sub"),
            (None, "jti" | "sub") => ("admin", "name a tenant"),
            (None, _) => ("admin", "name a tenant, and one holder by jti or sub"),
        };
        let reason = format!(
            "takes away credentials that may have {needed}, which you do not have: {advice}"
        );
        Excess { field, reason }
    }

    /// Returns the document, under a new id.
    pub(crate) fn to_document(&self, by: &str, now: DateTime) -> Document {
        let mut document = doc! {"_id": format!("rev_{}", random(ID_DIGITS))};
        let texts = [
            ("issuer", &self.issuer),
            ("jti", &self.jti),
            ("sub", &self.sub),
            ("kid", &self.kid),
            ("tenant", &self.tenant),
            ("reason", &self.reason),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                document.insert(field, text);
            }
        }
        let dates = [
            ("issuedBefore", self.issued_before),
            ("expiresAt", self.expires_at),
        ];
        for (field, date) in dates {
            if let Some(date) = date {
                document.insert(field, date);
            }
        }
        document.insert("createdAt", now);
        document.insert("createdBy", by);
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Revocation, Scope};
    use bson::RawDocumentBuf;

    /// A revocation that names these fields.
    fn of(fields: &[(&str, &str)]) -> NewRevocation {
        let named = |name| {
            let found = fields.iter().find(|(field, _)| *field == name);
            found.map(|(_, text)| (*text).to_owned())
        };
        NewRevocation {
            issuer: named("issuer"),
            jti: named("jti"),
            sub: named("sub"),
            kid: named("kid"),
            tenant: named("tenant"),
            ..NewRevocation::default()
        }
    }

    #[test]
    fn it_names_one_thing_and_is_read_as_it_was_made() {
        let dated = NewRevocation {
            issued_before: Some(DateTime::MAX),
            ..NewRevocation::default()
        };
        for (made, sound) in [
            (of(&[]), false),
            (of(&[("issuer", "main")]), false),
            (dated, false),
            (of(&[("jti", "j")]), true),
            (of(&[("sub", "s"), ("issuer", "main")]), true),
            (of(&[("kid", "k"), ("tenant", "acme")]), true),
            (of(&[("tenant", "acme")]), true),
            (of(&[("jti", "j"), ("sub", "s")]), false),
        ] {
            assert_eq!(made.check().is_ok(), sound, "{made:?}");
            let document = made.to_document("key:k", DateTime::now());
            let raw = RawDocumentBuf::try_from(&document).unwrap();
            assert_eq!(Revocation::read(&raw).is_some(), sound, "{document}");
        }
    }

    #[test]
    fn a_tenant_revokes_its_own_alone() {
        let maker = |tenant: Option<&str>| Caller {
            tenant: tenant.map(Into::into),
            ..Caller::anybody()
        };
        let made = of(&[("sub", "s")]);
        let bound = |tenant| of(&[("sub", "s"), ("tenant", tenant)]);
        let acme = maker(Some("acme"));
        assert_eq!(made.clone().within(&acme), Ok(bound("acme")));
        assert_eq!(bound("acme").within(&acme), Ok(bound("acme")));
        assert_eq!(bound("other").within(&acme).unwrap_err().field, "tenant");
        assert_eq!(made.clone().within(&maker(None)), Ok(made));
        assert_eq!(bound("other").within(&maker(None)), Ok(bound("other")));
    }
    #[test]
    fn whoever_revokes_has_what_may_be_taken_away_with_it() {
        let maker = |tenant: Option<&str>, scopes| Caller {
            tenant: tenant.map(Into::into),
            scopes,
            ..Caller::anybody()
        };
        let keeping = Scopes::of(&[Scope::KeysWrite]);
        let (all_but_admin, admin) = (Scopes::ALL.without(Scope::Admin), Scopes::ALL);
        let operators = [keeping, all_but_admin, admin].map(|scopes| maker(None, scopes));
        let tenants = [keeping, all_but_admin].map(|scopes| maker(Some("acme"), scopes));
        let bound = |field| of(&[(field, "x"), ("tenant", "acme")]);
        let everywhere = |field| of(&[(field, "x")]);
        for (made, by_operators, by_tenants) in [
            (bound("jti"), [true; 3], [true; 2]),
            (bound("sub"), [true; 3], [true; 2]),
            (bound("kid"), [false, true, true], [false, true]),
            (
                of(&[("tenant", "acme")]),
                [false, true, true],
                [false, true],
            ),
            (everywhere("jti"), [false, false, true], [true; 2]),
            (everywhere("sub"), [false, false, true], [true; 2]),
            (everywhere("kid"), [false, false, true], [false, true]),
        ] {
            let may = |maker: &Caller| made.clone().within(maker).is_ok();
            assert_eq!(operators.each_ref().map(may), by_operators, "{made:?}");
            assert_eq!(tenants.each_ref().map(may), by_tenants, "{made:?}");
            // It is taken back by those who could have made it.
            let stored = RawDocumentBuf::try_from(&made.to_document("k", DateTime::now())).unwrap();
            let needed = Revocation::read(&stored).unwrap().needed_scopes();
            let may = |maker: &Caller| maker.scopes.cover(needed);
            assert_eq!(operators.each_ref().map(may), by_operators, "{made:?}");
        }
    }
}
