//! The cost of changes of the index.

use std::hint::black_box;
use std::time::Duration;

use bson::RawDocumentBuf;
use tidegate::filter::{Filter, FilterIndex};

use crate::clock::Clock;
use crate::workload::{self, Random};
use crate::{parsed, ratio};

const CHANGES: usize = 20_000;
/// Filters that are parsed together right before they are inserted, as in the service.
const GROUP: usize = 64;

/// Measures one insert, one replacement and one remove at several sizes, and a build.
pub(crate) fn change() {
    println!(
        "| W, filters | insert, µs | replace, µs | remove, µs | build, s | of that parsing, s |"
    );
    println!("|---|---|---|---|---|---|");
    for number in [10_000, 100_000, 1_000_000] {
        let accounts = number as u64 / 10;
        let random = &mut Random::new(1);
        let mut make =
            |number| -> Vec<_> { (0..number).map(|_| workload::w(random, accounts)).collect() };
        let raw = make(number);
        let parsing = Clock::start();
        for filter in &raw {
            drop(black_box(parsed(filter)));
        }
        let parsing = parsing.elapsed();
        let build = Clock::start();
        let mut index: FilterIndex<u32> = (0..)
            .zip(&raw)
            .map(|(key, filter)| (key, parsed(filter)))
            .collect();
        let build = build.elapsed();
        // Keys from all over the index: those that were added, those that are replaced, and all of them.
        let key = |at: usize| u32::try_from(number + at).expect("small numbers");
        let insert = put(&mut index, &make(CHANGES), key);
        let replace = put(&mut index, &make(CHANGES), |at| key(at * 7_919 % CHANGES));
        let stride = number / CHANGES.min(number) * 2 + 1;
        let remove = Clock::start();
        for at in 0..CHANGES.min(number) {
            black_box(index.remove(u32::try_from(at * stride % number).expect("small numbers")));
        }
        let remove = micros(remove.elapsed(), CHANGES.min(number));
        let (build, parsing) = (build.as_secs_f64(), parsing.as_secs_f64());
        println!(
            "| {number} | {insert:.2} | {replace:.2} | {remove:.2} | {build:.2} | {parsing:.2} |"
        );
    }
}

/// Returns the microseconds for the insert of one filter, without parsing.
fn put(index: &mut FilterIndex<u32>, raw: &[RawDocumentBuf], key: impl Fn(usize) -> u32) -> f64 {
    let mut spent = Duration::ZERO;
    let mut at = 0;
    for group in raw.chunks(GROUP) {
        let filters: Vec<Filter> = group.iter().map(parsed).collect();
        let clock = Clock::start();
        for filter in filters {
            black_box(index.insert(key(at), filter));
            at += 1;
        }
        spent += clock.elapsed();
    }
    micros(spent, raw.len())
}

fn micros(spent: Duration, number: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / ratio(number, 1)
}
