//! Public keys as PEM (RFC 7468).

use jsonwebtoken::DecodingKey;

use super::{KeySetFault, TrustedKey, jwk};

const BEGIN: &str = "-----BEGIN ";
/// Bytes of a key of Ed25519.
const ED25519_BYTES: usize = 32;

/// Whether a text is PEM rather than JSON.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Reads all keys of a text. One that cannot be used is a fault: somebody has put it there for a purpose.
pub(super) fn read(text: &str) -> Result<Vec<TrustedKey>, KeySetFault> {
    let blocks = text.match_indices(BEGIN).map(|(at, _)| &text[at..]);
    let keys = blocks.map(|block| {
        let label = block[BEGIN.len()..].split("-----").next();
        match label.unwrap_or_default() {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => key(block).ok_or(KeySetFault::Nothing),
            label if label.ends_with("PRIVATE KEY") => Err(KeySetFault::Private),
            _ => Err(KeySetFault::Nothing),
        }
    });
    keys.map(|key| Ok(TrustedKey::new(None, None, key?)))
        .collect()
}

/// Reads the first key of a text.
fn key(block: &str) -> Option<DecodingKey> {
    let pem = block.as_bytes();
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        let sound = key.try_get_as_bytes().ok()?.len() == ED25519_BYTES;
        return sound.then_some(key);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        return jwk::point_of_curve(key.try_get_as_bytes().ok()?);
    }
    let key = DecodingKey::from_rsa_pem(pem).ok()?;
    let (n, e) = rsa_numbers(key.try_get_as_bytes().ok()?)?;
    jwk::rsa(n, e)
}

/// Reads modulus and exponent of an RSA key in DER (RFC 8017, A.1.1): a sequence of two numbers.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (numbers, rest) = element(der, SEQUENCE)?;
    let (n, more) = element(numbers, INTEGER)?;
    let (e, end) = element(more, INTEGER)?;
    (rest.is_empty() && end.is_empty()).then_some((n, e))
}

/// Splits off the content of the first element, which must be of this kind.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    if head[0] != kind {
        return None;
    }
    // Up to 127, a length stands for itself; else for the bytes that hold it.
    let (length, rest) = match head[1] {
        short @ ..=0x7F => (usize::from(short), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
