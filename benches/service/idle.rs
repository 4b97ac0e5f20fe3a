//! The resident memory of an idle socket and the CPU to connect it, beside the peers.

use anyhow::Result;

use crate::{
    peers::{nats::Nats, nchan::Nchan, tidegate::Tidegate},
    rig::{
        load::Load,
        service::Service,
        table::{Goal, Row},
    },
};

const SOCKETS: u32 = 10_000;

/// The cost of one socket.
struct Cost {
    bytes: f64,
    connect_micros: f64,
}

pub(crate) async fn run() -> Result<Vec<Row>> {
    let ours = cost(Tidegate::start().await?).await?;
    let mut rows = vec![
        row(
            "bytes resident each",
            ours.bytes,
            None,
            Some(Goal::AtMost(8_192.0)),
        ),
        row(
            "µs of CPU to connect each",
            ours.connect_micros,
            None,
            Some(Goal::AtMost(60.0)),
        ),
    ];
    let mut peers = Vec::new();
    if let Some(nchan) = Nchan::start().await? {
        peers.push((Nchan::NAME, cost(nchan).await?));
    }
    if let Some(nats) = Nats::start().await? {
        peers.push((Nats::NAME, cost(nats).await?));
    }
    for (name, theirs) in peers {
        let (bytes, micros) = (theirs.bytes, theirs.connect_micros);
        rows.push(row(
            "bytes resident each",
            ours.bytes,
            Some((name, bytes)),
            None,
        ));
        let unit = "µs of CPU to connect each";
        rows.push(row(unit, ours.connect_micros, Some((name, micros)), None));
    }
    Ok(rows)
}

async fn cost(mut service: impl Service) -> Result<Cost> {
    // The allocator and the runtime grow with the first sockets. That is no cost of a socket.
    let mut first = Load::default();
    service.connect(&mut first, 100).await?;
    let (memory, cpu) = (service.resident()?, service.cpu()?);
    let mut load = Load::default();
    service.connect(&mut load, SOCKETS - 100).await?;
    let sockets = f64::from(SOCKETS - 100);
    let cpu = service.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6;
    let grown = service.resident()?.saturating_sub(memory);
    load.all_open()?;
    service.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    let bytes = grown as f64 / sockets;
    Ok(Cost {
        bytes,
        connect_micros: cpu / sockets,
    })
}

fn row(
    unit: &'static str,
    ours: f64,
    beside: Option<(&'static str, f64)>,
    goal: Option<Goal>,
) -> Row {
    Row {
        case: format!(
            "{SOCKETS} idle sockets, {} connecting at a time",
            crate::rig::load::CONNECTING
        ),
        unit,
        ours,
        beside,
        goal,
    }
}
