//! The time from just before the insert to receipt, by a socket with a key on a subscription that a policy narrows.

use anyhow::Result;
use mongodb::bson::doc;
use tidegate::client::Start;

use super::{NONE, sides::Sides};
use crate::{
    latency::publish,
    peers::tidegate::{Population, Tidegate, tenant},
    rig::{
        numbers::{now_micros, percentile},
        socket,
        table::{Goal, Row},
    },
};

/// The size of a comparison.
pub(crate) struct Size {
    /// Other subscriptions, which match nothing.
    pub(crate) others: u32,
    /// Events of a side in a round.
    pub(crate) events: usize,
    /// Events per second.
    pub(crate) rate: u32,
    pub(crate) rounds: usize,
}

/// The size of the figures that count.
pub(crate) const WHOLE: Size = Size {
    others: 10_000,
    events: 600,
    rate: 300,
    rounds: 12,
};

/// The account of the one subscription that matches.
const ACCOUNT: u32 = 0;

pub(crate) async fn run(size: &Size, most: f64) -> Result<Vec<Row>> {
    let population = Population {
        distinct: Some(size.others + 1),
        tenants: 1,
        keys: 1,
    };
    let mut sides = Sides::start(&population).await?;
    let samples = sides.measure(size.rounds, async |side| samples(side, size).await);
    let [mut none, mut required] = samples.await?.map(|rounds| rounds.concat());
    sides.stop().await?;
    let mut row = |name: &str, percent, goal| {
        let [ours, theirs] = [&mut required, &mut none].map(|all| micros(percentile(all, percent)));
        Row {
            case: format!("commit to a socket with a key at {}/s, {name}", size.rate),
            unit: "µs",
            ours,
            beside: Some((NONE, theirs)),
            goal,
        }
    };
    Ok(vec![
        row("p50", 50, Some(Goal::AtMost(most))),
        row("p99", 99, None),
    ])
}

/// Measures one round of a side.
async fn samples(side: &Tidegate, load: &Size) -> Result<Vec<i64>> {
    let (client, id) = side.client_of(ACCOUNT)?;
    let (mut socket, _) = socket::connect_at(&client, id, &Start::Unset).await?;
    let count = load.events;
    let reading = tokio::spawn(async move {
        let mut heard = Vec::with_capacity(count);
        for _ in 0..count {
            let text = socket::next_text(&mut socket).await?;
            let now = now_micros();
            let message: serde_json::Value = serde_json::from_str(&text)?;
            heard.push(now - message["event"]["sent"].as_i64().unwrap_or(0));
        }
        anyhow::Ok(heard)
    });
    let event = doc! {"tenant": tenant(0), "data": {"account": ACCOUNT, "fill": "x".repeat(180)}};
    publish(&side.node, load.rate, count, &event).await?;
    reading.await?
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a short run")]
fn micros(sample: i64) -> f64 {
    sample as f64
}
