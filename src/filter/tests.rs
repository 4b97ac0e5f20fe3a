//! Facts about the language, through its front door.

use bson::{RawBson, RawDocumentBuf, rawdoc};

use super::Filter;

/// Asserts whether `filter` selects `document`.
#[track_caller]
fn check(filter: &RawDocumentBuf, document: &RawDocumentBuf, expected: bool) {
    let compiled = Filter::parse(filter).expect("the filter is legal");
    assert_eq!(
        compiled.matches(document),
        expected,
        "{filter:?} on {document:?}"
    );
}

/// Asserts that `filter` is refused at `pointer` because of `operator`.
#[track_caller]
fn check_refused(filter: &RawDocumentBuf, operator: Option<&str>, pointer: &str) {
    let error = Filter::parse(filter).expect_err("the filter is not legal");
    assert_eq!(
        (error.operator.as_deref(), error.pointer.as_str()),
        (operator, pointer)
    );
}

#[test]
fn equality_looks_into_arrays_and_at_them_whole() {
    check(&rawdoc! {"a": 1}, &rawdoc! {"a": [3, 1]}, true);
    check(&rawdoc! {"a": [3, 1]}, &rawdoc! {"a": [3, 1]}, true);
    check(&rawdoc! {"a": [1, 3]}, &rawdoc! {"a": [3, 1]}, false);
    check(&rawdoc! {"a.0": 3}, &rawdoc! {"a": [3, 1]}, true);
    check(
        &rawdoc! {"a.b": 2},
        &rawdoc! {"a": [{"b": 1}, {"b": 2}]},
        true,
    );
}

#[test]
fn ne_means_that_no_element_is_equal() {
    check(&rawdoc! {"a": {"$ne": 1}}, &rawdoc! {"a": [3, 1]}, false);
    check(&rawdoc! {"a": {"$ne": 1}}, &rawdoc! {}, true);
}

#[test]
fn null_matches_missing_but_not_below_an_empty_array() {
    check(&rawdoc! {"a": RawBson::Null}, &rawdoc! {}, true);
    check(&rawdoc! {"a.b": RawBson::Null}, &rawdoc! {"a": []}, false);
}

#[test]
fn numbers_compare_by_value_and_exactly() {
    check(&rawdoc! {"a": 1}, &rawdoc! {"a": 1.0}, true);
    let above = (1_i64 << 53) + 1;
    check(
        &rawdoc! {"a": above},
        &rawdoc! {"a": 9_007_199_254_740_992.0},
        false,
    );
    check(
        &rawdoc! {"a": {"$gt": 9_007_199_254_740_992.0}},
        &rawdoc! {"a": above},
        true,
    );
}

#[test]
fn comparisons_stay_within_their_kind() {
    check(&rawdoc! {"a": {"$gt": 1}}, &rawdoc! {"a": "x"}, false);
    check(
        &rawdoc! {"a": {"$lt": RawBson::MaxKey}},
        &rawdoc! {"a": "x"},
        true,
    );
}

#[test]
fn refusals_name_operator_and_place() {
    check_refused(&rawdoc! {"a.b": {"$foo": 1}}, Some("$foo"), "/a.b/$foo");
    check_refused(
        &rawdoc! {"$or": [{"a/b": {"$where": ""}}]},
        Some("$where"),
        "/$or/0/a~1b/$where",
    );
    check_refused(&rawdoc! {"$and": []}, Some("$and"), "/$and");
}
