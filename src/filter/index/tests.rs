//! Whatever the filters and events, the index gives the answers of a loop over its filters.

mod costs;
mod growth;
mod inputs;
mod joined;

use std::collections::{HashMap, hash_map::Entry};

use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use proptest::prelude::*;

use self::inputs::{Step, alike, event, filter, numbers, steps, texts, textual};
use super::super::Filter;
use super::{FilterIndex, index_builder};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn index_and_loop_agree(steps in steps(filter(), event(), 30)) {
        check(&steps)?;
    }

    /// Prefixes, ranges and equalities meet in the same few texts.
    #[test]
    fn index_and_loop_agree_on_texts(steps in steps(textual(), texts(), 30)) {
        check(&steps)?;
    }

    /// Filters that look alike meet in few buckets and large trees.
    #[test]
    fn index_and_loop_agree_on_ranges(steps in steps(alike(), numbers(), 120)) {
        check(&steps)?;
    }
}

/// Takes the steps with an index and with a loop.
fn check(steps: &[Step]) -> Result<(), TestCaseError> {
    let (first, then) = steps.split_at(steps.len() / 2);
    let (mut index, mut naive) = built(first);
    for step in then {
        match step {
            Step::Insert(key, filter) => {
                // Some patterns are refused under some options.
                let Ok(filter) = Filter::parse(&raw(filter)) else {
                    continue;
                };
                let replaced = naive.insert(*key, filter.clone()).is_some();
                prop_assert_eq!(index.insert(*key, filter), replaced);
            }
            Step::Remove(key) => {
                prop_assert_eq!(index.remove(*key), naive.remove(key).is_some());
            }
            Step::Match(document) => {
                prop_assert_eq!(found(&index, document), expected(&naive, document));
            }
        }
        prop_assert_eq!(index.len(), naive.len());
    }
    index.rekey(|key| !key);
    let naive: HashMap<u8, Filter> = naive
        .into_iter()
        .map(|(key, filter)| (!key, filter))
        .collect();
    for step in steps {
        if let Step::Match(document) = step {
            prop_assert_eq!(found(&index, document), expected(&naive, document));
        }
    }
    for key in naive.keys() {
        index.remove(*key);
    }
    assert_forgotten(&index);
    Ok(())
}

/// Builds an index in bulk, and a map of its filters.
fn built(steps: &[Step]) -> (FilterIndex<u8>, HashMap<u8, Filter>) {
    let mut naive = HashMap::new();
    let (mut compiler, mut builder) = index_builder();
    for step in steps {
        if let Step::Insert(key, filter) = step
            && let Ok(filter) = Filter::parse(&raw(filter))
        {
            let ready = compiler.compile(filter.clone());
            match naive.entry(*key) {
                Entry::Occupied(_) => builder.discard(ready),
                Entry::Vacant(vacant) => {
                    builder.insert(*key, ready);
                    vacant.insert(filter);
                }
            }
        }
    }
    (builder.finish(compiler), naive)
}

fn found(index: &FilterIndex<u8>, document: &RawDocumentBuf) -> Vec<u8> {
    let mut keys = Vec::new();
    index.matching(document, &mut keys);
    keys.sort_unstable();
    keys
}

fn expected(filters: &HashMap<u8, Filter>, document: &RawDocumentBuf) -> Vec<u8> {
    let matching = filters
        .iter()
        .filter(|(_, filter)| filter.matches(document));
    let mut keys: Vec<_> = matching.map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys
}

/// Nothing is left of filters that are gone.
fn assert_forgotten<K: Copy + Eq + std::hash::Hash>(index: &FilterIndex<K>) {
    let lookup = &index.lookup;
    assert_eq!(index.records.stored(), 0);
    assert_eq!(lookup.paths.len(), 0);
    assert_eq!(lookup.opaques.len(), 0);
    assert_eq!(lookup.shapes.len(), 1);
    assert_eq!(lookup.buckets.len(), 0);
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("documents have a raw form")
}

#[test]
fn identical_filters_are_stored_once() {
    let mut index = FilterIndex::new();
    let filter = |document: RawDocumentBuf| Filter::parse(&document).expect("the filter is legal");
    index.insert(1, filter(rawdoc! { "a": 1, "b": { "$regex": "x.y" } }));
    index.insert(2, filter(rawdoc! { "b": { "$regex": "x.y" }, "a": 1 }));
    index.insert(3, filter(rawdoc! { "a": 1, "b": { "$regex": "x.z" } }));
    assert_eq!((index.len(), index.records.stored()), (3, 2));
    index.remove(1);
    assert_eq!(found(&index, &rawdoc! { "a": 1, "b": "xxy" }), [2]);
}

#[test]
fn what_demands_nothing_is_counted() {
    let mut index = FilterIndex::new();
    let mut insert = |key, document: RawDocumentBuf| {
        index.insert(key, Filter::parse(&document).expect("the filter is legal"));
        index.scanned()
    };
    assert_eq!(insert(1, rawdoc! { "a": 1, "b": { "$ne": 1 } }), 0);
    assert_eq!(
        insert(2, rawdoc! { "a": { "$elemMatch": { "b": "x" } } }),
        0
    );
    assert_eq!(
        insert(3, rawdoc! { "$or": [{ "a": 1 }, { "b": { "$gt": 5 } }] }),
        0
    );
    assert_eq!(insert(4, rawdoc! { "a": { "$exists": false } }), 1);
    assert_eq!(
        insert(5, rawdoc! { "$or": [{ "a": 1 }, { "b": { "$ne": 5 } }] }),
        2
    );
    assert_eq!(insert(5, rawdoc! { "a": { "$in": [1, 2] } }), 1);
}

#[test]
fn arrays_with_very_many_combinations_are_matched_all_the_same() {
    let mut index = FilterIndex::new();
    let filter = Filter::parse(&rawdoc! { "a": 7, "b": 8, "c": 9 }).expect("the filter is legal");
    index.insert(1, filter);
    let numbers: Vec<Bson> = (0..100).map(Bson::Int32).collect();
    let document = raw(&doc! { "a": numbers.clone(), "b": numbers.clone(), "c": numbers });
    assert_eq!(found(&index, &document), [1]);
}

/// Filters of more shapes than are looked up get their entries at the end.
#[test]
fn an_index_in_parts_takes_filters_of_very_many_shapes() {
    let (mut compiler, mut builder) = index_builder();
    let mut insert = |key: u32, filter: &Document| {
        let filter = Filter::parse(&raw(filter)).expect("the filter is legal");
        builder.insert(key, compiler.compile(filter));
    };
    // All others have the path that comes after these as their lead.
    let earlier = (0..40).map(|name| (format!("a{name}"), Bson::Int32(0)));
    insert(40, &earlier.collect());
    for name in 0..40 {
        insert(name, &doc! { format!("a{name}"): 1, "z": 1 });
    }
    let mut index = builder.finish(compiler);
    let shapes = (0..100).filter_map(|id| index.lookup.shapes.get(id));
    assert_eq!(shapes.filter(|shape| shape.parts.len() == 2).count(), 16);
    for wanted in 0..40_u32 {
        let mut keys = Vec::new();
        index.matching(&raw(&doc! { "z": 1, format!("a{wanted}"): 1 }), &mut keys);
        assert_eq!(keys, [wanted]);
    }
    (0..=40).for_each(|key| assert!(index.remove(key)));
    assert_forgotten(&index);
}

/// Of very many buckets two may have one key. A filter in both is found twice.
#[test]
fn a_filter_that_two_buckets_hold_matches_once() {
    let filter = |name: &str| Filter::parse(&raw(&doc! { name: 1 })).expect("the filter is legal");
    let mut index = FilterIndex::from_iter([(1, filter("a")), (2, filter("b"))]);
    let ids: Vec<_> = index.records.ids().collect();
    let entry = |id| index.records.get(id).expect("a filter").entries.as_slice()[0];
    let entries = [entry(ids[0]), entry(ids[1])];
    for (at, id) in ids.iter().enumerate() {
        let (own, other) = (entries[at], entries[1 - at]);
        index
            .lookup
            .buckets
            .insert(other.bucket, own.interval(*id), |alone| {
                Some(other.interval(alone))
            });
    }
    let mut found = Vec::new();
    index.matching(&raw(&doc! { "a": 1, "b": 1 }), &mut found);
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
}
