//! The certificate by which clients know this node, and those by which it knows clients. The files may change while the node
//! runs.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    Error, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
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

use crate::{access::not_after, config, telemetry::Metrics};

/// The time between two looks at whether the files have changed.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// The only protocol that is spoken inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// The reason why a certificate or its key cannot be used. It quotes nothing of the files.
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
const CLIENT_CA: &str = "tls.client_ca";

/// A certificate with its key.
#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    /// Seconds since 1970.
    not_after: i64,
}

/// The times at which the files were changed.
type Changes = [Option<SystemTime>; 3];

/// The settings of handshakes, as they are now and will be.
pub(super) type Handshakes = watch::Receiver<Arc<ServerConfig>>;

/// The certificate in use, and the files that it came from.
#[derive(Debug)]
pub(super) struct Certificate {
    settings: config::Tls,
    current: watch::Sender<Arc<ServerConfig>>,
    /// The state of the files that was looked at last.
    seen: Changes,
    hangup: Signal,
    metrics: Arc<Metrics>,
}

impl Certificate {
    /// Reads the files. Returns the settings of handshakes too, each of which takes those in use then.
    pub(super) fn read(
        settings: &config::Tls,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Handshakes), CertificateError> {
        let seen = changes(settings);
        let pair = Pair::read(settings)?;
        if pair.has_expired() {
            tracing::warn!("the TLS certificate has expired: clients will refuse it");
        }
        metrics.access.certificate_ends(pair.not_after);
        let (current, watched) = watch::channel(handshakes(pair.key, clients(settings)?)?);
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| fault(CERTIFICATE, format!("SIGHUP cannot be heard: {error}")))?;
        let certificate = Self {
            settings: settings.clone(),
            current,
            seen,
            hangup,
            metrics,
        };
        Ok((certificate, watched))
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
                if let Err(error) = self.replace() {
                    tracing::error!(%error, "the new TLS certificate is refused; the old one stays");
                }
            }
        }
    }

    /// Takes what the files hold now, all of it. An error leaves what is in use.
    fn replace(&self) -> Result<(), CertificateError> {
        let pair = Pair::read(&self.settings)?;
        if pair.has_expired() {
            return Err(fault(CERTIFICATE, "has expired".to_owned()));
        }
        let handshakes = handshakes(pair.key, clients(&self.settings)?)?;
        self.metrics.access.certificate_ends(pair.not_after);
        self.current.send_replace(handshakes);
        tracing::info!("the TLS certificate is replaced");
        Ok(())
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

/// Returns the judge of clients' certificates, if the settings name who signs them. A client without one is let in.
fn clients(
    settings: &config::Tls,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, CertificateError> {
    if settings.client_ca.is_empty() {
        return Ok(None);
    }
    let refuse = |reason: &str| fault(CLIENT_CA, reason.to_owned());
    let found = CertificateDer::pem_file_iter(Path::new(&settings.client_ca));
    let found = found.map_err(|error| unreadable(CLIENT_CA, &error))?;
    let mut roots = RootCertStore::empty();
    for root in found {
        let root = root.map_err(|error| unreadable(CLIENT_CA, &error))?;
        let added = roots.add(root);
        added.map_err(|_| refuse("the file has a certificate that cannot sign others"))?;
    }
    if roots.is_empty() {
        return Err(refuse("the file has no certificate"));
    }
    let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build();
    let judge = judge.map_err(|error| fault(CLIENT_CA, format!("cannot be used: {error}")))?;
    Ok(Some(judge))
}

/// Returns the settings of handshakes with this certificate, and with this judge of clients' certificates.
fn handshakes(
    key: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(CERTIFICATE, error.to_string()))?;
    let asks = clients.is_some();
    let config = match clients {
        Some(judge) => config.with_client_cert_verifier(judge),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    if asks {
        // A resumed session would bring its certificate along without a proof, and without a look at who signs now.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn changes(settings: &config::Tls) -> Changes {
    let changed = |path: &str| fs::metadata(path).and_then(|file| file.modified());
    [&settings.certificate, &settings.key, &settings.client_ca].map(|path| changed(path).ok())
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
