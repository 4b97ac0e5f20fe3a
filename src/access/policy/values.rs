//! The values that stand for claims in a template.

use bson::Bson;

use super::super::TENANT;
use super::super::claims::{ClaimValue, Claims, MOST_VALUES};

/// A claim that a policy needs, and that the caller does not have in a usable form. Nothing matches.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the policy needs the claim {claim}, which is missing or cannot be used there")]
pub struct Unsatisfied {
    /// The claim's name.
    pub claim: Box<str>,
}

/// The source of claims.
pub(super) enum Values<'c> {
    /// A caller's, or a binding's.
    Of(Option<&'c str>, &'c Claims),
    /// None in particular, to see what a template becomes.
    Sample,
}

impl<'c> Values<'c> {
    pub(super) fn of(tenant: Option<&'c str>, claims: &'c Claims) -> Self {
        Self::Of(tenant, claims)
    }

    /// Returns a claim that is one value.
    pub(super) fn scalar(&self, name: &str) -> Result<ClaimValue, Unsatisfied> {
        let value = self.get(name);
        let usable = value.filter(is_scalar);
        usable.ok_or_else(|| unsatisfied(name))
    }

    /// Returns a claim as a list; a value alone is a list of one.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Bson>, Unsatisfied> {
        match self.get(name) {
            Some(ClaimValue::List(values))
                if values.len() <= MOST_VALUES && values.iter().all(is_scalar) =>
            {
                Ok(values.iter().map(ClaimValue::to_bson).collect())
            }
            Some(value) if is_scalar(&value) => Ok(vec![value.to_bson()]),
            _ => Err(unsatisfied(name)),
        }
    }

    /// Returns a claim. The tenant is the caller's, whatever its claims say.
    fn get(&self, name: &str) -> Option<ClaimValue> {
        match self {
            Self::Sample => Some(ClaimValue::String("x".into())),
            Self::Of(tenant, _) if name == TENANT => {
                tenant.map(|tenant| ClaimValue::String(tenant.into()))
            }
            Self::Of(_, claims) => claims.get(name).cloned(),
        }
    }
}

/// Whether a value can be compared with one field. Whoever made the claims has seen to it; rights do not hang on that.
fn is_scalar(value: &ClaimValue) -> bool {
    match value {
        ClaimValue::String(text) => !text.is_empty(),
        ClaimValue::Double(number) => number.is_finite(),
        ClaimValue::Int(_) | ClaimValue::Bool(_) => true,
        ClaimValue::List(_) => false,
    }
}

fn unsatisfied(name: &str) -> Unsatisfied {
    Unsatisfied { claim: name.into() }
}
