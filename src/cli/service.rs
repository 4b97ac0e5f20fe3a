//! What `serve` and `dev` share: the address, and the service's life.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{descriptors, failure::Failure};
use crate::{
    config::{Auth, Config},
    server::{self, ServerError},
};

/// Listens, or says how to listen elsewhere.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {} is in use", address.port()),
            _ => error.to_string(),
        };
        let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
        Failure::Failed(format!(
            "cannot listen on {address}: {reason}\n  Choose another address with --listen, such as --listen {other}"
        ))
    })
}

/// Serves until `stop`.
pub(crate) async fn serve(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Failure> {
    descriptors::raise();
    if config.auth == Auth::None && !config.listen.ip().is_loopback() {
        tracing::warn!(
            address = %config.listen,
            "everyone who can reach this address may read, publish and subscribe (--insecure)"
        );
    }
    server::run(config, listener, stop)
        .await
        .map_err(|error| match error {
            ServerError::Store(error) => Failure::store(&error),
            ServerError::Task(fault) => Failure::Failed(fault.to_string()),
        })
}

/// The address by which this machine reaches the service.
pub(crate) fn local_url(listener: &TcpListener) -> io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}"))
}
