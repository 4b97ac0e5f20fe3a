//! The section `[tls]`: HTTPS spoken by this process.

use serde::Deserialize;

/// HTTPS spoken by this process (`[tls]`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The PEM file with the certificate, and those that lead to its root. Default none: HTTP.
    pub certificate: String,
    /// The PEM file with the certificate's private key. Default none.
    pub key: String,
    /// The PEM file with the certificates of those who sign clients' certificates. Default none: clients are not asked
    /// for one.
    pub client_ca: String,
}

impl Tls {
    /// Whether this process speaks HTTPS. Then it speaks nothing else on its address.
    pub fn is_on(&self) -> bool {
        !self.certificate.is_empty()
    }
}
