//! Clients that request large answers again and again, and never read any.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::node::Node;

const CLIENTS: usize = 8;
const REQUESTS: usize = 50;
/// Time for a node to cut all of them.
const PATIENCE: Duration = Duration::from_mins(2);

/// The clients at work.
#[derive(Debug, Default)]
pub(crate) struct Unread(JoinSet<Result<()>>);

impl Unread {
    /// Starts clients of this node.
    pub(crate) fn begin(&mut self, node: &Node) {
        let key = node.keyring.operator();
        let header = key.map(|key| format!("Authorization: Bearer {key}\r\n"));
        let header = header.unwrap_or_default();
        let request =
            format!("GET /api/v1/events?limit=1000 HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        for _ in 0..CLIENTS {
            self.0
                .spawn(never_read(node.address, request.repeat(REQUESTS)));
        }
    }

    /// Waits until the node has cut all of them.
    pub(crate) async fn all_cut(&mut self) -> Result<()> {
        while let Some(cut) = timeout(PATIENCE, self.0.join_next())
            .await
            .context("clients that do not read are not cut")?
        {
            cut??;
        }
        Ok(())
    }
}

/// Sends requests until the connection is cut.
async fn never_read(node: SocketAddr, requests: String) -> Result<()> {
    let mut tcp = narrow(node).await?;
    while tcp.write_all(requests.as_bytes()).await.is_ok() {}
    Ok(())
}

/// Opens a connection whose kernel buffers little before it is read.
async fn narrow(node: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 * 1024)?;
    socket.set_send_buffer_size(4 * 1024)?;
    Ok(socket.connect(node).await?)
}
