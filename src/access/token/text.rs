//! The text of a token: its parts, read and not believed.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::TokenFault;
use crate::extjson;

/// The longest token.
const TOKEN_BYTES: usize = 8 << 10;
/// The longest header, decoded.
const HEADER_BYTES: usize = 1 << 10;
/// The longest id of a key, of a token, or of a subject.
pub(super) const NAME_BYTES: usize = 255;

/// A token that was read and not verified. Nothing in it is to be believed.
pub(crate) struct TokenText<'t> {
    /// The bytes that are signed.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: Box<str>,
    pub(super) media_type: Option<Box<str>>,
    pub(super) kid: Option<Box<str>>,
    issuer: Box<str>,
    pub(super) claims: Map<String, Value>,
}

impl<'t> TokenText<'t> {
    /// Reads a token.
    pub(crate) fn read(text: &'t str) -> Result<Self, TokenFault> {
        if text.len() > TOKEN_BYTES {
            return Err(TokenFault::Text("is longer than 8 KiB"));
        }
        let parts: Option<[&str; 3]> = text.splitn(4, '.').collect::<Vec<_>>().try_into().ok();
        let three = TokenFault::Text("is not three parts with dots between");
        let [header, payload, signature] = parts.ok_or(three)?;
        let decode = |part: &str| {
            let decoded = BASE64URL_NOPAD.decode(part.as_bytes()).ok();
            decoded.ok_or(TokenFault::Text("is not base64url without padding"))
        };
        let (head, claims, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        if head.len() > HEADER_BYTES {
            return Err(TokenFault::Header("is longer than 1 KiB"));
        }
        let header_fault = "is not a JSON object whose names come once";
        let mut head = object(&head).ok_or(TokenFault::Header(header_fault))?;
        if head.contains_key("crit") || head.contains_key("b64") {
            // Extensions that are none of ours, whatever they are.
            return Err(TokenFault::Header("asks for an extension (crit, b64)"));
        }
        // Keys in the header (jwk, jku, x5u, x5c) are the sender's own. Nothing reads them.
        let algorithm = text_of(&mut head, "alg").map_err(TokenFault::Header)?;
        let algorithm = algorithm.ok_or(TokenFault::Header("names no algorithm (alg)"))?;
        let media_type = text_of(&mut head, "typ").map_err(TokenFault::Header)?;
        let kid = text_of(&mut head, "kid").map_err(TokenFault::Header)?;
        if kid.as_ref().is_some_and(|kid| kid.len() > NAME_BYTES) {
            return Err(TokenFault::Header("has a kid of more than 255 bytes"));
        }
        let payload_fault = "is not a JSON object whose names come once";
        let claims = object(&claims).ok_or(TokenFault::Payload(payload_fault))?;
        let Some(Value::String(issuer)) = claims.get("iss") else {
            return Err(TokenFault::Payload("has no iss that is one text"));
        };
        Ok(Self {
            signed: &text.as_bytes()[..header.len() + 1 + payload.len()],
            signature,
            algorithm,
            media_type,
            kid,
            issuer: issuer.as_str().into(),
            claims,
        })
    }

    /// Returns the claim `iss`, which says whose rules and keys to try.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }
}

/// Reads a JSON object in which no name comes twice, at any depth: two readers of it could see two objects.
fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match extjson::parse_json(bytes) {
        // JSON in a token has no mark before it.
        Ok(Value::Object(object)) if bytes.first() != Some(&0xEF) => Some(object),
        _ => None,
    }
}

/// Takes a text of the header; none if it is absent.
fn text_of(head: &mut Map<String, Value>, name: &str) -> Result<Option<Box<str>>, &'static str> {
    match head.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.into())),
        Some(_) => Err("has alg, typ or kid that is no text"),
    }
}
