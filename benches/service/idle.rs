//! Resident memory of an idle socket, and the CPU of connecting it.

use anyhow::Result;

use crate::{client, node::Node};

const SOCKETS: u32 = 5_000;

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?;
    let id = node.subscribe(serde_json::json!({"type": "never"})).await?;
    // What the allocator and the runtime take for the first sockets is not a socket's cost.
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(client::connect(&node, &id).await?);
    }
    let (memory, cpu) = (node.resident()?, node.cpu()?);
    for _ in 0..SOCKETS {
        sockets.push(client::connect(&node, &id).await?);
    }
    let each = (node.resident()? - memory) / u64::from(SOCKETS);
    let connect = node.cpu()?.saturating_sub(cpu) / SOCKETS;
    println!(
        "idle: {SOCKETS} sockets, {each} bytes resident each, {connect:?} CPU to connect each"
    );
    drop(sockets);
    node.stop().await
}
