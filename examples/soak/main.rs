//! The fault suite for as long as is wanted, with figures.
//!
//!     cargo run --release --example soak -- --minutes 30 --seed 7
//!
//! Starts a replica set of three and two nodes of the service, with default settings except for a smaller backlog.
//! Lets publishers, writers and clients loose, injects faults at random moments, and compares everyone's records
//! with the database's own log. Fails if a promise was broken. `docs/reliability.md` explains the table.

mod readings;
mod report;
#[path = "../../tests/faults/rig/mod.rs"]
mod rig;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use tidegate::cli::Cli;
use tokio::time::{Instant, sleep};

use readings::Readings;
use rig::{
    course::{Course, SPARED},
    life::{Life, Population},
    node::Program,
    trial::trial,
    world::{Settings, World},
};

/// The backlog's size. It is full within minutes, so that anything else that grows shows in a node's memory.
const BACKLOG: (&str, &str) = ("TIDEGATE_FEED__WINDOW_BYTES", "16777216");

#[derive(Parser)]
struct Arguments {
    /// Minutes to run.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The seed of the random choices [default: a random one, which is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// Inject no faults.
    #[arg(long)]
    calm: bool,
    /// Ask for no credentials.
    #[arg(long)]
    open: bool,
    /// Print one JSON document in place of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // This very file is the nodes' binary too: the service is a library.
    if matches!(
        env::args().nth(1).as_deref(),
        Some("serve" | "listen" | "key")
    ) {
        return runtime.block_on(as_the_binary());
    }
    let arguments = Arguments::parse();
    let seed = arguments
        .seed
        .unwrap_or_else(|| rand::random_range(0..1_000_000));
    runtime.block_on(run(&arguments, seed))
}

async fn as_the_binary() -> Result<ExitCode> {
    drop(rustls::crypto::ring::default_provider().install_default());
    match Cli::parse().run().await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => Ok(failure.exit_code().into()),
    }
}

async fn run(arguments: &Arguments, seed: u64) -> Result<ExitCode> {
    if !arguments.json {
        println!("seed {seed}");
    }
    let program = env::current_exe()?;
    let mut world = World::start(settings(program.clone(), !arguments.open)).await?;
    let life = Life::start(&world, &population(program), seed).await?;
    let readings = Readings::start(&world, SPARED)?;
    let until = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut course = Course::new(seed);
    while Instant::now() < until {
        if arguments.calm {
            sleep(Duration::from_secs(1)).await;
            continue;
        }
        let Some(next) = course.next() else { break };
        sleep(next.calm).await;
        trial(&mut world, &life, &next.faults, next.hold).await?;
    }
    let curve = readings.stop().await?;
    let evidence = life.settle(&world).await?;
    let rest = readings::of(&world, SPARED).await?;
    let logs: Vec<_> = world.nodes.iter().map(rig::node::Node::log).collect();
    world.stop().await?;
    let report = report::Report {
        seed,
        minutes: arguments.minutes,
        evidence: &evidence,
        curve: &curve,
        rest,
    };
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
    if evidence.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for log in logs {
        eprintln!("{log}");
    }
    Ok(ExitCode::FAILURE)
}

fn settings(program: PathBuf, guarded: bool) -> Settings {
    Settings {
        program: Program {
            path: program,
            settings: [("TIDEGATE_LOG", "warn"), BACKLOG]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        },
        nodes: 2,
        oplog_size_mb: 990,
        uri_options: String::new(),
        guarded,
    }
}

fn population(program: PathBuf) -> Population {
    Population {
        wanderers: 4,
        many: 4,
        durable: 4,
        listeners: true,
        writers: true,
        // Longer than the service's own ping interval.
        silence: Duration::from_secs(45),
        program,
    }
}
