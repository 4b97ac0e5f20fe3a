//! Sockets that connect with nothing, with keys, with tokens and with tickets: how many in a second, and the CPU of each.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use secrecy::SecretString;

use super::{NONE, sides::Sides};
use crate::{
    peers::{
        credentials::{make_tickets, query_of},
        issuer::{Algorithm, Issuer},
        node::Node,
        tidegate::{Population, Tidegate, events_of, tenant},
    },
    rig::{
        load::{CONNECTING, Load, Opening},
        service::Service as _,
        table::{Goal, Row, median},
    },
};

/// The size of a comparison.
pub(crate) struct Size {
    /// Sockets of each way in a round.
    pub(crate) sockets: u32,
    pub(crate) rounds: usize,
}

/// The size of the figures that count.
pub(crate) const WHOLE: Size = Size {
    sockets: 2_000,
    rounds: 5,
};

/// A node at rest uses less than this in a [`LOOK`].
const REST: Duration = Duration::from_millis(3);
const LOOK: Duration = Duration::from_millis(100);
/// Looks until a node is given up that does not come to rest.
const LOOKS: u32 = 200;

/// The credential that a socket connects with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Nothing,
    Key,
    Token(Algorithm),
    Ticket,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Key,
        Self::Token(Algorithm::Es256),
        Self::Token(Algorithm::Rs256),
        Self::Ticket,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => NONE,
            Self::Key => "a key",
            Self::Token(Algorithm::Es256) => "a token of ES256",
            Self::Token(Algorithm::Rs256) => "a token of RS256",
            Self::Ticket => "a ticket",
        }
    }
}

/// A way, its credentials where they are used more than once, and its figures.
struct Measured {
    way: Way,
    credentials: Vec<SecretString>,
    per_second: Vec<f64>,
    cpu_micros: Vec<f64>,
}

/// The figures of many acts.
#[derive(Default)]
struct Cost {
    per_second: f64,
    cpu_micros: f64,
}

/// Returns a row for each figure. `most` is the goal for the CPU of a key beside nothing.
pub(crate) async fn run(size: &Size, most: Option<f64>) -> Result<Vec<Row>> {
    let issuer = Issuer::new()?;
    let settings = issuer.settings()?;
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let population = Population {
        distinct: None,
        tenants: 1,
        keys: size.sockets,
    };
    let sides = Sides::with(&population, &settings).await?;
    let mut all = ways(&issuer, &sides.required, size.sockets as usize)?;
    let mut making = Vec::new();
    // The first round makes the allocator and the runtime grow. That is no cost of a socket.
    for round in 0..=size.rounds {
        let count = all.len();
        for at in 0..count {
            let measured = &mut all[(at + round) % count];
            let (cost, made) = measured.connect(&sides, size.sockets as usize).await?;
            if round > 0 {
                measured.per_second.push(cost.per_second);
                measured.cpu_micros.push(cost.cpu_micros);
                making.extend(made);
            }
        }
    }
    sides.stop().await?;
    Ok(rows(&all, &making, size, most))
}

/// Returns the ways that are possible here, with their credentials.
fn ways(issuer: &Issuer, required: &Tidegate, sockets: usize) -> Result<Vec<Measured>> {
    let possible = Way::ALL.into_iter().filter(|way| match way {
        Way::Token(algorithm) => issuer.signs(*algorithm),
        _ => true,
    });
    let measured = possible.map(|way| {
        let credentials = match way {
            Way::Key => required.keys().to_vec(),
            Way::Token(algorithm) => issuer.tokens(algorithm, &tenant(0), sockets)?,
            Way::Nothing | Way::Ticket => Vec::new(),
        };
        Ok(Measured {
            way,
            credentials,
            per_second: Vec::new(),
            cpu_micros: Vec::new(),
        })
    });
    measured.collect()
}

impl Measured {
    /// Connects so many sockets. Returns their cost, and that of making tickets for them.
    async fn connect(&self, sides: &Sides, count: usize) -> Result<(Cost, Option<Cost>)> {
        let side = match self.way {
            Way::Nothing => &sides.none,
            _ => &sides.required,
        };
        let (client, id) = side.client_of(0)?;
        let path = events_of(id);
        settle(&side.node).await?;
        let (mut sockets, mut made) = (Vec::new(), None);
        if self.way == Way::Ticket {
            let cpu = side.cpu()?;
            let (tickets, took) = make_tickets(&client, id, count).await?;
            made = Some(Cost::of(count, took, side.cpu()?.saturating_sub(cpu)));
            let with = |ticket: &SecretString| (format!("{path}{}", query_of(ticket)), None);
            sockets.extend(tickets.iter().map(with));
            settle(&side.node).await?;
        } else if self.credentials.is_empty() {
            sockets.resize(count, (path, None));
        } else {
            let with = |token: &SecretString| (path.clone(), Some(token.clone()));
            sockets.extend(self.credentials.iter().map(with));
        }
        Ok((open(&side.node, sockets).await?, made))
    }
}

/// Opens sockets, until each has its first message.
async fn open(node: &Node, sockets: Vec<Opening>) -> Result<Cost> {
    let count = sockets.len();
    let (cpu, begun) = (node.cpu()?, Instant::now());
    let mut load = Load::default();
    load.open_all(&node.address, sockets).await?;
    load.greeted(count as u64).await?;
    let cost = Cost::of(count, begun.elapsed(), node.cpu()?.saturating_sub(cpu));
    load.all_open()?;
    Ok(cost)
}

/// Waits until a node has nothing left to do for the sockets before.
async fn settle(node: &Node) -> Result<()> {
    for _ in 0..LOOKS {
        let before = node.cpu()?;
        tokio::time::sleep(LOOK).await;
        if node.cpu()?.saturating_sub(before) < REST {
            return Ok(());
        }
    }
    bail!("a node does not come to rest")
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    fn of(count: usize, took: Duration, cpu: Duration) -> Self {
        let count = count as f64;
        Self {
            per_second: count / took.as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / count,
        }
    }
}

fn rows(all: &[Measured], making: &[Cost], size: &Size, most: Option<f64>) -> Vec<Row> {
    let figures = |measured: &Measured| {
        [&measured.per_second, &measured.cpu_micros].map(|figures| median(figures.clone()))
    };
    let row = |case, unit, ours, beside, goal| Row {
        case,
        unit,
        ours,
        beside,
        goal,
    };
    let nothing = all.iter().find(|measured| measured.way == Way::Nothing);
    let nothing = nothing.map(figures);
    let mut rows = Vec::new();
    for measured in all {
        let case = format!(
            "{} sockets with {}, {CONNECTING} connecting at a time",
            size.sockets,
            measured.way.name()
        );
        let [per_second, cpu] = figures(measured);
        let beside = nothing.filter(|_| measured.way != Way::Nothing);
        let goal = most.filter(|_| measured.way == Way::Key).map(Goal::AtMost);
        let [rate_beside, cpu_beside] = [0, 1].map(|at| beside.map(|figures| (NONE, figures[at])));
        rows.push(row(
            case.clone(),
            "connects/s",
            per_second,
            rate_beside,
            None,
        ));
        rows.push(row(
            case,
            "µs of server CPU to connect each",
            cpu,
            cpu_beside,
            goal,
        ));
    }
    let (made, cpu) = making
        .iter()
        .map(|cost| (cost.per_second, cost.cpu_micros))
        .unzip();
    let case = format!("making tickets, {CONNECTING} at a time");
    rows.push(row(case.clone(), "tickets/s", median(made), None, None));
    rows.push(row(case, "µs of server CPU each", median(cpu), None, None));
    rows
}
