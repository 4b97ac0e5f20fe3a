//! Certificates of clients: what a key keeps of one, and when it ends. Nothing else in it says who somebody is.

mod validity;

use bson::DateTime;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject as _},
};
use sha2::{Digest as _, Sha256};

pub(crate) use self::validity::not_after;

/// The SHA-256 of a certificate as DER.
pub(crate) type Fingerprint = [u8; 32];

/// The certificate of a client. A TLS handshake has proved that the client holds its private key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClientCertificate {
    pub fingerprint: Fingerprint,
    /// The end of its validity.
    pub not_after: DateTime,
}

/// The reason why a file holds no certificate of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CertificateFault {
    #[error("has no certificate")]
    Missing,
    #[error("is not PEM")]
    NotPem,
    #[error("has no X.509 certificate")]
    NotX509,
}

impl ClientCertificate {
    /// Reads a certificate as DER; `None` if the end of its validity cannot be read.
    pub(crate) fn of_der(der: &[u8]) -> Option<Self> {
        let not_after = not_after(der)?.saturating_mul(1_000);
        Some(Self {
            fingerprint: Sha256::digest(der).into(),
            not_after: DateTime::from_millis(not_after),
        })
    }

    /// Reads the first certificate of a PEM text: those of a chain come behind the client's own.
    pub(crate) fn of_pem(text: &[u8]) -> Result<Self, CertificateFault> {
        let der = CertificateDer::from_pem_slice(text).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateFault::Missing,
            _ => CertificateFault::NotPem,
        })?;
        Self::of_der(&der).ok_or(CertificateFault::NotX509)
    }
}

/// Returns a fingerprint as it is shown.
pub(crate) fn shown_fingerprint(fingerprint: &Fingerprint) -> String {
    HEXLOWER.encode(fingerprint)
}

/// Reads a fingerprint: 64 hex digits, perhaps with a colon after every second one, as tools print it.
pub(crate) fn parse_fingerprint(text: &str) -> Option<Fingerprint> {
    let digits = if text.contains(':') {
        let pairs = text.split(':');
        if !pairs.clone().all(|pair| pair.len() == 2) {
            return None;
        }
        pairs.collect()
    } else {
        text.to_owned()
    };
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_shown_and_as_tools_print_it() {
        let fingerprint: Fingerprint = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        let shown = shown_fingerprint(&fingerprint);
        assert_eq!(shown.len(), 64);
        let pairs: Vec<_> = (0..64).step_by(2).map(|at| &shown[at..at + 2]).collect();
        let colons = pairs.join(":");
        for text in [
            &shown,
            &shown.to_uppercase(),
            &colons,
            &colons.to_uppercase(),
        ] {
            assert_eq!(parse_fingerprint(text), Some(fingerprint), "{text}");
        }
        for text in [
            "",
            &shown[2..],
            &format!("{shown}00"),
            &format!("{colons}:"),
            &format!(":{colons}"),
            &colons.replacen(':', "", 2),
            &shown.replacen('0', "x", 1),
            &format!(" {shown}"),
        ] {
            assert_eq!(parse_fingerprint(text), None, "{text}");
        }
    }

    #[test]
    fn a_pem_text_gives_its_first_certificate() {
        let make = || rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let (first, second) = (make(), make());
        let expected = ClientCertificate::of_der(first.cert.der()).unwrap();
        let key = first.signing_key.serialize_pem();
        let chain = format!("{key}{}{}", first.cert.pem(), second.cert.pem());
        assert_eq!(ClientCertificate::of_pem(chain.as_bytes()), Ok(expected));
        assert_ne!(ClientCertificate::of_der(second.cert.der()), Some(expected));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, fault) in [
            ("", CertificateFault::Missing),
            (&*key, CertificateFault::Missing),
            ("-----BEGIN CERTIFICATE-----\n!\n", CertificateFault::NotPem),
            (broken, CertificateFault::NotX509),
        ] {
            assert_eq!(
                ClientCertificate::of_pem(text.as_bytes()),
                Err(fault),
                "{text}"
            );
        }
    }
}
