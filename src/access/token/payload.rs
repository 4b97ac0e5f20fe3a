//! The claims of a token whose signature stands.

use serde_json::{Map, Value};

use super::{TokenFault, text::NAME_BYTES};
use crate::access::{ClaimValue, Claims, MOST_CLAIMS, Scope, Scopes};

/// Claims that policies cannot name: each token has its own, and the tenant is the caller's, whatever the claim says.
const NOT_KEPT: [&str; 5] = ["exp", "nbf", "iat", "jti", "tenant"];
const MILLIS: i64 = 1_000;

/// The claims of a token whose signature stands.
#[derive(Clone, Copy)]
pub(super) struct Payload<'t>(pub &'t Map<String, Value>);

impl<'t> Payload<'t> {
    /// Returns a time in milliseconds since 1970. It may have a fraction (RFC 7519); one beyond all bounds is at the bound.
    pub(super) fn time(self, name: &str) -> Result<Option<i64>, TokenFault> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        if let Some(seconds) = value.as_i64() {
            return Ok(Some(seconds.saturating_mul(MILLIS)));
        }
        let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
        let seconds = seconds.ok_or_else(|| TokenFault::claim(name, "is not a number"))?;
        #[expect(clippy::cast_possible_truncation, reason = "it stops at the bounds")]
        let millis = (seconds * 1_000.0).floor() as i64;
        Ok(Some(millis))
    }

    /// Returns a short text.
    pub(super) fn name(self, name: &str) -> Result<Option<&'t str>, TokenFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=NAME_BYTES).contains(&text.len()) => Ok(Some(text)),
            Some(_) => Err(TokenFault::claim(name, "is not a text of 1 to 255 bytes")),
        }
    }

    /// Ensures that the audience is among these.
    pub(super) fn check_audience(self, ours: &[Box<str>]) -> Result<(), TokenFault> {
        let missing = || TokenFault::claim("aud", "is missing");
        let one = |text: &str| ours.iter().any(|name| **name == *text);
        let named = match self.0.get("aud").ok_or_else(missing)? {
            Value::String(text) => one(text),
            Value::Array(all) if all.iter().all(Value::is_string) => {
                all.iter().filter_map(Value::as_str).any(one)
            }
            _ => {
                let reason = "is neither a text nor a list of texts";
                return Err(TokenFault::claim("aud", reason));
            }
        };
        named.then_some(()).ok_or(TokenFault::Audience)
    }

    /// Returns the scopes that a claim names; `None` if it names none of ours.
    pub(super) fn scopes(self, claim: &str) -> Result<Option<Scopes>, TokenFault> {
        let fault = || TokenFault::Scopes(claim.into());
        let scopes: Vec<_> = match self.0.get(claim) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.split(' ').filter_map(Scope::parse).collect(),
            Some(Value::Array(all)) => {
                let texts: Option<Vec<_>> = all.iter().map(Value::as_str).collect();
                let texts = texts.ok_or_else(fault)?;
                texts.into_iter().filter_map(Scope::parse).collect()
            }
            Some(_) => return Err(fault()),
        };
        Ok((!scopes.is_empty()).then(|| scopes.into_iter().collect()))
    }

    /// Returns the claims that policies can name: the first so many in the payload.
    pub(super) fn claims(self) -> Claims {
        let mut claims = Claims::default();
        let kept = (self.0.iter()).filter(|(name, _)| !NOT_KEPT.contains(&name.as_str()));
        let usable = kept.filter_map(|(name, value)| Some((name, ClaimValue::of_json(value)?)));
        for (name, value) in usable.take(MOST_CLAIMS) {
            claims.insert(name, value);
        }
        claims
    }
}
