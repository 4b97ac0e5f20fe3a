//! How fast the filter index is, and how large, beside a loop over its filters.
//!
//! `cargo bench --bench filter_index` prints every table; words after `--` pick some:
//! `match`, `memory`, `change`. One thread, and its own processor time where the system tells it,
//! so that a busy machine disturbs less; inputs from a seeded generator, `workload.rs`.
//! `export DIRECTORY` writes the inputs of one row for `benches/peers`.

mod clock;
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
struct Row {
    name: &'static str,
    filters: usize,
    accounts: u64,
    make: Make,
    /// Events per second to reach; 0 where there is none.
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
/// How many filters the loop is timed with; its time is in proportion to their number.
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
    let wanted = |word: &str| words.is_empty() || words.iter().any(|each| each == word);
    // Memory first, while the allocator holds nothing from earlier.
    if wanted("memory") {
        memory();
    }
    if wanted("match") {
        matching();
    }
    if wanted("change") {
        change();
    }
}

fn matching() {
    println!(
        "| filters | number | matches/event | scanned | index, events/s | reach | loop, events/s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in ROWS {
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

/// Events per second, the best of three, and matches per event.
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

/// Events per second of a loop over the filters, extrapolated from a sample of them.
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

/// Resident memory of W with a million filters, from the system's own count.
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

/// See `statm` in proc(5). Zero where there is no such file.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}

/// The cost of one insert and one remove at several sizes, and of a bulk build.
fn change() {
    const CHANGES: usize = 20_000;
    println!(
        "\n| W, filters | insert, µs | remove, µs | replace, µs | build, s | of that parsing, s |"
    );
    println!("|---|---|---|---|---|---|");
    for number in [10_000, 100_000, 1_000_000] {
        let accounts = number as u64 / 10;
        let random = &mut Random::new(1);
        let raw: Vec<_> = (0..number).map(|_| workload::w(random, accounts)).collect();
        let start = Clock::start();
        raw.iter()
            .for_each(|filter| drop(black_box(parsed(filter))));
        let parsing = start.elapsed();
        let start = Clock::start();
        let filters = (0..).zip(&raw).map(|(key, filter)| (key, parsed(filter)));
        let mut index: FilterIndex<u32> = filters.collect();
        let build = start.elapsed();
        let mut fresh = || -> Vec<_> {
            (0..CHANGES)
                .map(|_| parsed(&workload::w(random, accounts)))
                .collect()
        };
        let (added, other) = (fresh(), fresh());
        let keys = |at: usize| u32::try_from(number + at).expect("small numbers");
        let insert = each(CHANGES, added, |at, filter| {
            black_box(index.insert(keys(at), filter));
        });
        let replace = each(CHANGES, other, |at, filter| {
            black_box(index.insert(keys(at), filter));
        });
        let gone = vec![(); CHANGES];
        let stride = number / CHANGES.min(number);
        let old = |at: usize| u32::try_from(at * stride % number).expect("small numbers");
        let remove = each(CHANGES.min(number), gone, |at, ()| {
            black_box(index.remove(old(at)));
        });
        println!(
            "| {number} | {insert:.2} | {remove:.2} | {replace:.2} | {:.2} | {:.2} |",
            build.as_secs_f64(),
            parsing.as_secs_f64(),
        );
    }
}

/// Microseconds for each of `number` calls.
fn each<T>(number: usize, items: Vec<T>, mut call: impl FnMut(usize, T)) -> f64 {
    let start = Clock::start();
    for (at, item) in items.into_iter().take(number).enumerate() {
        call(at, item);
    }
    1e6 / per_second(number, start.elapsed())
}

fn per_second(number: usize, time: Duration) -> f64 {
    ratio(number, 1) / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}

/// Filters and events of the row that the peers are compared on, as Extended JSON lines.
fn write_inputs(directory: &Path) -> std::io::Result<()> {
    let random = &mut Random::new(1);
    let lines = |name: &str, mut documents: Box<dyn Iterator<Item = RawDocumentBuf> + '_>| {
        let mut file = std::io::BufWriter::new(std::fs::File::create(directory.join(name))?);
        documents.try_for_each(|document| {
            let document = bson::Document::try_from(&document).expect("the generator makes BSON");
            writeln!(
                file,
                "{}",
                bson::Bson::Document(document).into_relaxed_extjson()
            )
        })?;
        file.flush()
    };
    lines(
        "filters.jsonl",
        Box::new((0..100_000).map(|_| workload::w(random, 10_000))),
    )?;
    lines(
        "events.jsonl",
        Box::new((0..EVENTS).map(|_| workload::event(random, 10_000))),
    )
}
