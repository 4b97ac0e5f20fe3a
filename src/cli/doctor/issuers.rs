//! The findings about issuers of tokens: whether their keys can be read here.

use super::finding::{Finding, Verdict};
use crate::{
    config::{Config, Issuer},
    identity::{self, Unproved},
};

const CHECK: &str = "issuers";

/// Reads the keys of each issuer, as a node does.
pub(super) async fn of_issuers(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, issuer) in &config.issuers {
        findings.push(of_issuer(name, issuer).await);
    }
    findings
}

async fn of_issuer(name: &str, issuer: &Issuer) -> Finding {
    match identity::count_keys(name, issuer).await {
        Ok((0, skipped)) => Finding::with_advice(
            CHECK,
            Verdict::Bad,
            format!("{name}: none of {skipped} keys can be used"),
            "No token of the issuer stands. Keys are RSA of 2,048 to 8,192 bits, P-256, P-384 or Ed25519, for signatures.",
        ),
        Ok((usable, _)) if !issuer.secret_file.is_empty() => Finding::with_advice(
            CHECK,
            Verdict::Warning,
            format!("{name}: {usable} secret"),
            "Whoever can verify with a secret can also make tokens. Prefer public keys (jwks_url, keys_file).",
        ),
        Ok((usable, skipped)) => Finding::good(
            CHECK,
            format!("{name}: {usable} of {} can be used", usable + skipped),
        ),
        Err(Unproved::Config(error)) => Finding::with_advice(
            CHECK,
            Verdict::Bad,
            format!("{name}: the settings cannot be used"),
            error.to_string(),
        ),
        Err(Unproved::Keys { reason, .. }) => Finding::with_advice(
            CHECK,
            Verdict::Bad,
            format!("{name}: cannot be read: {reason}"),
            "Until a node has read them, calls with tokens of the issuer get 503. Check jwks_url (or the file) from this machine.",
        ),
        Err(Unproved::Refused(fault)) => {
            Finding::with_advice(CHECK, Verdict::Unknown, format!("{name}: {fault}"), "")
        }
    }
}
