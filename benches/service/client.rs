//! Sockets of the load side.

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tungstenite::{Message, protocol::WebSocketConfig};

use crate::node::Node;

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Connects and reads the `connected` message.
pub(crate) async fn connect(node: &Node, id: &str) -> Result<Socket> {
    Ok(connect_after(node, id, None).await?.0)
}

/// Connects behind a cursor, if one is given; returns where delivery begins too.
pub(crate) async fn connect_after(
    node: &Node,
    id: &str,
    after: Option<&str>,
) -> Result<(Socket, String)> {
    let tcp = TcpStream::connect(&node.address).await?;
    tcp.set_nodelay(true)?;
    let query = after.map_or_else(String::new, |after| format!("?after={after}"));
    let url = format!(
        "ws://{}/api/v1/subscriptions/{id}/events{query}",
        node.address
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(url, tcp, Some(config)).await?;
    let connected = next_text(&mut socket).await?;
    Ok((socket, cursor(&connected)?))
}

/// The cursor of a message.
pub(crate) fn cursor(message: &str) -> Result<String> {
    let message: serde_json::Value = serde_json::from_str(message)?;
    let cursor = message["cursor"].as_str().context("a cursor")?;
    Ok(cursor.to_owned())
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
