//! The speed and the size of the filter index, beside a loop over its filters.
//!
//! `cargo bench --bench filter_index` prints every table. Words after `--` pick some: `match`, `memory`, `change`,
//! `policy`, or a part of the name of a row of `match`. It runs on one thread and measures that thread's processor time
//! if the system tells it, so that a busy machine disturbs less. Inputs come from a seeded generator, `workload.rs`.
//! `export DIRECTORY` writes the inputs of one row for `benches/peers`.

mod change;
mod clock;
mod policy;
mod workload;

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bson::RawDocumentBuf;
use clock::Clock;
use tidegate::filter::{Filter, FilterIndex};
use workload::Random;

type Make = fn(&mut Random) -> RawDocumentBuf;

/// A row of the first table.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    filters: usize,
    accounts: u64,
    make: Make,
    /// The goal in events per second; 0 if there is none.
    reach: u32,
}

const ROWS: &[Row] = &[
    Row {
        name: "W, A = 100,000",
        filters: 1_000_000,
        accounts: 100_000,
        make: |r| workload::w(r, 100_000),
        reach: 300_000,
    },
    Row {
        name: "W, A = 1,000",
        filters: 1_000_000,
        accounts: 1_000,
        make: |r| workload::w(r, 1_000),
        reach: 100_000,
    },
    Row {
        name: "W, A = 10,000",
        filters: 100_000,
        accounts: 10_000,
        make: |r| workload::w(r, 10_000),
        reach: 500_000,
    },
    Row {
        name: "ranges only",
        filters: 100_000,
        accounts: 10_000,
        make: workload::range,
        reach: 200_000,
    },
    Row {
        name: "$or of pairs",
        filters: 100_000,
        accounts: 10_000,
        make: workload::or,
        reach: 0,
    },
    Row {
        name: "$in, 20 values",
        filters: 100_000,
        accounts: 10_000,
        make: workload::list,
        reach: 0,
    },
    Row {
        name: "$exists",
        filters: 100_000,
        accounts: 10_000,
        make: workload::exists,
        reach: 0,
    },
    Row {
        name: "prefix regex",
        filters: 100_000,
        accounts: 10_000,
        make: workload::prefix,
        reach: 0,
    },
    Row {
        name: "$elemMatch",
        filters: 100_000,
        accounts: 10_000,
        make: workload::element,
        reach: 0,
    },
    Row {
        name: "all five, 0.1 % opaque",
        filters: 100_000,
        accounts: 10_000,
        make: workload::mixed,
        reach: 0,
    },
];

const EVENTS: usize = 20_000;
/// The filters of the loop that is timed. Its time is proportional to their number.
const LOOP_SAMPLE: usize = 10_000;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [export, directory] = words.as_slice()
        && export == "export"
    {
        return write_inputs(Path::new(directory)).expect("the directory can be written to");
    }
    if let [word, of @ ..] = words.as_slice()
        && word == policy::MEMORY
    {
        return policy::print_memory(of);
    }
    let wanted = |word: &str| words.is_empty() || words.iter().any(|each| each == word);
    // Memory first, while the allocator holds nothing else.
    if wanted("memory") {
        memory();
    }
    if wanted("match") {
        matching(ROWS);
    }
    let picked: Vec<_> = ROWS
        .iter()
        .filter(|row| words.iter().any(|word| row.name.contains(word.as_str())))
        .copied()
        .collect();
    if !picked.is_empty() {
        matching(&picked);
    }
    if wanted("change") {
        change::change();
    }
    if wanted("policy") {
        policy::policy();
    }
}

fn matching(rows: &[Row]) {
    println!(
        "| filters | number | matches/event | scanned | index, events/s | reach | loop, events/s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        let random = &mut Random::new(1);
        let index: FilterIndex<u32> = filters(row.make, row.filters, random).collect();
        let events: Vec<_> = (0..EVENTS)
            .map(|_| workload::event(random, row.accounts))
            .collect();
        let (rate, matches) = index_rate(&index, &events);
        let loop_rate = loop_rate(row, &events);
        println!(
            "| {} | {} | {matches:.1} | {} | {rate:.0} | {} | {loop_rate:.2} | {:.0} |",
            row.name,
            row.filters,
            index.scanned(),
            row.reach,
            rate / loop_rate,
        );
    }
}

fn filters(make: Make, number: usize, random: &mut Random) -> impl Iterator<Item = (u32, Filter)> {
    (0..)
        .take(number)
        .map(move |key| (key, parsed(&make(random))))
}

fn parsed(filter: &RawDocumentBuf) -> Filter {
    Filter::parse(filter).expect("the generator makes legal filters")
}

/// Returns events per second, the best of three runs, and matches per event.
fn index_rate(index: &FilterIndex<u32>, events: &[RawDocumentBuf]) -> (f64, f64) {
    let mut keys = Vec::new();
    let mut matches = 0;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        matches = 0;
        let start = Clock::start();
        for event in events {
            keys.clear();
            index.matching(black_box(event), &mut keys);
            matches += keys.len();
        }
        best = best.min(start.elapsed());
    }
    (per_second(events.len(), best), ratio(matches, events.len()))
}

/// Returns events per second of a loop over the filters, extrapolated from a sample of them.
fn loop_rate(row: &Row, events: &[RawDocumentBuf]) -> f64 {
    let random = &mut Random::new(1);
    let sample: Vec<_> = filters(row.make, LOOP_SAMPLE.min(row.filters), random).collect();
    let start = Clock::start();
    let mut done = 0;
    for event in events {
        black_box(
            sample
                .iter()
                .filter(|(_, filter)| filter.matches(event))
                .count(),
        );
        done += 1;
        if start.elapsed() > Duration::from_millis(500) {
            break;
        }
    }
    per_second(done, start.elapsed()) * ratio(sample.len(), row.filters)
}

/// Measures the resident memory of W with a million filters, by the system's own count.
fn memory() {
    const NUMBER: usize = 1_000_000;
    let make: Make = |random| workload::w(random, 100_000);
    let before = resident_bytes();
    let index: FilterIndex<u32> = filters(make, NUMBER, &mut Random::new(1)).collect();
    let held = resident_bytes().saturating_sub(before);
    let random = &mut Random::new(1);
    let raw: usize = (0..NUMBER).map(|_| make(random).as_bytes().len()).sum();
    println!("| filters | resident, bytes/filter | raw filter, bytes | over raw | reach |");
    println!("|---|---|---|---|---|");
    let (held, raw) = (ratio(held, index.len()), ratio(raw, NUMBER));
    println!(
        "| W, {NUMBER} | {held:.0} | {raw:.0} | {:.0} | 300 |\n",
        held - raw
    );
}

/// Reads the resident memory. See `statm` in proc(5); zero if there is no such file.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}

fn per_second(number: usize, time: Duration) -> f64 {
    ratio(number, 1) / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}

/// Writes the row on which the peers are compared, as lines of Extended JSON: filters, events, and the number of
/// matches in the first thousand events.
fn write_inputs(directory: &Path) -> std::io::Result<()> {
    let random = &mut Random::new(1);
    let raw: Vec<_> = (0..100_000).map(|_| workload::w(random, 10_000)).collect();
    let events: Vec<_> = (0..EVENTS)
        .map(|_| workload::event(random, 10_000))
        .collect();
    let index: FilterIndex<u32> = (0..).zip(raw.iter().map(parsed)).collect();
    let mut keys = Vec::new();
    for event in &events[..1_000] {
        index.matching(event, &mut keys);
    }
    std::fs::write(directory.join("matches.txt"), keys.len().to_string())?;
    write_lines(&directory.join("filters.jsonl"), &raw)?;
    write_lines(&directory.join("events.jsonl"), &events)
}

fn write_lines(path: &Path, documents: &[RawDocumentBuf]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for document in documents {
        let document = bson::Document::try_from(document).expect("the generator makes BSON");
        let line = bson::Bson::Document(document).into_relaxed_extjson();
        writeln!(file, "{line}")?;
    }
    file.flush()
}
