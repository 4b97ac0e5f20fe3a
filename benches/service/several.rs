//! Sockets for many subscriptions beside plain ones: messages a second, CPU a message, and the memory of a handle.

use std::time::Duration;

use anyhow::Result;

use crate::{
    fanout::{ROUNDS, middle, one_saturated},
    peers::tidegate::Tidegate,
    rig::{
        load::Load,
        service::Service as _,
        table::{Goal, Row},
        window::Window,
    },
};

const SOCKETS: u32 = 1_000;
/// The handles of a socket, where it has many.
const HANDLES: u32 = 100;
const SPAN: Duration = Duration::from_secs(6);
const PLAIN: &str = "plain sockets";

pub(crate) async fn run() -> Result<Vec<Row>> {
    let name = |handles: u32, matched: u32| {
        format!("{SOCKETS} sockets with {handles} handles, {matched} of them matched")
    };
    let (ours, plain) = beside_plain(1, 1).await?;
    let mut rows = rows(&name(1, 1), &ours, &plain, Some(0.05));
    for matched in [1, 10, HANDLES] {
        let (ours, plain) = beside_plain(HANDLES, matched).await?;
        rows.extend(self::rows(&name(HANDLES, matched), &ours, &plain, None));
    }
    let (of_many, of_one) = (resident(HANDLES).await?, resident(1).await?);
    rows.push(Row {
        case: name(HANDLES, 0),
        unit: "bytes resident a handle",
        ours: (of_many - of_one) / f64::from(HANDLES - 1),
        beside: None,
        goal: Some(Goal::AtMost(200.0)),
    });
    Ok(rows)
}

/// Measures saturated windows of sockets for many and of plain sockets in turn. Every event goes once to every socket.
async fn beside_plain(handles: u32, matched: u32) -> Result<(Vec<Window>, Vec<Window>)> {
    let mut ours = Tidegate::several(handles, matched).await?;
    let mut plain = Tidegate::start().await?;
    let mut windows = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        windows
            .0
            .push(one_saturated(&mut ours, SOCKETS, SPAN).await?);
        windows
            .1
            .push(one_saturated(&mut plain, SOCKETS, SPAN).await?);
    }
    ours.stop().await?;
    plain.stop().await?;
    Ok(windows)
}

fn rows(case: &str, ours: &[Window], plain: &[Window], within: Option<f64>) -> Vec<Row> {
    let row = |unit, figure: fn(&Window) -> f64, goal| Row {
        case: case.to_owned(),
        unit,
        ours: middle(ours, figure),
        beside: Some((PLAIN, middle(plain, figure))),
        goal,
    };
    let least = within.map(|within| Goal::AtLeast(1.0 - within));
    let most = within.map(|within| Goal::AtMost(1.0 + within));
    vec![
        row("messages/s", |w| w.messages_per_second, least),
        row("µs of server CPU a message", |w| w.cpu_per_message, most),
        row("bytes a frame", |w| w.frame_bytes, None),
    ]
}

/// Returns the resident bytes that a socket with this many handles takes.
async fn resident(handles: u32) -> Result<f64> {
    let mut service = Tidegate::several(handles, 1).await?;
    // The allocator and the runtime grow with the first sockets. That is no cost of a handle.
    let mut first = Load::default();
    service.connect(&mut first, 50).await?;
    let before = service.resident()?;
    let mut load = Load::default();
    service.connect(&mut load, SOCKETS).await?;
    let grown = service.resident()?.saturating_sub(before);
    load.all_open()?;
    service.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    let grown = grown as f64;
    Ok(grown / f64::from(SOCKETS))
}
