//! Signatures, checked by ring. `jsonwebtoken` names the algorithms and holds the keys; none of its own checks is used, and no
//! provider of it is installed.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::{
    hmac,
    signature::{
        self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};

/// Bytes of an uncompressed point of P-256, and of P-384.
pub(super) const P256_POINT: usize = 65;
pub(super) const P384_POINT: usize = 97;

/// Whether a key can verify signatures of an algorithm.
pub(super) fn fits(algorithm: Algorithm, key: &DecodingKey) -> bool {
    let curve = |bytes| {
        key.try_get_as_bytes()
            .is_ok_and(|point| point.len() == bytes)
    };
    key.family() == algorithm.family()
        && match algorithm {
            Algorithm::ES256 => curve(P256_POINT),
            Algorithm::ES384 => curve(P384_POINT),
            _ => true,
        }
}

/// Whether this is the signature of a message by a key. Algorithms that do not fit the key, or are not known here, verify
/// nothing.
pub(super) fn verifies(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    if !fits(algorithm, key) {
        return false;
    }
    let rsa = |parameters| verifies_rsa(parameters, key, message, signature);
    let public = |algorithm: &'static dyn VerificationAlgorithm| {
        key.try_get_as_bytes().is_ok_and(|bytes| {
            let key = UnparsedPublicKey::new(algorithm, bytes);
            key.verify(message, signature).is_ok()
        })
    };
    let shared = |algorithm| {
        key.try_get_as_bytes().is_ok_and(|secret| {
            let key = hmac::Key::new(algorithm, secret);
            hmac::verify(&key, message, signature).is_ok()
        })
    };
    match algorithm {
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => public(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => public(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => public(&signature::ED25519),
        Algorithm::HS256 => shared(hmac::HMAC_SHA256),
        Algorithm::HS384 => shared(hmac::HMAC_SHA384),
        Algorithm::HS512 => shared(hmac::HMAC_SHA512),
        _ => false,
    }
}

fn verifies_rsa(
    parameters: &RsaParameters,
    key: &DecodingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(parameters, message, signature).is_ok()
        }
        DecodingKeyKind::SecretOrDer(_) => false,
    }
}
