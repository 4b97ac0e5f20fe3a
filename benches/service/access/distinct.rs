//! Many subscriptions with distinct filters, each narrowed to its tenant by a policy. Every event matches one.

use std::time::Duration;

use anyhow::Result;

use super::{NONE, sides::Sides};
use crate::{
    distinct::BATCH,
    fanout::{cpu_row, row},
    peers::tidegate::Population,
    rig::{
        load::Load,
        service::Service as _,
        table::{Goal, Row},
        window,
    },
};

/// The size of a comparison.
pub(crate) struct Size {
    pub(crate) subscriptions: u32,
    pub(crate) tenants: u32,
    pub(crate) span: Duration,
    pub(crate) rounds: usize,
}

/// The size of the figures that count.
pub(crate) const WHOLE: Size = Size {
    subscriptions: 10_000,
    tenants: 100,
    span: Duration::from_secs(5),
    rounds: 4,
};

pub(crate) async fn run(size: &Size, least: f64) -> Result<Vec<Row>> {
    let population = Population {
        distinct: Some(size.subscriptions),
        tenants: size.tenants,
        keys: size.tenants,
    };
    let mut sides = Sides::start(&population).await?;
    let windows = sides.measure(size.rounds, async |side| {
        let mut load = Load::default();
        side.connect(&mut load, size.subscriptions).await?;
        window::saturated(&mut load, side, 1, BATCH, size.span).await
    });
    let [none, required] = windows.await?;
    sides.stop().await?;
    let case = format!(
        "{} distinct subscriptions of {} tenants, a socket each, one matches",
        size.subscriptions, size.tenants
    );
    let goal = Some(Goal::AtLeast(least));
    Ok(vec![
        row(
            &case,
            "events/s",
            NONE,
            &required,
            &none,
            |w| w.messages_per_second,
            goal,
        ),
        cpu_row(&case, NONE, &required, &none, None),
    ])
}
