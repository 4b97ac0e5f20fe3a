//! The files that a connection string names. The driver would only notice at its first connection.

use std::{fs, io::Read as _};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// More than any list of authorities has.
const MOST_BYTES: u64 = 16 << 20;

/// Checks that the file holds a certificate.
pub(super) fn authorities(path: &str) -> Result<(), String> {
    certificates(&read(path)?)
}

/// Checks that the file holds a certificate and its key.
pub(super) fn identity(path: &str) -> Result<(), String> {
    let text = read(path)?;
    certificates(&text)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(_) => Ok(()),
        Err(_) => Err("holds no unencrypted private key in PEM form".to_owned()),
    }
}

fn certificates(text: &[u8]) -> Result<(), String> {
    match CertificateDer::pem_slice_iter(text).next() {
        Some(Ok(_)) => Ok(()),
        _ => Err("holds no certificate in PEM form".to_owned()),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text)
}
