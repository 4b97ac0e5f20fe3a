//! One event to many sockets, beside peers that push over sockets too.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    peers::{nats::Nats, nchan::Nchan, tidegate::Tidegate},
    rig::{
        load::Load,
        numbers::percentile,
        service::Service,
        stream,
        table::{Goal, Row, median},
        window::{self, Window},
    },
};

/// Rounds. Each has a window for each service, with fresh sockets.
pub(crate) const ROUNDS: usize = 3;
/// Events in a batch, and in flight, in a saturated window.
const BATCH: (u32, u32) = (128, 512);

/// Measures 1,000 sockets at 20 events/s: CPU per message, and latency.
pub(crate) async fn paced() -> Result<Vec<Row>> {
    let name = "1,000 sockets, 20 events/s";
    let span = Duration::from_secs(5);
    let Some((ours, theirs)) = beside_nchan(1_000, 20, span, ROUNDS).await? else {
        return Ok(Vec::new());
    };
    Ok(vec![
        cpu_row(name, "nchan", &ours, &theirs, Some(Goal::AtMost(1.0))),
        row(
            name,
            "p50 from publish, ms",
            "nchan",
            &ours,
            &theirs,
            |w| w.p50,
            None,
        ),
        row(
            name,
            "p50 from when the service could know, ms",
            "nchan",
            &ours,
            &theirs,
            |w| w.p50 - w.known,
            Some(Goal::AtMost(1.0)),
        ),
        row(
            name,
            "bytes a frame",
            "nchan",
            &ours,
            &theirs,
            |w| w.frame_bytes,
            None,
        ),
    ])
}

/// Measures 10,000 sockets at 2 events/s: the slowest messages.
pub(crate) async fn wide() -> Result<Vec<Row>> {
    let name = "10,000 sockets, 2 events/s";
    let span = Duration::from_secs(15);
    let Some((ours, theirs)) = beside_nchan(10_000, 2, span, ROUNDS).await? else {
        return Ok(Vec::new());
    };
    let goal = Some(Goal::AtMost(1.0));
    Ok(vec![
        row(
            name,
            "p99 from publish, ms",
            "nchan",
            &ours,
            &theirs,
            |w| w.p99,
            goal,
        ),
        row(
            name,
            "p50 from publish, ms",
            "nchan",
            &ours,
            &theirs,
            |w| w.p50,
            None,
        ),
        cpu_row(name, "nchan", &ours, &theirs, None),
    ])
}

/// Measures the most events that get through to this many sockets.
pub(crate) async fn saturated(sockets: u32, least: f64) -> Result<Vec<Row>> {
    let name = format!("{sockets} sockets, saturated");
    let span = Duration::from_secs(6);
    let (ours, theirs) = beside_nats(sockets, span, ROUNDS).await?;
    let rate = |w: &Window| w.messages_per_second;
    let goal = Some(Goal::AtLeast(least));
    let mut rows = vec![Row {
        case: name.clone(),
        unit: "messages/s",
        ours: middle(&ours, rate),
        beside: None,
        goal,
    }];
    if !theirs.is_empty() {
        let nats = Nats::NAME;
        rows.extend([
            row(
                &name,
                "messages/s",
                nats,
                &ours,
                &theirs,
                rate,
                Some(Goal::AtLeast(1.0)),
            ),
            row(
                &name,
                "bytes a frame",
                nats,
                &ours,
                &theirs,
                |w| w.frame_bytes,
                None,
            ),
            cpu_row(&name, nats, &ours, &theirs, None),
        ]);
    }
    Ok(rows)
}

type Windows = Vec<Window>;

/// Measures beside nchan; `None` where that is not installed.
pub(crate) async fn beside_nchan(
    sockets: u32,
    rate: u32,
    span: Duration,
    rounds: usize,
) -> Result<Option<(Windows, Windows)>> {
    let Some(mut theirs) = Nchan::start().await? else {
        println!("# nchan is not installed (libnginx-mod-nchan): no comparison");
        return Ok(None);
    };
    let mut ours = Tidegate::start().await?;
    let mut windows = (Vec::new(), Vec::new());
    let samples = Arc::new(Mutex::new(Vec::new()));
    let bare = stream::raw(&ours.node.database, None).await?;
    let bare = tokio::spawn(stream::note(bare, Arc::clone(&samples)));
    for _ in 0..rounds {
        let mut window = one_paced(&mut ours, sockets, rate, span).await?;
        let mut known =
            std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(!known.is_empty(), "the bare stream brought nothing");
        window.known = millis(percentile(&mut known, 50));
        theirs.set_frame_bytes(whole(window.frame_bytes));
        windows.0.push(window);
        windows
            .1
            .push(one_paced(&mut theirs, sockets, rate, span).await?);
    }
    bare.abort();
    ours.stop().await?;
    theirs.stop().await?;
    Ok(Some(windows))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a short run")]
fn millis(micros: i64) -> f64 {
    micros as f64 / 1e3
}

pub(crate) async fn one_paced(
    service: &mut impl Service,
    sockets: u32,
    rate: u32,
    span: Duration,
) -> Result<Window> {
    let mut load = Load::default();
    service.connect(&mut load, sockets).await?;
    window::paced(&mut load, service, u64::from(sockets), rate, span).await
}

/// Measures beside nats-server. Its windows are empty where that is not installed.
pub(crate) async fn beside_nats(
    sockets: u32,
    span: Duration,
    rounds: usize,
) -> Result<(Windows, Windows)> {
    let mut theirs = Nats::start().await?;
    if theirs.is_none() {
        println!("# nats-server is not installed: no comparison");
    }
    let mut ours = Tidegate::start().await?;
    let mut windows = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let window = one_saturated(&mut ours, sockets, span).await?;
        if let Some(theirs) = &mut theirs {
            theirs.set_frame_bytes(whole(window.frame_bytes));
            windows.1.push(one_saturated(theirs, sockets, span).await?);
        }
        windows.0.push(window);
    }
    ours.stop().await?;
    if let Some(theirs) = theirs {
        theirs.stop().await?;
    }
    Ok(windows)
}

pub(crate) async fn one_saturated(
    service: &mut impl Service,
    sockets: u32,
    span: Duration,
) -> Result<Window> {
    let mut load = Load::default();
    service.connect(&mut load, sockets).await?;
    window::saturated(&mut load, service, u64::from(sockets), BATCH, span).await
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a frame's size"
)]
fn whole(bytes: f64) -> usize {
    bytes.round() as usize
}

pub(crate) fn middle(windows: &[Window], figure: impl Fn(&Window) -> f64) -> f64 {
    median(windows.iter().map(figure).collect())
}

pub(crate) fn cpu_row(
    case: &str,
    name: &'static str,
    ours: &[Window],
    theirs: &[Window],
    goal: Option<Goal>,
) -> Row {
    let cpu = |w: &Window| w.cpu_per_message;
    row(
        case,
        "µs of server CPU a message",
        name,
        ours,
        theirs,
        cpu,
        goal,
    )
}

pub(crate) fn row(
    case: &str,
    unit: &'static str,
    name: &'static str,
    ours: &[Window],
    theirs: &[Window],
    figure: impl Fn(&Window) -> f64,
    goal: Option<Goal>,
) -> Row {
    Row {
        case: case.to_owned(),
        unit,
        ours: middle(ours, &figure),
        beside: Some((name, middle(theirs, &figure))),
        goal,
    }
}
