//! The files that a connection string names: the driver would find out at its first connection alone.

use std::{fs, io::Read as _};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// More than any list of authorities has.
const MOST_BYTES: u64 = 16 << 20;

/// Checks that there is a certificate in it.
pub(super) fn authorities(path: &str) -> Result<(), String> {
    certificates(&read(path)?)
}

/// Checks that there are a certificate and its key in it.
pub(super) fn identity(path: &str) -> Result<(), String> {
    let text = read(path)?;
    certificates(&text)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(_) => Ok(()),
        Err(_) => Err("holds no private key in PEM form that is not encrypted".to_owned()),
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
