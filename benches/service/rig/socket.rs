//! Single sockets, read message by message.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tidegate::{
    client::{Client, Received, Socket, Start},
    protocol::Dialect,
};

/// Connects to a subscription's events from now on, and reads the `connected` message.
pub(crate) async fn connect(client: &Client, id: &str) -> Result<Socket> {
    Ok(connect_at(client, id, &Start::Unset).await?.0)
}

/// Connects, and reads the `connected` message. Returns the cursor at which delivery begins too.
pub(crate) async fn connect_at(
    client: &Client,
    id: &str,
    start: &Start,
) -> Result<(Socket, String)> {
    let mut socket = Socket::open(client, id, start, Dialect::Tidegate).await?;
    let connected = next_text(&mut socket).await?;
    Ok((socket, cursor(&connected)?))
}

/// Returns the cursor of a message.
pub(crate) fn cursor(message: &str) -> Result<String> {
    let message: Value = serde_json::from_str(message)?;
    let cursor = message["cursor"].as_str().context("a cursor")?;
    Ok(cursor.to_owned())
}

/// Waits for the next text message.
pub(crate) async fn next_text(socket: &mut Socket) -> Result<String> {
    loop {
        match socket.next().await {
            Received::Text(text) => return Ok(text),
            Received::Alive => {}
            other => anyhow::bail!("the socket ended: {other:?}"),
        }
    }
}
