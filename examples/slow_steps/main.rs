//! Searches for filters and events that take longer than their steps say.
//!
//!     cargo run --release --example slow_steps -- --minutes 10 --seed 1
//!
//! Fails if a match within the budget took more than `--nanos` nanoseconds for each step, or more steps than its
//! bound. It uses one thread.

mod search;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};

use search::{Pair, Search};

#[derive(Parser)]
struct Arguments {
    /// Minutes to search.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The seed of the random choices.
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
    let mut slowest_nanos = 0.0;
    while Instant::now() < end {
        search.step();
        if let Some(slowest) = &search.slowest
            && slowest.nanos_per_step() > slowest_nanos
        {
            slowest_nanos = slowest.nanos_per_step();
            print("slower", slowest);
        }
    }
    println!("\n{} pairs, seed {}", search.tried, arguments.seed);
    let found = [
        ("longest", &search.longest),
        ("most time for a step", &search.slowest),
    ];
    for (what, pair) in found {
        if let Some(pair) = pair {
            print(what, pair);
        }
    }
    if let Some(beyond) = &search.beyond {
        print("more steps than its bound", beyond);
        return ExitCode::FAILURE;
    }
    if slowest_nanos > arguments.nanos {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn print(what: &str, pair: &Pair) {
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

/// Measures the least of five runs, in the thread's own processor time, so that other work on the machine disturbs
/// less.
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
