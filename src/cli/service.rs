//! What `serve` and `dev` share: the address, and the service's life.

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

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: u32 = 1_024;

/// Takes the address, or says how to take another. Nobody is heard before [`listen`]: who comes sooner is refused
/// by the kernel, and does not wait for an answer that nobody gives.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    bound(address).map_err(|error| taken(address, &error))
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // What the last process left behind of its connections is no hindrance.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Listens. From now on whoever comes is to be answered.
pub(crate) fn listen(socket: TcpSocket) -> Result<TcpListener, Failure> {
    let address = socket.local_addr()?;
    let listening = socket.listen(BACKLOG);
    listening.map_err(|error| taken(address, &error))
}

fn taken(address: SocketAddr, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is in use", address.port()),
        _ => error.to_string(),
    };
    let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
    Failure::Failed(format!(
        "cannot listen on {address}: {reason}\n  Choose another address with --listen, such as --listen {other}"
    ))
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
    node::run(config, listener, stop)
        .await
        .map_err(|error| match error {
            NodeError::Store(error) => Failure::store(&error),
            NodeError::Task(fault) => Failure::Failed(fault.to_string()),
        })
}

/// The address by which this machine reaches the service.
pub(crate) fn local_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}
