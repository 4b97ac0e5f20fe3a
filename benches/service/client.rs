//! Sockets of the load side.

use anyhow::Result;
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tungstenite::{Message, protocol::WebSocketConfig};

use crate::node::Node;

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Connects and reads the `connected` message.
pub(crate) async fn connect(node: &Node, id: &str) -> Result<Socket> {
    let tcp = TcpStream::connect(&node.address).await?;
    tcp.set_nodelay(true)?;
    let url = format!("ws://{}/api/v1/subscriptions/{id}/events", node.address);
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(url, tcp, Some(config)).await?;
    next_text(&mut socket).await?;
    Ok(socket)
}

/// The next text message.
pub(crate) async fn next_text(socket: &mut Socket) -> Result<String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => anyhow::bail!("the socket ended: {other:?}"),
        }
    }
}
