//! The cost of a match is bounded, known beforehand, and the same in an index and alone.

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::super::event::{Event, PathValues};
use super::inputs::{event, filter, texts, textual};
use super::raw;
use crate::filter::cost::{Budgets, MOST_STEPS};
use crate::filter::{Effort, Filter, FilterIndex, Steps, TooExpensive};

fn parsed(filter: &Document) -> Option<Filter> {
    Filter::parse(&raw(filter)).ok()
}

/// Returns the keys that match and those that are too expensive, sorted.
fn asked(
    index: &FilterIndex<u8>,
    document: &RawDocumentBuf,
    budgets: Budgets,
) -> (Vec<u8>, Vec<u8>) {
    let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
    index.matching_for(document, budgets, &mut found, &mut too_expensive);
    found.sort_unstable();
    too_expensive.sort_unstable();
    (found, too_expensive)
}

/// An index says of each filter what the filter says alone, however small the budget.
fn check_alike(
    filters: &[Document],
    documents: &[RawDocumentBuf],
    budgets: Budgets,
) -> Result<(), TestCaseError> {
    let filters: Vec<(u8, Filter)> = (0..).zip(filters.iter().filter_map(parsed)).collect();
    let index: FilterIndex<u8> = filters.iter().cloned().collect();
    // In another order, paths and conditions have other ids.
    let reversed: FilterIndex<u8> = filters.iter().rev().cloned().collect();
    for document in documents {
        let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
        for (key, filter) in &filters {
            match filter.matches_within(document, &mut Steps::new(budgets.most)) {
                Ok(true) => found.push(*key),
                Ok(false) => {}
                Err(TooExpensive) => too_expensive.push(*key),
            }
        }
        prop_assert_eq!(
            asked(&index, document, budgets),
            (found.clone(), too_expensive.clone())
        );
        prop_assert_eq!(asked(&reversed, document, budgets), (found, too_expensive));
    }
    Ok(())
}

/// Small budgets, so that small filters and documents pass them.
fn budgets() -> impl Strategy<Value = Budgets> {
    let most = prop_oneof![0..2_000_u64, 0..20_000_u64, 0..200_000_u64];
    (most, 1..9_u64, 0..2_usize, 0..300_u64).prop_map(|(most, part, visits_per_byte, glance)| {
        Budgets {
            first_steps: most / part,
            most,
            together: u64::MAX,
            visits_per_byte,
            glance,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_index_decides_as_each_filter_alone(
        filters in prop::collection::vec(filter(), 1..12),
        documents in prop::collection::vec(event(), 1..8),
        budgets in budgets(),
    ) {
        check_alike(&filters, &documents, budgets)?;
    }

    #[test]
    fn an_index_decides_as_each_filter_alone_on_texts(
        filters in prop::collection::vec(textual(), 1..12),
        documents in prop::collection::vec(texts(), 1..8),
        budgets in budgets(),
    ) {
        check_alike(&filters, &documents, budgets)?;
    }

    /// A small budget for all together leaves filters undecided, and makes no answer wrong.
    #[test]
    fn what_all_may_take_changes_no_answer(
        filters in prop::collection::vec(filter(), 1..12),
        documents in prop::collection::vec(event(), 1..8),
        budgets in budgets(),
        together in 0..20_000_u64,
    ) {
        let budgets = Budgets { together, ..budgets };
        let filters: Vec<(u8, Filter)> = (0..).zip(filters.iter().filter_map(parsed)).collect();
        let index: FilterIndex<u8> = filters.iter().cloned().collect();
        for document in &documents {
            let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
            let effort = index.matching_for(document, budgets, &mut found, &mut too_expensive);
            for (key, filter) in &filters {
                let alone = filter.matches_within(document, &mut Steps::new(budgets.most));
                let told = (found.contains(key), too_expensive.contains(key), effort.undecided.contains(key));
                match told {
                    (true, false, false) => prop_assert_eq!(alone, Ok(true)),
                    (false, true, false) => prop_assert_eq!(alone, Err(TooExpensive)),
                    (false, false, true) => {}
                    _ => prop_assert!(alone != Ok(true) && told == (false, false, false), "{told:?}"),
                }
            }
        }
    }

    /// Uncounted matches cost no more than their weight says.
    #[test]
    fn no_match_takes_more_steps_than_its_weight_says(
        filter in filter(),
        documents in prop::collection::vec(event(), 1..8),
    ) {
        if let Some(filter) = parsed(&filter) {
            for document in &documents {
                let mut steps = Steps::default();
                let matches = filter.matches_counted(document, &mut steps);
                prop_assert_eq!(matches, Ok(filter.matches(document)));
                let most = filter.weight().most_steps(document.as_bytes().len());
                prop_assert!(steps.spent() <= most, "{} of {}", steps.spent(), most);
            }
        }
    }

    /// A path and a document of numbers, both deep: each element is visited once with each rest of the path.
    #[test]
    fn numbers_in_a_path_cost_its_length_times_the_document(
        path in prop::collection::vec(prop::sample::select(vec!["0", "0", "0", "1", "a"]), 1..100),
        levels in prop::collection::vec(0..6_u8, 1..90),
        leaf in 0..3_u8,
    ) {
        let document = nested(&levels, leaf);
        let components = path.len() as u64;
        let path = path.join(".");
        for filter in [
            doc! { &path: 1 },
            doc! { &path: { "$elemMatch": { "a": 1 } } },
            doc! { &path: { "$exists": false } },
        ] {
            let filter = parsed(&filter).expect("the filter is legal");
            let mut steps = Steps::default();
            prop_assert_eq!(filter.matches_counted(&document, &mut steps), Ok(filter.matches(&document)));
            let pairs = components * document.as_bytes().len() as u64;
            prop_assert!(steps.spent() <= 40 * pairs + 1_000, "{} for {}", steps.spent(), pairs);
            let index = FilterIndex::from_iter([(1, filter.clone())]);
            let (found, too_expensive) = asked(&index, &document, Budgets::default());
            prop_assert_eq!((!found.is_empty(), too_expensive), (filter.matches(&document), vec![]));
        }
    }
}

/// Nests documents and arrays. Every level holds the next at the index, or under the name, 0.
fn nested(levels: &[u8], leaf: u8) -> RawDocumentBuf {
    let leaf = match leaf {
        0 => Bson::Int32(1),
        1 => Bson::Null,
        _ => Bson::Document(doc! { "a": 1 }),
    };
    let whole = levels.iter().fold(leaf, |inside, level| match level {
        0 | 1 => Bson::Array(vec![Bson::Document(doc! { "0": inside })]),
        2 => Bson::Array(vec![inside.clone()]),
        3 => Bson::Array(vec![Bson::Document(doc! { "a": inside })]),
        4 => Bson::Document(doc! { "0": inside }),
        _ => Bson::Document(doc! { "1": inside }),
    });
    raw(&doc! { "0": whole })
}

/// Each level is reached by its index and by its name, which doubles the ways to the next.
#[test]
fn a_filter_of_numbers_ends_on_a_document_of_numbers() {
    let document = nested(&[0; 45], 0);
    let mut index = FilterIndex::new();
    for (components, matches) in [(67, true), (92, false), (150, false)] {
        let path = vec!["0"; components].join(".");
        let filter = parsed(&doc! { &path: 1 }).expect("the filter is legal");
        let mut steps = Steps::default();
        assert_eq!(filter.matches_counted(&document, &mut steps), Ok(matches));
        assert!(steps.spent() < 500_000, "{}", steps.spent());
        assert_eq!(filter.explain(&document).holds, matches);
        index.insert(components, filter);
    }
    let mut found = Vec::new();
    index.matching(&document, &mut found);
    assert_eq!(found, [67]);
}

#[test]
fn what_is_too_expensive_is_told_and_does_not_match() {
    let filter = parsed(&doc! { "a": { "$regex": "[ab]*a[ab]{900}c" } });
    let filter = filter.expect("the filter is legal");
    // Letters without any regularity: each leads to new states.
    let mut word = 1_u32;
    let letters = (0..900_000).map(|_| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if word >> 31 == 0 { 'a' } else { 'b' }
    });
    let document = raw(&doc! { "a": letters.collect::<String>(), "b": 7 });
    let mut steps = Steps::default();
    assert_eq!(
        filter.matches_within(&document, &mut steps),
        Err(TooExpensive)
    );
    assert_eq!((steps.left(), steps.spent()), (0, MOST_STEPS));
    assert!(!filter.matches(&document));
    let explained = filter.explain(&document);
    assert!(!explained.holds && explained.truncated && explained.parts.is_empty());
    let plain = parsed(&doc! { "b": 7 }).expect("the filter is legal");
    let index = FilterIndex::from_iter([(1, filter), (2, plain)]);
    let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
    let effort = index.matching_within(&document, &mut found, &mut too_expensive);
    assert_eq!((found, too_expensive), (vec![2], vec![1]));
    let expected = Effort {
        steps: MOST_STEPS,
        most_expensive: Some((1, MOST_STEPS)),
        undecided: vec![],
    };
    assert_eq!(effort, expected);
}

/// Makes a filter that looks for more in `a`, the higher its number.
fn looks_for(number: u8, also: &Document) -> Filter {
    let wanted = (0..5 + i32::from(number)).map(|n| doc! { "$elemMatch": { "a": 300 - n } });
    let wanted: Vec<Bson> = wanted.map(Bson::Document).collect();
    let mut filter = doc! { "a": { "$all": wanted } };
    filter.extend(also.clone());
    parsed(&filter).expect("the filter is legal")
}

fn to_look_through() -> RawDocumentBuf {
    let elements = (0..=300).map(|n| Bson::Document(doc! { "a": n, "b": n }));
    raw(&doc! { "a": elements.collect::<Vec<_>>(), "type": "tick" })
}

/// However many filters are expensive, an event takes no more than its share; nobody is blamed for it.
#[test]
fn expensive_filters_share_what_one_event_may_take() {
    let document = to_look_through();
    let mut index: FilterIndex<u8> = (0..20).map(|n| (n, looks_for(n, &doc! {}))).collect();
    let plain = parsed(&doc! { "a.a": { "$gt": 5 } }).expect("the filter is legal");
    index.insert(20, plain);
    let budgets = Budgets {
        first_steps: 30_000,
        most: 1_000_000,
        together: 500_000,
        ..Budgets::default()
    };
    let everyone = (0..=20).collect::<Vec<u8>>();
    let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
    let effort = index.matching_for(&document, budgets, &mut found, &mut too_expensive);
    assert!(too_expensive.is_empty(), "{too_expensive:?}");
    assert!(found.contains(&20) && found.contains(&0), "{found:?}");
    let undecided = effort.undecided;
    assert!(
        undecided.contains(&19) && !undecided.contains(&20),
        "{undecided:?}"
    );
    found.extend(undecided);
    found.sort_unstable();
    assert_eq!(found, everyone);
    assert_eq!(
        asked(&index, &document, Budgets::default()),
        (everyone, vec![])
    );
}

/// However many filters are ordinary: those that no value finds share what one event may take, and the lightest get
/// their share in every index.
#[test]
fn ordinary_filters_share_what_one_event_may_take() {
    const NUMBER: u16 = 500;
    let document = to_look_through();
    let through = (0..NUMBER).map(|n| doc! { "a.a": { "$mod": [10_000, 5_000 + i32::from(n)] } });
    let plain = (0..10).map(|n| doc! { "type": { "$ne": n } });
    let filters = through
        .chain(plain)
        .map(|filter| parsed(&filter).expect("the filter is legal"));
    let filters: Vec<(u16, Filter)> = (0..).zip(filters).collect();
    let budgets = Budgets {
        first_steps: 500_000,
        most: 1_000_000,
        together: 1_000_000,
        ..Budgets::default()
    };
    let cost = |(_, filter): &(u16, Filter)| {
        let mut steps = Steps::default();
        filter
            .matches_counted(&document, &mut steps)
            .expect("an ordinary filter");
        steps.spent()
    };
    assert!(filters.iter().all(|filter| cost(filter) < 20_000));
    let all: u64 = filters.iter().map(cost).sum();
    assert!(all > 3 * budgets.together, "{all}");
    let check = |filters: &mut dyn Iterator<Item = &(u16, Filter)>| {
        let index: FilterIndex<u16> = filters.cloned().collect();
        let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
        let effort = index.matching_for(&document, budgets, &mut found, &mut too_expensive);
        found.sort_unstable();
        assert_eq!(found, (NUMBER..NUMBER + 10).collect::<Vec<_>>());
        assert!(too_expensive.is_empty());
        effort.undecided
    };
    for undecided in [check(&mut filters.iter()), check(&mut filters.iter().rev())] {
        let decided = filters.iter().filter(|(key, _)| !undecided.contains(key));
        let taken: u64 = decided.map(cost).sum();
        assert!(
            (budgets.together / 4..=budgets.together + 20_000).contains(&taken),
            "{taken}"
        );
    }
}

/// Filters that the event did not find come last. If nothing is left for them, they do not match.
#[test]
fn what_others_took_is_no_fault_of_a_filter_that_cannot_match() {
    let document = to_look_through();
    let filter = |n: u8| {
        let kind = if n < 10 { "other" } else { "tick" };
        (
            n,
            looks_for(n % 10, &doc! { "b": { "$exists": false }, "type": kind }),
        )
    };
    let index: FilterIndex<u8> = (0..20).map(filter).collect();
    let budgets = Budgets {
        first_steps: 10,
        most: 100_000,
        together: 300_000,
        ..Budgets::default()
    };
    let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
    let effort = index.matching_for(&document, budgets, &mut found, &mut too_expensive);
    let all = found.iter().chain(&too_expensive).chain(&effort.undecided);
    assert!(all.clone().all(|key| *key >= 10));
    assert_eq!(all.count(), 10);
    assert!(!effort.undecided.is_empty());
}

/// The order among equally heavy filters depends on their contents, not on the order in which they came.
#[test]
fn equally_heavy_filters_come_in_the_same_order_everywhere() {
    let document = to_look_through();
    let filters: Vec<(u8, Filter)> = (0..20)
        .map(|n| (n, looks_for(5, &doc! { "type": { "$ne": i32::from(n) } })))
        .collect();
    let there: FilterIndex<u8> = filters.iter().cloned().collect();
    let mut here = FilterIndex::new();
    for (key, filter) in filters.iter().rev() {
        let other = parsed(&doc! { format!("x{key}"): 1 }).expect("the filter is legal");
        here.insert(100 + key, other);
        here.insert(*key, filter.clone());
    }
    let budgets = Budgets {
        first_steps: 10,
        most: 1_000_000,
        together: 300_000,
        ..Budgets::default()
    };
    let undecided = |index: &FilterIndex<u8>| {
        let (mut found, mut too_expensive) = (Vec::new(), Vec::new());
        let effort = index.matching_for(&document, budgets, &mut found, &mut too_expensive);
        assert!(!found.is_empty() && too_expensive.is_empty());
        effort.undecided
    };
    assert!(!undecided(&here).is_empty());
    assert_eq!(undecided(&here), undecided(&there));
}

/// Each array in an array is reached by its index and by the name in its element, so that a set of paths can lead
/// to one element in very many ways.
#[test]
fn paths_that_double_at_every_level_do_not_multiply_an_event() {
    const LEVELS: u32 = 8;
    let numbers = Bson::Array((0..20_000).map(Bson::Int32).collect());
    let inside = (0..LEVELS).fold(numbers, |inside, _| {
        Bson::Array(vec![Bson::Document(doc! { "a": inside })])
    });
    let document = raw(&doc! { "r": inside, "plain": 1 });
    let paths = (0..1_u16 << LEVELS).map(|word| {
        let names = (0..LEVELS).map(|at| if word >> at & 1 == 0 { ".a" } else { ".0.a" });
        format!("r{}", names.collect::<String>())
    });
    let mut filters: Vec<Filter> = paths
        .filter_map(|path| parsed(&doc! { path: 19_999, "plain": { "$lt": 2 } }))
        .collect();
    filters.extend(parsed(&doc! { "plain": 1 }));
    filters.extend(parsed(&doc! { "plain": 2 }));
    filters.extend(parsed(&doc! { "absent": { "$exists": false } }));
    let index: FilterIndex<u16> = (0..).zip(filters.iter().cloned()).collect();
    let bytes = document.as_bytes();
    let event = Event::new(
        &index.lookup.paths,
        bytes,
        Budgets::default().visits(bytes.len()),
    );
    assert!(!event.is_surveyed());
    let stored = event.seen().iter().map(|seen| match &seen.values {
        PathValues::One(_) => 1,
        PathValues::Many(values) => values.capacity(),
    });
    assert_eq!(stored.sum::<usize>(), 1);
    let mut found = Vec::new();
    index.matching(&document, &mut found);
    found.sort_unstable();
    let alone = (0_u16..).zip(&filters);
    let alone = alone.filter(|(_, filter)| filter.matches(&document));
    let alone: Vec<u16> = alone.map(|(key, _)| key).collect();
    assert_eq!(alone.len(), (1 << LEVELS) + 2);
    assert_eq!(found, alone);
}

/// An event that people write stays far below the bounds, even if it is full of arrays and every field is asked for.
#[test]
fn an_event_of_many_small_documents_is_looked_up() {
    let names: Vec<String> = (0..12).map(|at| format!("field{at}")).collect();
    let fields: Document = names
        .iter()
        .map(|name| (name.clone(), Bson::Int32(7)))
        .collect();
    let items = vec![Bson::Document(fields); 5_000];
    let document = raw(&doc! { "items": items });
    let filters = names.iter().map(|name| {
        parsed(&doc! { format!("items.{name}"): 7, format!("items.0.{name}"): 7 })
            .expect("the filter is legal")
    });
    let index: FilterIndex<u8> = (0..).zip(filters).collect();
    let bytes = document.as_bytes();
    let visits = Budgets::default().visits(bytes.len());
    assert!(Event::new(&index.lookup.paths, bytes, visits).is_surveyed());
}
