//! One event to many sockets, each with a key of its own, on a subscription that a policy narrows to its tenant.

use std::time::Duration;

use anyhow::Result;

use super::{NONE, sides::Sides};
use crate::{
    fanout::{cpu_row, one_paced, row},
    peers::tidegate::Population,
    rig::table::{Goal, Row},
};

/// The size of a comparison.
pub(crate) struct Size {
    pub(crate) sockets: u32,
    /// Events per second.
    pub(crate) rate: u32,
    pub(crate) span: Duration,
    pub(crate) rounds: usize,
}

/// The size of the figures that count.
pub(crate) const WHOLE: Size = Size {
    sockets: 1_000,
    rate: 20,
    span: Duration::from_secs(4),
    rounds: 8,
};

pub(crate) async fn run(size: &Size, most: f64) -> Result<Vec<Row>> {
    let population = Population {
        distinct: None,
        tenants: 1,
        keys: size.sockets,
    };
    let mut sides = Sides::start(&population).await?;
    let windows = sides.measure(size.rounds, async |side| {
        one_paced(side, size.sockets, size.rate, size.span).await
    });
    let [none, required] = windows.await?;
    sides.stop().await?;
    let case = format!("{} sockets with keys, {} events/s", size.sockets, size.rate);
    let goal = Some(Goal::AtMost(most));
    let latency =
        |unit, figure: fn(&_) -> f64, goal| row(&case, unit, NONE, &required, &none, figure, goal);
    Ok(vec![
        cpu_row(&case, NONE, &required, &none, goal),
        latency("p50 from publish, ms", |w| w.p50, goal),
        latency("p99 from publish, ms", |w| w.p99, None),
        latency("bytes a frame", |w| w.frame_bytes, None),
    ])
}
