//! The latency that durability adds from commit to socket: the same load to a plain subscription and to a durable one
//! whose client acknowledges every event, in turn, in one run.

use anyhow::Result;
use reqwest::Method;
use tidegate::client::Start;

use crate::{
    latency::{publish, tick},
    peers::node::Node,
    rig::{
        numbers::{now_micros, percentile},
        socket,
    },
};

const ROUNDS: u32 = 6;
const EVENTS: usize = 1_500;
const RATE: u32 = 300;

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?;
    let plain = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let durable = create_durable(&node).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.extend(measure(&node, &plain, &plain, false).await?);
        with.extend(measure(&node, &durable, &plain, true).await?);
    }
    for (name, samples) in [("plain", &mut without), ("durable", &mut with)] {
        let (p50, p99) = (percentile(samples, 50), percentile(samples, 99));
        println!(
            "durable: {name} subscription: p50 {p50} µs, p99 {p99} µs ({} events at {RATE}/s)",
            samples.len()
        );
    }
    node.stop().await
}

async fn create_durable(node: &Node) -> Result<String> {
    let body = serde_json::json!({"filter": {"type": "tick"}, "durable": true});
    let request = node
        .client
        .request(Method::PUT, &["subscriptions", "durable"]);
    node.client.call(request.json(&body)).await?;
    Ok("durable".to_owned())
}

async fn measure(node: &Node, id: &str, plain: &str, acknowledge: bool) -> Result<Vec<i64>> {
    // From now on, so that events of earlier rounds are not replayed.
    let (_, now) = socket::connect_at(&node.client, plain, &Start::Unset).await?;
    let (mut socket, _) = socket::connect_at(&node.client, id, &Start::After(now)).await?;
    let reading = tokio::spawn(async move {
        let mut samples = Vec::new();
        while samples.len() < EVENTS {
            let text = socket::next_text(&mut socket).await?;
            let now = now_micros();
            let message: serde_json::Value = serde_json::from_str(&text)?;
            let sent = message["event"]["sent"].as_i64().unwrap_or(0);
            samples.push(now - sent);
            if acknowledge {
                let ack = serde_json::json!({"type": "ack", "cursor": message["cursor"]});
                let sent = socket.send(ack.to_string()).await;
                sent.map_err(anyhow::Error::msg)?;
            }
        }
        anyhow::Ok(samples)
    });
    publish(node, RATE, EVENTS, &tick()).await?;
    reading.await?
}
