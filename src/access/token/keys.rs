//! The keys of an issuer: a JWK set (RFC 7517), public keys as PEM, or a secret.

mod jwk;
mod pem;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::{
    TokenFault,
    signature::{fits, verifies},
    text::TokenText,
};
use crate::{access::KeyPrint, extjson};

/// The largest set that is read.
pub(crate) const MOST_SET_BYTES: usize = 256 << 10;
/// The most keys in a set.
const MOST_KEYS: usize = 100;
/// The most keys that are tried for one token.
const MOST_TRIED: usize = 5;
/// The shortest secret: as long as the shortest hash.
const SECRET_BYTES: usize = 32;

/// The reason why no set can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum KeySetFault {
    /// It is too large.
    #[error("is larger than 256 KiB")]
    TooLarge,
    /// It is something else.
    #[error("is no JWK set: a JSON object with an array `keys`")]
    NoSet,
    /// It holds too many keys.
    #[error("holds more than 100 keys")]
    TooMany,
    /// It holds no key that can be used.
    #[error(
        "holds no public key that can be used: RSA of 2,048 to 8,192 bits, P-256, P-384 or Ed25519"
    )]
    Nothing,
    /// It holds what is nobody else's business.
    #[error("holds a private key: give the public one")]
    Private,
    /// It can be guessed.
    #[error("holds a secret of less than 32 bytes")]
    ShortSecret,
}

/// A key that tokens of an issuer are verified with.
#[derive(Clone, Debug)]
struct TrustedKey {
    /// `None` fits tokens that name any key, or none.
    kid: Option<Box<str>>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
    print: KeyPrint,
}

/// The key that has signed a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer<'k> {
    /// Its id in the set, whatever the token says.
    pub kid: Option<&'k str>,
    pub print: KeyPrint,
}

/// The keys of one issuer. Keys of two issuers are never in one set, whatever their ids.
#[derive(Clone, Default, Debug)]
pub(crate) struct KeySet {
    keys: Vec<TrustedKey>,
    skipped: usize,
}

/// A change of an issuer's keys. The tokens of those that left do not stand any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeysChange {
    /// The issuer's name in the settings.
    pub issuer: Box<str>,
    pub left: Vec<KeyPrint>,
    pub came: Vec<KeyPrint>,
}

impl KeySet {
    /// Reads a JWK set. Keys that cannot be used are skipped.
    pub(crate) fn read_jwks(bytes: &[u8]) -> Result<Self, KeySetFault> {
        if bytes.len() > MOST_SET_BYTES {
            return Err(KeySetFault::TooLarge);
        }
        let set = extjson::parse_json(bytes).map_err(|_| KeySetFault::NoSet)?;
        let Some(Value::Array(all)) = set.get("keys") else {
            return Err(KeySetFault::NoSet);
        };
        if all.len() > MOST_KEYS {
            return Err(KeySetFault::TooMany);
        }
        let keys: Vec<_> = all.iter().filter_map(jwk::read).collect();
        let skipped = all.len() - keys.len();
        Ok(Self { keys, skipped })
    }

    /// Reads a file with public keys: a JWK set, or keys as PEM, which have no ids. Unlike in a set that others keep, there
    /// must be one that can be used.
    pub(crate) fn read_file(bytes: &[u8]) -> Result<Self, KeySetFault> {
        if bytes.len() > MOST_SET_BYTES {
            return Err(KeySetFault::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeySetFault::NoSet)?;
        let set = if pem::is_pem(text) {
            let keys = pem::read(text)?;
            if keys.len() > MOST_KEYS {
                return Err(KeySetFault::TooMany);
            }
            Self { keys, skipped: 0 }
        } else {
            Self::read_jwks(bytes)?
        };
        if set.keys.is_empty() {
            return Err(KeySetFault::Nothing);
        }
        Ok(set)
    }

    /// Makes the set of one secret, as a file has it. A line break at its end is none of it.
    pub(crate) fn of_secret(bytes: &[u8]) -> Result<Self, KeySetFault> {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_BYTES {
            return Err(KeySetFault::ShortSecret);
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| KeySetFault::ShortSecret)?;
        Ok(Self {
            keys: vec![TrustedKey::new(None, None, key)],
            skipped: 0,
        })
    }

    /// Returns the number of keys that can be used, and of those that were skipped.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.keys.len(), self.skipped)
    }

    /// Whether a key is among those that can be used.
    pub(crate) fn has(&self, print: &KeyPrint) -> bool {
        self.keys.iter().any(|key| key.print == *print)
    }

    /// Returns the difference to the set before; `None` if no key came or left.
    pub(crate) fn change_from(&self, before: &Self, issuer: &str) -> Option<KeysChange> {
        let without = |all: &Self, others: &Self| -> Vec<KeyPrint> {
            let others: Vec<_> = others.keys.iter().map(|key| key.print).collect();
            let prints = all.keys.iter().map(|key| key.print);
            prints.filter(|print| !others.contains(print)).collect()
        };
        let change = KeysChange {
            issuer: issuer.into(),
            left: without(before, self),
            came: without(self, before),
        };
        (!change.left.is_empty() || !change.came.is_empty()).then_some(change)
    }

    /// Returns the key that has signed a token.
    pub(super) fn signer(
        &self,
        token: &TokenText<'_>,
        algorithm: Algorithm,
    ) -> Result<Signer<'_>, TokenFault> {
        let kid = token.kid.as_deref();
        let named = |key: &&TrustedKey| kid.is_none() || key.kid.as_deref() == kid;
        let unnamed = |key: &&TrustedKey| kid.is_some() && key.kid.is_none();
        let named = self.keys.iter().filter(named);
        let all = named.chain(self.keys.iter().filter(unnamed));
        let mut fitting = all
            .filter(|key| key.fits(algorithm))
            .take(MOST_TRIED)
            .peekable();
        if fitting.peek().is_none() {
            return Err(TokenFault::UnknownKey);
        }
        let found =
            fitting.find(|key| verifies(algorithm, &key.key, token.signed, &token.signature));
        let signer = found.map(|key| Signer {
            kid: key.kid.as_deref(),
            print: key.print,
        });
        signer.ok_or(TokenFault::Signature {
            named: kid.is_some(),
        })
    }
}

impl TrustedKey {
    fn new(kid: Option<Box<str>>, algorithm: Option<Algorithm>, key: DecodingKey) -> Self {
        let print = print(kid.as_deref(), &key);
        Self {
            kid,
            algorithm,
            key,
            print,
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|only| only == algorithm) && fits(algorithm, &self.key)
    }
}

/// Returns a digest that no other key has, and the key under another id neither.
fn print(kid: Option<&str>, key: &DecodingKey) -> KeyPrint {
    let family: &[u8] = match key.family() {
        AlgorithmFamily::Hmac => b"hmac",
        AlgorithmFamily::Rsa => b"rsa",
        AlgorithmFamily::Ec => b"ec",
        AlgorithmFamily::Ed => b"ed",
    };
    let (first, second): (&[u8], &[u8]) = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => (bytes, b""),
        DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
    };
    let mut digest = Context::new(&SHA256);
    for part in [family, kid.unwrap_or_default().as_bytes(), first, second] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut print = [0; 32];
    print.copy_from_slice(digest.finish().as_ref());
    print
}
