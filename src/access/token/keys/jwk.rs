//! One key of a JWK set.

use std::str::FromStr as _;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::{
    agreement::{self, ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey},
    rand::SystemRandom,
};
use serde_json::{Map, Value};

use super::TrustedKey;
use crate::access::token::{
    signature::{P256_POINT, P384_POINT, fits},
    text::NAME_BYTES,
};

/// The bits of an RSA modulus.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// The most bits of an RSA exponent.
const EXPONENT_BITS: usize = 33;
/// Bytes of a key of Ed25519.
const ED25519_BYTES: usize = 32;

/// Reads a key; `None` if no signature can be verified with it here.
pub(super) fn read(value: &Value) -> Option<TrustedKey> {
    let jwk = value.as_object()?;
    if jwk.contains_key("d") {
        // Whoever has read the set can sign with it.
        return None;
    }
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => return None,
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(all)) if all.iter().any(|one| one == "verify") => {}
        Some(_) => return None,
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= NAME_BYTES => Some(kid.as_str().into()),
        Some(_) => return None,
    };
    let key = match text(jwk, "kty")? {
        "RSA" => rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        "EC" => curve(jwk)?,
        "OKP" if text(jwk, "crv")? == "Ed25519" => {
            let x = bytes(jwk, "x")?;
            (x.len() == ED25519_BYTES).then(|| DecodingKey::from_ed_der(&x))?
        }
        _ => return None,
    };
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(Value::String(name)) => Some(Algorithm::from_str(name).ok()?),
        Some(_) => return None,
    };
    let fitting = algorithm.is_none_or(|algorithm| fits(algorithm, &key));
    fitting.then(|| TrustedKey::new(kid, algorithm, key))
}

/// Makes an RSA key of its numbers, if they can be one.
pub(super) fn rsa(n: &[u8], e: &[u8]) -> Option<DecodingKey> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let fits = MODULUS_BITS.contains(&bits(n)) && (2..=EXPONENT_BITS).contains(&bits(e));
    (fits && is_odd(n) && is_odd(e)).then(|| DecodingKey::from_rsa_raw_components(n, e))
}

fn curve(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let point_bytes = match text(jwk, "crv")? {
        "P-256" => P256_POINT,
        "P-384" => P384_POINT,
        _ => return None,
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != y.len() {
        return None;
    }
    let point = [&[4], &x[..], &y[..]].concat();
    (point.len() == point_bytes).then(|| point_of_curve(&point))?
}

/// Makes a key of an uncompressed point, if it lies on the curve of its length.
pub(super) fn point_of_curve(point: &[u8]) -> Option<DecodingKey> {
    let algorithm = match point.len() {
        P256_POINT => &ECDH_P256,
        P384_POINT => &ECDH_P384,
        _ => return None,
    };
    // An agreement looks at the point before anything else. Its outcome is of no use.
    let own = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).ok()?;
    let theirs = UnparsedPublicKey::new(algorithm, point);
    agreement::agree_ephemeral(own, &theirs, |_| ()).ok()?;
    Some(DecodingKey::from_ec_der(point))
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j str> {
    jwk.get(name)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text(jwk, name)?.as_bytes()).ok()
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0);
    first.map_or(&[], |first| &number[first..])
}

fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
