//! Compares the filter language with a real MongoDB server on random filters and documents.
//!
//!     cargo run --release --example differential -- --seed 1 --pairs 1000000
//!
//! Prints every disagreement, narrowed down, and fails if there was one. A server is started for it
//! unless `--uri` names one.

#[path = "../tests/differential/filters.rs"]
mod filters;
#[path = "../tests/differential/harness.rs"]
mod harness;
#[path = "../tests/differential/patterns.rs"]
mod patterns;
#[path = "../tests/differential/random.rs"]
mod random;
#[path = "../tests/differential/shrink.rs"]
mod shrink;
#[path = "../tests/differential/values.rs"]
mod values;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tidegate::mongod::{Mongod, Options};

use harness::Harness;

#[derive(Parser)]
struct Arguments {
    /// The seed of the random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pairs of a filter and a document to compare.
    #[arg(long, default_value_t = 1_000_000)]
    pairs: usize,
    /// A server to compare with, in place of one started for this run.
    #[arg(long)]
    uri: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let own = match arguments.uri {
        Some(_) => None,
        None => Some(Mongod::start(Options::default()).await.expect("a mongod")),
    };
    let uri = arguments.uri.clone().or(own.as_ref().map(Mongod::uri));
    let harness = Harness::connect(&uri.expect("a server"), "tidegate_differential").await;
    let tally = harness.run(arguments.seed, arguments.pairs).await;
    for difference in &tally.differences {
        println!("{difference}\n");
    }
    println!(
        "seed {}: {} pairs ({} matches), {} filters ({} refused by both, {} not supported), {} differences, {:.1} s",
        arguments.seed,
        tally.pairs,
        tally.selected,
        tally.filters,
        tally.refused,
        tally.unsupported,
        tally.differences.len(),
        began.elapsed().as_secs_f64()
    );
    if let Some(own) = own {
        own.stop().await;
    }
    if tally.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
