//! The certificate by which clients know this node, and its replacement while the node runs.

mod validity;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    Error, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::validity::not_after;
use crate::{config, telemetry::Metrics};

/// The time between two looks at whether the files have changed.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// The only protocol that is spoken inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// The reason why a certificate or its key cannot be used. It quotes nothing of either file.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct CertificateError {
    setting: &'static str,
    reason: String,
}

impl CertificateError {
    /// Returns the name of the setting.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Returns the fault.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";

/// A certificate with its key.
#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    /// Seconds since 1970.
    not_after: i64,
}

/// The times at which the two files were changed.
type Changes = [Option<SystemTime>; 2];

/// The certificate in use, and the files that it came from.
#[derive(Debug)]
pub(super) struct Certificate {
    settings: config::Tls,
    current: watch::Sender<Arc<CertifiedKey>>,
    /// The state of the files that was looked at last.
    seen: Changes,
    hangup: Signal,
    metrics: Arc<Metrics>,
}

impl Certificate {
    /// Reads the files. Returns the settings of handshakes too, each of which takes the certificate in use then.
    pub(super) fn read(
        settings: &config::Tls,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Arc<ServerConfig>), CertificateError> {
        let seen = changes(settings);
        let pair = Pair::read(settings)?;
        if pair.has_expired() {
            tracing::warn!("the TLS certificate has expired: clients will refuse it");
        }
        metrics.access.certificate_ends(pair.not_after);
        let (current, watched) = watch::channel(pair.key);
        let handshakes =
            handshakes(Current(watched)).map_err(|error| fault(CERTIFICATE, error.to_string()))?;
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| fault(CERTIFICATE, format!("SIGHUP cannot be heard: {error}")))?;
        let certificate = Self {
            settings: settings.clone(),
            current,
            seen,
            hangup,
            metrics,
        };
        Ok((certificate, handshakes))
    }

    /// Reads the files again whenever they change or the process gets a SIGHUP. Open connections stay as they are.
    pub(super) async fn follow(mut self) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                heard = self.hangup.recv() => heard.is_some(),
                _ = looks.tick() => false,
            };
            let changes = changes(&self.settings);
            if asked || changes != self.seen {
                self.seen = changes;
                self.replace();
            }
        }
    }

    /// Takes what the files hold now, or keeps what is in use.
    fn replace(&self) {
        match Pair::read(&self.settings) {
            Err(error) => {
                tracing::error!(%error, "the new TLS certificate is refused; the old one stays");
            }
            Ok(pair) if pair.has_expired() => {
                tracing::error!("the new TLS certificate has expired; the old one stays");
            }
            Ok(pair) => {
                self.metrics.access.certificate_ends(pair.not_after);
                self.current.send_replace(pair.key);
                tracing::info!("the TLS certificate is replaced");
            }
        }
    }
}

impl Pair {
    fn read(settings: &config::Tls) -> Result<Self, CertificateError> {
        let refuse = |reason: &str| fault(CERTIFICATE, reason.to_owned());
        let (certificate, key) = (Path::new(&settings.certificate), Path::new(&settings.key));
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|error| unreadable(CERTIFICATE, &error))?;
        let Some(first) = chain.first() else {
            return Err(refuse("the file has no certificate"));
        };
        let not_after =
            not_after(first).ok_or_else(|| refuse("the file has no X.509 certificate"))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                fault(KEY, "the file has no private key in the clear".to_owned())
            }
            error => unreadable(KEY, &error),
        })?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let key = key.map_err(|error| match error {
            Error::InconsistentKeys(_) => fault(KEY, "is not the certificate's".to_owned()),
            error => fault(KEY, format!("cannot be used: {error}")),
        })?;
        Ok(Self {
            key: Arc::new(key),
            not_after,
        })
    }

    fn has_expired(&self) -> bool {
        self.not_after < bson::DateTime::now().timestamp_millis() / 1_000
    }
}

/// The certificate in use, for handshakes.
#[derive(Debug)]
struct Current(watch::Receiver<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow()))
    }
}

fn handshakes(current: Current) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(current));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn changes(settings: &config::Tls) -> Changes {
    let changed = |path: &str| fs::metadata(path).and_then(|file| file.modified());
    [&settings.certificate, &settings.key].map(|path| changed(path).ok())
}

fn fault(setting: &'static str, reason: String) -> CertificateError {
    CertificateError { setting, reason }
}

fn unreadable(setting: &'static str, error: &pem::Error) -> CertificateError {
    let reason = match error {
        pem::Error::Io(error) => format!("the file cannot be read: {}", error.kind()),
        _ => "the file is not PEM".to_owned(),
    };
    fault(setting, reason)
}
