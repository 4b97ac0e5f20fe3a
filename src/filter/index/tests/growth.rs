//! Work grows with its input, not with the square of it.

use bson::{Bson, Document, doc};

use super::super::demand::Analysis;
use super::super::event::Event;
use super::super::key;
use super::raw;
use crate::filter::cost::Budgets;
use crate::filter::value::Elements;
use crate::filter::{Filter, FilterIndex, tally};

fn parsed(filter: &Document) -> Filter {
    Filter::parse(&raw(filter)).expect("the filter is legal")
}

/// Checks that doubling the input at most doubles the work, and a little.
fn check_linear(sizes: [usize; 3], work: impl Fn(usize) -> usize) {
    let [small, middle, large] = sizes.map(|size| work(size).div_ceil(size));
    assert!(small > 0, "nothing is counted");
    let most = small.min(middle) * 5 / 4 + 1;
    assert!(large <= most, "{small}, {middle} and {large} for each");
}

#[test]
fn alternatives_in_alternatives_are_read_once() {
    let work = |depth, beside: bool| {
        let mut filter = doc! { "last": 1 };
        for level in 0..depth {
            filter = doc! { "$or": [{ format!("a{level}"): 1 }, filter] };
            if beside {
                filter.insert(format!("b{level}"), doc! { "$gt": 1 });
            }
        }
        let filter = parsed(&filter);
        tally::of(|| drop(Analysis { seed: 0 }.conjunctions(filter.root())))
    };
    check_linear([20, 40, 80], |depth| work(depth, false));
    // Both the copies of demands beside an `$or` and the demands of a conjunction are bounded.
    for depth in [40, 80] {
        assert!(work(depth, true) <= 64 * 128 + 130 * depth, "{depth}");
    }
}

#[test]
fn a_long_path_above_many_conditions_is_not_copied_for_each() {
    let conditions = |number: usize| -> Document {
        let names = (0..number).map(|at| (format!("a{at}"), Bson::Int32(1)));
        names.collect()
    };
    let filter =
        |path: usize| parsed(&doc! { "p".repeat(path): { "$elemMatch": conditions(500) } });
    let bytes = |filter: &Filter| -> usize {
        let all = Analysis { seed: 0 }.conjunctions(filter.root());
        let demands = all.iter().flatten();
        demands.map(|demand| demand.path.as_str().len()).sum()
    };
    assert!(bytes(&filter(1_000)) < 128 * 1_010);
    assert!(bytes(&filter(100_000)) < 128 * 4_096 + 100_000);
}

#[test]
fn many_paths_in_an_event_are_found_in_short_chains() {
    check_linear([1_000, 8_000, 32_000], |number| {
        let names = || (0..number).map(|at| format!("f{at}"));
        let index: FilterIndex<usize> = names()
            .enumerate()
            .map(|(at, name)| (at, parsed(&doc! { name: { "$exists": true } })))
            .collect();
        let document: Document = names().map(|name| (name, Bson::Boolean(true))).collect();
        let document = raw(&document);
        tally::of(|| {
            let event = Event::new(&index.lookup.paths, document.as_bytes(), usize::MAX);
            assert_eq!(event.seen().len(), number);
        })
    });
}

#[test]
fn a_digest_looks_at_so_much_however_large_the_value_is() {
    let work = |number: i32| {
        let inner: Vec<Bson> = (0..number).map(Bson::Int32).collect();
        let document = raw(&doc! { "a": vec![Bson::Array(inner); 3] });
        let (_, value) = Elements::new(document.as_bytes())
            .next()
            .expect("an element");
        tally::of(|| {
            key::digest(value, 1);
        })
    };
    assert!(work(3) > 9);
    assert_eq!(work(100), work(10_000));
}

/// The values of an array are looked up again for each value of another array beside them.
#[test]
fn combinations_of_arrays_are_looked_up_as_often_as_the_event_is_large() {
    let filters = (0..50).map(|n| (n, parsed(&doc! { "a": n, "b": "one" })));
    let index: FilterIndex<i32> = filters.collect();
    for number in [10, 100, 1_000, 4_000] {
        let numbers: Vec<Bson> = (0..number).map(Bson::Int32).collect();
        let same = vec![Bson::from("one"); usize::try_from(number).expect("a size")];
        let document = raw(&doc! { "a": numbers, "b": same });
        let mut found = Vec::new();
        let work = tally::of(|| index.matching(&document, &mut found));
        assert_eq!(
            found.len(),
            usize::try_from(number.min(50)).expect("a size")
        );
        let most = Budgets::default().looks(document.as_bytes().len());
        assert!(work <= most + 40 * 4_000, "{work} of {most} for {number}");
    }
}
