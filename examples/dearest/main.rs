//! Searches for filters and events that take longer than their steps say.
//!
//!     cargo run --release --example dearest -- --minutes 10 --seed 1
//!
//! Fails if some match that ended within the budget took more than so many nanoseconds for each step, or
//! more steps than was known before. One thread.

mod search;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};

use search::{Pair, Search};

#[derive(Parser)]
struct Arguments {
    /// How long to search.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Where the random choices start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The most nanoseconds that a step may take.
    #[arg(long, default_value_t = 5.0)]
    nanos: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let end = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut search = Search::new(arguments.seed, &best_of_five);
    let mut told = 0.0;
    while Instant::now() < end {
        search.step();
        if let Some(slowest) = &search.slowest
            && slowest.nanos_per_step() > told
        {
            told = slowest.nanos_per_step();
            tell("slower", slowest);
        }
    }
    println!("\n{} pairs, seed {}", search.tried, arguments.seed);
    let found = [
        ("longest", &search.longest),
        ("most time for a step", &search.slowest),
    ];
    for (what, pair) in found {
        if let Some(pair) = pair {
            tell(what, pair);
        }
    }
    if let Some(beyond) = &search.beyond {
        tell("more steps than was known before", beyond);
        return ExitCode::FAILURE;
    }
    if told > arguments.nanos {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn tell(what: &str, pair: &Pair) {
    let event = bson::RawDocumentBuf::try_from(&pair.event).expect("documents have a raw form");
    let filter: String = pair.filter.to_string().chars().take(300).collect();
    let shown: String = pair.event.to_string().chars().take(200).collect();
    println!(
        "{what}: {:.2} ns for a step, {:.1?}, {} steps of {} at most, event of {} bytes\n  {filter}\n  {shown}",
        pair.nanos_per_step(),
        pair.time,
        pair.steps,
        pair.most,
        event.as_bytes().len(),
    );
}

/// The least of five, of the thread's own processor time, so that what else runs on the machine disturbs less.
fn best_of_five(matches: &mut dyn FnMut() -> bool) -> Duration {
    let once = || {
        let began = processor_time();
        std::hint::black_box(matches());
        processor_time().saturating_sub(began)
    };
    std::iter::repeat_with(once)
        .take(5)
        .min()
        .unwrap_or_default()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
