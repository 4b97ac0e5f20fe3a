//! An issuer of tokens, whose keys a node reads from a file.

use std::{
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::credentials::SCOPES;

const ISSUER: &str = "https://id.example.com/";
const AUDIENCE: &str = "https://feed.example.com";
/// The file with the public keys.
const FILE: &str = "jwks.json";
const RSA_BITS: &str = "rsa_keygen_bits:2048";

/// An issuer with a key for each algorithm.
pub(crate) struct Issuer {
    es256: EcdsaKeyPair,
    /// `None` where nothing makes RSA keys.
    rs256: Option<RsaKeyPair>,
    random: SystemRandom,
    folder: tempfile::TempDir,
}

/// An algorithm of signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    Rs256,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl Issuer {
    /// Makes an issuer with new keys. RSA keys come from `openssl`; without it there are no tokens of RS256.
    pub(crate) fn new() -> Result<Self> {
        let (random, curve) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let rejected = |error| anyhow!("no key of P-256: {error}");
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(|_| anyhow!("no random bytes"))?;
        let issuer = Self {
            es256: EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).map_err(rejected)?,
            rs256: rsa_key()?,
            random,
            folder: tempfile::tempdir()?,
        };
        let keys = json!({ "keys": issuer.public_keys() });
        std::fs::write(issuer.folder.path().join(FILE), keys.to_string())?;
        Ok(issuer)
    }

    /// Whether it signs by an algorithm.
    pub(crate) fn signs(&self, algorithm: Algorithm) -> bool {
        algorithm == Algorithm::Es256 || self.rs256.is_some()
    }

    /// Returns the settings (variables) of a node that trusts it with callers of the tenant that a token names.
    pub(crate) fn settings(&self) -> Result<Vec<(&'static str, String)>> {
        let file = self.folder.path().join(FILE);
        let file = file.to_str().context("a file's name")?;
        Ok(vec![
            ("TIDEGATE_ISSUERS__BENCH__ISSUER", ISSUER.to_owned()),
            ("TIDEGATE_ISSUERS__BENCH__AUDIENCE", AUDIENCE.to_owned()),
            ("TIDEGATE_ISSUERS__BENCH__KEYS_FILE", file.to_owned()),
            ("TIDEGATE_ISSUERS__BENCH__TENANT_CLAIM", "tenant".to_owned()),
            ("TIDEGATE_ISSUERS__BENCH__SCOPES", SCOPES.join(",")),
        ])
    }

    /// Signs so many tokens for users of a tenant, each of another user.
    pub(crate) fn tokens(
        &self,
        algorithm: Algorithm,
        tenant: &str,
        count: usize,
    ) -> Result<Vec<SecretString>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let header =
            part(&json!({"alg": algorithm.name(), "typ": "at+jwt", "kid": algorithm.name()}));
        (0..count)
            .map(|user| {
                let claims = json!({
                    "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{user}"), "tenant": tenant, "iat": now,
                    "exp": now + 3_600, "jti": format!("{user}"), "scope": SCOPES.join(" "),
                });
                let message = format!("{header}.{}", part(&claims));
                let signature = self.sign(algorithm, message.as_bytes())?;
                let signature = BASE64URL_NOPAD.encode(&signature);
                Ok(SecretString::from(format!("{message}.{signature}")))
            })
            .collect()
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| anyhow!("a token cannot be signed");
        match algorithm {
            Algorithm::Es256 => {
                let signature = self.es256.sign(&self.random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Algorithm::Rs256 => {
                let key = self.rs256.as_ref().context("no key of RSA")?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// Returns the public keys as JWKs (RFC 7517).
    fn public_keys(&self) -> Vec<Value> {
        let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let (x, y) = self.es256.public_key().as_ref()[1..].split_at(32);
        let kid = Algorithm::Es256.name();
        let of_curve = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y)});
        let of_rsa = self.rs256.as_ref().map(|pair| {
            let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            json!({"kty": "RSA", "kid": Algorithm::Rs256.name(), "n": b64(&n), "e": b64(&e)})
        });
        [of_curve].into_iter().chain(of_rsa).collect()
    }
}

fn part(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

/// Makes an RSA key. The libraries of this project verify with such keys and do not make them.
fn rsa_key() -> Result<Option<RsaKeyPair>> {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", RSA_BITS])
        .args(["-outform", "DER"])
        .stderr(Stdio::null())
        .output();
    let Ok(made) = made else {
        println!("# openssl is not installed: no tokens of RS256");
        return Ok(None);
    };
    ensure!(made.status.success(), "openssl makes no RSA key");
    // Some versions write PKCS #8, others PKCS #1.
    let key = RsaKeyPair::from_pkcs8(&made.stdout);
    let key = key.or_else(|_| RsaKeyPair::from_der(&made.stdout));
    key.map(Some)
        .map_err(|error| anyhow!("an RSA key: {error}"))
}
