//! Any bytes as a filter: parsing ends, and an accepted filter can be matched, explained and joined.

#![no_main]

use bson::{RawDocument, rawdoc};
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::filter::{Filter, Limits};

fuzz_target!(|bytes: &[u8]| {
    let Ok(raw) = RawDocument::from_bytes(bytes) else {
        return;
    };
    let Ok(filter) = Filter::parse(raw) else {
        return;
    };
    let document = rawdoc! {"a": [1, "a", {"b": [2.5, true]}], "b": "a\n", "": {"a": 1}};
    let matches = filter.matches(&document);
    assert_eq!(filter.explain(&document).holds, matches);
    // A filter is a document too.
    let matches_itself = filter.matches(raw);
    assert_eq!(filter.explain(raw).holds, matches_itself);
    if filter.never_matches().is_some() {
        assert!(!matches && !matches_itself);
    }
    if let Ok(joined) = filter.clone().and(filter, &Limits::default()) {
        assert_eq!(joined.matches(&document), matches);
    }
});
