//! Many subscriptions with distinct filters and a socket each. Every event matches one.

use std::time::Duration;

use anyhow::Result;

use crate::{
    peers::tidegate::Tidegate,
    rig::{
        load::Load,
        service::Service as _,
        table::{Goal, Row, median},
        window,
    },
};

const SUBSCRIPTIONS: u32 = 10_000;
const WINDOWS: usize = 3;
/// Events in a batch, and in flight.
pub(crate) const BATCH: (u32, u32) = (1_000, 8_000);

pub(crate) async fn run() -> Result<Vec<Row>> {
    let mut tidegate = Tidegate::distinct(SUBSCRIPTIONS).await?;
    let mut load = Load::default();
    tidegate.connect(&mut load, SUBSCRIPTIONS).await?;
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..WINDOWS {
        let span = Duration::from_secs(5);
        let window = window::saturated(&mut load, &mut tidegate, 1, BATCH, span).await?;
        rates.push(window.messages_per_second);
        cpu.push(window.cpu_per_message);
    }
    drop(load);
    tidegate.stop().await?;
    let row = |unit, ours, goal| Row {
        case: format!("{SUBSCRIPTIONS} distinct subscriptions, a socket each, one matches"),
        unit,
        ours,
        beside: None,
        goal,
    };
    Ok(vec![
        row("events/s", median(rates), Some(Goal::AtLeast(20_000.0))),
        row("µs of server CPU an event", median(cpu), None),
    ])
}
