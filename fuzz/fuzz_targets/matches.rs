//! Any bytes as a document, under filters that use every operator and path shape.

#![no_main]

use std::sync::LazyLock;

use bson::{RawDocument, RawDocumentBuf, doc};
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::filter::{Filter, FilterIndex};

static FILTERS: LazyLock<Vec<Filter>> = LazyLock::new(|| {
    let filters = [
        doc! {"a": 1},
        doc! {"a.b": {"$gte": "x", "$ne": 5}},
        doc! {"a.0.b": {"$in": [1, "x", null, [1], {"a": 1}]}},
        doc! {"a": {"$type": ["number", "array"]}},
        doc! {"a": {"$regex": "^[a-z]+$", "$options": "im"}},
        doc! {"a": {"$mod": [3, 1]}},
        doc! {"a.b": {"$size": 2}},
        doc! {"a": {"$bitsAllSet": [1, 5]}},
        doc! {"a": {"$elemMatch": {"b": {"$lt": 5}, "c.0": {"$exists": false}}}},
        doc! {"a": {"$elemMatch": {"$gt": 1, "$not": {"$gt": 9}}}},
        doc! {"a": {"$all": [1, [2]]}},
        doc! {"a": {"$lt": {"a": [1, {"b": 2}]}}},
        doc! {"$or": [{"a..b": 1}, {"": 2}, {"$nor": [{"a.": {"$gt": 0.5}}]}]},
    ];
    let raw = filters
        .iter()
        .map(|filter| RawDocumentBuf::try_from(filter).expect("raw bytes"));
    raw.map(|filter| Filter::parse(&filter).expect("a legal filter"))
        .collect()
});

static INDEX: LazyLock<FilterIndex<usize>> =
    LazyLock::new(|| FILTERS.iter().cloned().enumerate().collect());

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = RawDocument::from_bytes(bytes) else {
        return;
    };
    let matches = |filter: &Filter| {
        let matches = filter.matches(document);
        assert_eq!(filter.explain(document).holds, matches);
        matches
    };
    let alone: Vec<usize> = FILTERS
        .iter()
        .enumerate()
        .filter(|(_, filter)| matches(filter))
        .map(|(key, _)| key)
        .collect();
    let mut together = Vec::new();
    INDEX.matching(document, &mut together);
    together.sort_unstable();
    assert_eq!(alone, together);
});
