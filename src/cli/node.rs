//! A node in this process, for `serve` and `dev`: its address and its life.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::{descriptors, failure::Failure};
use crate::{
    config::{Auth, Config},
    node::{self, NodeError},
};

/// The most connections that may wait in the kernel to be accepted.
const BACKLOG: u32 = 1_024;

/// Binds the address, or says how to choose another. Until [`listen`] the kernel refuses connections, so that no client
/// waits for an answer that nobody gives.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    bind_socket(address).map_err(|error| unavailable(address, &error))
}

fn bind_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of the last process may linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Listens. From now on every connection must be answered.
pub(crate) fn listen(socket: TcpSocket) -> Result<TcpListener, Failure> {
    let address = socket.local_addr()?;
    let listening = socket.listen(BACKLOG);
    listening.map_err(|error| unavailable(address, &error))
}

fn unavailable(address: SocketAddr, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is in use", address.port()),
        _ => error.to_string(),
    };
    let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
    Failure::Failed(format!(
        "cannot listen on {address}: {reason}\n  Choose another address with --listen, for example --listen {other}"
    ))
}

/// Runs the node until `stop`.
pub(crate) async fn serve(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Failure> {
    descriptors::raise();
    if config.needs_insecure() && config.auth == Auth::None {
        tracing::warn!(
            address = %config.listen,
            "everyone who can reach this address may read, publish and subscribe (--insecure)"
        );
    }
    if config.needs_insecure() && config.auth == Auth::Required {
        tracing::warn!(
            address = %config.listen,
            "keys and tokens travel to this address unencrypted, unless something in front of it speaks TLS (--insecure)"
        );
    }
    node::run(config, listener, stop)
        .await
        .map_err(|error| match error {
            NodeError::Config(error) => Failure::Config(error),
            NodeError::Store(error) => Failure::store(&error),
            NodeError::Certificate(error) => Failure::setting(error.setting(), &error.reason()),
            NodeError::Listen { .. } => Failure::Failed(format!("metrics_listen: {error}")),
            NodeError::Task(fault) => Failure::Failed(fault.to_string()),
        })
}

/// Returns the URL at which this machine reaches the node, over HTTPS or not.
pub(crate) fn local_url(mut address: SocketAddr, tls: bool) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{}://{address}", if tls { "https" } else { "http" })
}
