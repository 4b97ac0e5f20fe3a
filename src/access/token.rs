//! Tokens: JWTs (RFC 7519) of configured issuers, from their text to the caller that they prove.
//!
//! The checks come in one order, each before the next costs more. Their letters are those of `tidegate token check`:
//!
//! - a: the text has three parts of base64url, and is not too long
//! - b: the header is a JSON object that asks for nothing special
//! - c: the claim `iss` is one text, and the issuer is configured
//! - d: type, algorithm and key are the issuer's
//! - e: the signature
//! - f: the times, the audience, and the names that others rely on
//! - g: no name comes twice, at any depth. It is decided with c, which needs the payload
//! - h: the scopes and the tenant
//!
//! Revocations (i) are [`Credentials::judge`](super::Credentials::judge)'s. What comes before e is anybody's text: all that is told of a fault there
//! is that the token is not valid.

mod fault;
mod keys;
mod payload;
mod rules;
mod signature;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use self::{
    fault::TokenFault,
    keys::{KeySet, KeySetFault, KeysChange, MOST_SET_BYTES},
    rules::{IssuerRules, Proven},
    text::TokenText,
};
