//! Clients with certificates, and the authority that signs these.

use std::{
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, crypto::ring,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tungstenite::Error;

use crate::{
    raw::upgrade_request,
    support::{DEADLINE, Service, Socket},
};

/// Returns the time in seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// An authority that signs certificates of clients.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Makes a certificate with this common name, which ends in a day unless that is changed.
    pub(super) fn certify(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after = epoch + std::time::Duration::from_secs(now() + 86_400);
        change(&mut params);
        let not_after = (params.not_after - epoch).whole_seconds();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            not_after,
        }
    }
}

/// A client's certificate and its key.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: PrivatePkcs8KeyDer<'static>,
    /// Seconds since 1970.
    pub(super) not_after: i64,
}

impl Identity {
    pub(super) fn fingerprint(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.certificate))
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns this certificate with the key of another.
    pub(super) fn with_key_of(&self, other: &Self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            pem: self.pem.clone(),
            key: other.key.clone_key(),
            not_after: self.not_after,
        }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// Makes the client's side of TLS, which trusts the certificate of the node alone.
pub(super) fn connector(
    service: &Service,
    identity: Option<&Identity>,
    version: &'static SupportedProtocolVersion,
) -> TlsConnector {
    let root = CertificateDer::from_pem_file(&service.config.tls.certificate).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let provider = ring::default_provider();
            let key = provider
                .key_provider
                .load_private_key(identity.key())
                .unwrap();
            // Whether the two fit is the server's business here.
            let pair = rustls::sign::CertifiedKey::new(vec![identity.certificate.clone()], key);
            config.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// A connection over TLS.
pub(super) struct Client {
    stream: TlsStream<TcpStream>,
    ahead: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(
        service: &Service,
        identity: Option<&Identity>,
    ) -> io::Result<Self> {
        Self::connect_by(service, identity, &rustls::version::TLS13).await
    }

    pub(super) async fn connect_by(
        service: &Service,
        identity: Option<&Identity>,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Self> {
        Self::connect_with(service, &connector(service, identity, version)).await
    }

    pub(super) async fn connect_with(
        service: &Service,
        connector: &TlsConnector,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(service.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, tcp).await?;
        let ahead = Vec::new();
        Ok(Self { stream, ahead })
    }

    pub(super) fn session(&self) -> &ClientConnection {
        self.stream.get_ref().1
    }

    /// Opens a socket with a certificate.
    pub(super) async fn socket(
        service: &Service,
        identity: &Identity,
        subscription: &str,
        offer: Option<&str>,
    ) -> Result<Socket<TlsStream<TcpStream>>, Error> {
        Self::socket_at(service, identity, &super::socket_path(subscription), offer).await
    }

    pub(super) async fn socket_at(
        service: &Service,
        identity: &Identity,
        path: &str,
        offer: Option<&str>,
    ) -> Result<Socket<TlsStream<TcpStream>>, Error> {
        let client = Self::connect(service, Some(identity)).await?;
        Socket::over(client.stream, service.address, path, offer).await
    }

    /// Opens a socket without a certificate.
    pub(super) async fn anonymous_socket(
        service: &Service,
        path: &str,
    ) -> Result<Socket<TlsStream<TcpStream>>, Error> {
        let client = Self::connect(service, None).await?;
        Socket::over(client.stream, service.address, path, None).await
    }

    pub(super) async fn get(&mut self, path: &str, lines: &str) -> io::Result<(u16, Value)> {
        self.send("GET", path, &format!("Host: localhost\r\n{lines}"))
            .await
    }

    pub(super) async fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let length = body.len();
        let json =
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{json}");
        self.stream.write_all(head.as_bytes()).await?;
        self.answer().await
    }

    /// Sends a request with these lines of its head, and reads the answer. The connection stays open.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        lines: &str,
    ) -> io::Result<(u16, Value)> {
        let request = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.answer().await
    }

    /// Asks for a socket with these lines instead of `Host`. Returns the status.
    pub(super) async fn upgrade(mut self, subscription: &str, lines: &str) -> io::Result<u16> {
        let request = upgrade_request(subscription, "").replace("Host: localhost\r\n", lines);
        self.stream.write_all(request.as_bytes()).await?;
        Ok(self.answer().await?.0)
    }

    async fn answer(&mut self) -> io::Result<(u16, Value)> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.ahead.len() < length {
            self.read().await?;
        }
        let body: Vec<u8> = self.ahead.drain(..length).collect();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn read(&mut self) -> io::Result<()> {
        let reading = timeout(DEADLINE, self.stream.read_buf(&mut self.ahead));
        match reading.await.expect("something in time, or the end")? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
