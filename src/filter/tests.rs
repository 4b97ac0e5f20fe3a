//! Facts about the language, through its front door. These need no server; `tests/differential` compares with one.

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::{Explanation, Filter, FilterError, Limits};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn parse(filter: &Document) -> Result<Filter, FilterError> {
    Filter::parse(&raw(filter))
}

/// Asserts whether `filter` selects `document`.
#[track_caller]
fn check(filter: &Document, document: &Document, expected: bool) {
    let compiled = parse(filter).unwrap();
    assert_eq!(
        compiled.matches(&raw(document)),
        expected,
        "{filter} on {document}"
    );
}

/// Asserts that `filter` is refused at `pointer` because of `operator`.
#[track_caller]
fn check_refused(filter: &Document, operator: Option<&str>, pointer: &str) {
    let error = parse(filter).unwrap_err();
    assert_eq!(
        (error.operator.as_deref(), error.pointer.as_str()),
        (operator, pointer),
        "{error}"
    );
}

#[test]
fn equality_looks_into_arrays_and_at_them_whole() {
    check(&doc! {"a": 1}, &doc! {"a": [3, 1]}, true);
    check(&doc! {"a": [3, 1]}, &doc! {"a": [3, 1]}, true);
    check(&doc! {"a": [1, 3]}, &doc! {"a": [3, 1]}, false);
    check(&doc! {"a.0": 3}, &doc! {"a": [3, 1]}, true);
    check(&doc! {"a.b": 2}, &doc! {"a": [{"b": 1}, {"b": 2}]}, true);
}

#[test]
fn ne_means_that_no_element_is_equal() {
    check(&doc! {"a": {"$ne": 1}}, &doc! {"a": [3, 1]}, false);
    check(&doc! {"a": {"$ne": 1}}, &doc! {}, true);
}

#[test]
fn null_matches_missing_but_not_below_an_empty_array() {
    check(&doc! {"a": null}, &doc! {}, true);
    check(&doc! {"a.b": null}, &doc! {"a": []}, false);
}

#[test]
fn numbers_compare_by_value_and_exactly() {
    check(&doc! {"a": 1}, &doc! {"a": 1.0}, true);
    let above = (1_i64 << 53) + 1;
    check(
        &doc! {"a": above},
        &doc! {"a": 9_007_199_254_740_992.0},
        false,
    );
    check(
        &doc! {"a": {"$gt": 9_007_199_254_740_992.0}},
        &doc! {"a": above},
        true,
    );
}

#[test]
fn comparisons_stay_within_their_kind() {
    check(&doc! {"a": {"$gt": 1}}, &doc! {"a": "x"}, false);
    check(&doc! {"a": {"$lt": Bson::MaxKey}}, &doc! {"a": "x"}, true);
}

#[test]
fn elem_match_wants_one_element_to_meet_everything() {
    check(&doc! {"a": {"$gt": 5, "$lt": 3}}, &doc! {"a": [6, 2]}, true);
    check(
        &doc! {"a": {"$elemMatch": {"$gt": 5, "$lt": 9}}},
        &doc! {"a": [2, 6]},
        true,
    );
    check(
        &doc! {"a": {"$elemMatch": {"b": 1, "c": 2}}},
        &doc! {"a": [{"b": 1}, {"c": 2}]},
        false,
    );
}

#[test]
fn refusals_name_operator_and_place() {
    check_refused(&doc! {"a.b": {"$foo": 1}}, Some("$foo"), "/a.b/$foo");
    check_refused(
        &doc! {"$or": [{"a/b": {"$where": ""}}]},
        Some("$where"),
        "/$or/0/a~1b/$where",
    );
    check_refused(&doc! {"$and": []}, Some("$and"), "/$and");
    check_refused(
        &doc! {"a": {"$all": [{"$elemMatch": {"b": {"$size": -1}}}]}},
        Some("$size"),
        "/a/$all/0/$elemMatch/b/$size",
    );
    check_refused(
        &doc! {"a": {"$regex": "(?=b)"}},
        Some("$regex"),
        "/a/$regex",
    );
    check_refused(&doc! {"~": Bson::Undefined}, None, "/~0");
}

#[test]
fn limits_are_held() {
    let refused = |limits: Limits, filter: Document| {
        assert!(
            Filter::parse_with(&raw(&filter), &limits).is_err(),
            "{filter}"
        );
        assert!(parse(&filter).is_ok(), "{filter}");
    };
    let limits = Limits::default;
    refused(
        Limits {
            filter_bytes: 10,
            ..limits()
        },
        doc! {"a": "long enough"},
    );
    refused(
        Limits {
            clauses: 1,
            ..limits()
        },
        doc! {"a": 1, "b": 1},
    );
    refused(
        Limits {
            list_values: 1,
            ..limits()
        },
        doc! {"a": {"$in": [1, 2]}},
    );
    refused(
        Limits {
            depth: 2,
            ..limits()
        },
        doc! {"a": {"b": {"c": 1}}},
    );
    refused(
        Limits {
            pattern_bytes: 3,
            ..limits()
        },
        doc! {"a": {"$regex": "abcd"}},
    );
    refused(
        Limits {
            compiled_pattern_bytes: 1_000,
            ..limits()
        },
        doc! {"a": {"$regex": "[ab]{1,99}"}},
    );
    refused(
        Limits {
            compiled_bytes: 8_000,
            ..limits()
        },
        doc! {"a": {"$regex": "[ab]{1,99}x"}, "b": {"$in": [pattern("[ab]{1,99}y"), pattern("[ab]{1,99}z")]}},
    );
}

fn pattern(source: &str) -> Bson {
    let text = |text: &str| bson::raw::CString::try_from(text).unwrap();
    Bson::RegularExpression(bson::Regex {
        pattern: text(source),
        options: text(""),
    })
}

/// Patterns beyond the bound are not even compiled.
#[test]
fn very_many_patterns_are_refused_where_their_memory_ends() {
    let patterns = (0..3_600).map(|number| pattern(&format!("(a|b)*{number}{{0,9}}")));
    let error = parse(&doc! {"a": {"$in": patterns.collect::<Vec<_>>()}}).unwrap_err();
    let (list, place) = error.pointer.rsplit_once('/').unwrap();
    assert_eq!(
        (error.operator.as_deref(), list),
        (Some("$regex"), "/a/$in")
    );
    let place: usize = place.parse().unwrap();
    assert!((100..3_000).contains(&place), "{error}");
}

#[test]
fn filters_that_never_match_say_why() {
    let never = |filter: Document| parse(&filter).unwrap().never_matches().is_some();
    assert!(never(doc! {"a": {"$in": []}}));
    assert!(never(doc! {"a": {"$all": []}}));
    assert!(never(doc! {"$alwaysFalse": 1, "a": 1}));
    assert!(never(
        doc! {"$or": [{"a": {"$in": []}}, {"b": {"$gt": Bson::MaxKey}}]}
    ));
    assert!(never(doc! {"a": {"$eq": 1, "$ne": 1}}));
    assert!(never(doc! {"a": {"$exists": false, "$gt": 1}}));
    assert!(never(doc! {"a": {"$elemMatch": {"$gt": 5, "$lt": 3}}}));
    assert!(never(doc! {"$nor": [{}]}));
}

#[test]
fn what_an_array_or_a_gap_can_meet_is_no_contradiction() {
    let never = |filter: Document| parse(&filter).unwrap().never_matches();
    assert_eq!(never(doc! {"a": {"$gt": 5, "$lt": 3}}), None);
    assert_eq!(never(doc! {"$and": [{"a": 1}, {"a": 2}]}), None);
    assert_eq!(never(doc! {"a": {"$exists": false, "$eq": null}}), None);
    assert_eq!(never(doc! {"a": {"$ne": 1, "$gte": 1}}), None);
    assert_eq!(never(doc! {"a": {"$nin": []}}), None);
    assert_eq!(
        never(doc! {"a": {"$eq": null, "$not": {"$type": "null"}}}),
        None
    );
    assert_eq!(
        never(doc! {"a": {"$eq": 1, "$not": {"$type": "int"}}}),
        None
    );
    assert_eq!(never(doc! {}), None);
}

#[test]
fn an_explanation_points_at_every_clause() {
    let filter = doc! {
        "type": "x", "n": {"$gt": 1, "$ne": 5},
        "$or": [{"a.b": {"$not": {"$in": [1]}}}, {"c": {"$exists": false}}],
    };
    let explanation = parse(&filter)
        .unwrap()
        .explain(&raw(&doc! {"type": "x", "n": [1, 5], "a": [{"b": 1}]}));
    let mut lines = Vec::new();
    collect(&explanation, &mut lines);
    let expected = [
        (String::new(), false),
        ("/type".to_owned(), true),
        ("/n/$gt".to_owned(), true),
        ("/n/$ne".to_owned(), false),
        ("/$or".to_owned(), true),
        ("/$or/0/a.b/$not".to_owned(), false),
        ("/$or/0/a.b/$not/$in".to_owned(), true),
        ("/$or/1/c/$exists".to_owned(), true),
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        explanation.parts[1].saw,
        [
            Bson::Int32(1),
            Bson::Int32(5),
            vec![Bson::Int32(1), Bson::Int32(5)].into()
        ]
    );
}

fn explained(filter: &Document, document: &Document) -> Vec<(String, bool)> {
    let explanation = parse(filter).unwrap().explain(&raw(document));
    let mut lines = Vec::new();
    collect(&explanation, &mut lines);
    lines
}

fn lines(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    let owned = |(pointer, holds): &(&str, bool)| ((*pointer).to_owned(), *holds);
    expected.iter().map(owned).collect()
}

#[test]
fn an_explanation_goes_into_the_element_that_matched_or_came_closest() {
    let filter = doc! {"a": {"$elemMatch": {"b": 1, "c": {"$gt": 5, "$ne": 9}, "$or": [{"d": 1}, {"d": 2}]}}};
    let matched =
        doc! {"a": [5, {"b": 1, "c": 9}, {"b": 1, "c": 6, "d": 2}, {"b": 1, "c": 7, "d": 1}]};
    let parts = |b, gt, ne, or, first, second| {
        lines(&[
            ("/a/$elemMatch", gt && ne && or),
            ("/a/$elemMatch/b", b),
            ("/a/$elemMatch/c/$gt", gt),
            ("/a/$elemMatch/c/$ne", ne),
            ("/a/$elemMatch/$or", or),
            ("/a/$elemMatch/$or/0/d", first),
            ("/a/$elemMatch/$or/1/d", second),
        ])
    };
    assert_eq!(
        explained(&filter, &matched),
        parts(true, true, true, true, false, true)
    );
    let close = doc! {"a": [{"b": 2, "c": 9}, {"b": 1, "c": 9}, {"b": 1, "c": 9, "d": 3}]};
    assert_eq!(
        explained(&filter, &close),
        parts(true, true, false, false, false, false)
    );
    for nothing in [doc! {}, doc! {"a": 5}, doc! {"a": []}, doc! {"a": [5, "x"]}] {
        assert_eq!(
            explained(&filter, &nothing),
            lines(&[("/a/$elemMatch", false)])
        );
    }
}

#[test]
fn an_explanation_goes_into_elements_that_are_no_documents() {
    let filter = doc! {"a.b": {"$not": {"$elemMatch": {"$gt": 5, "$not": {"$in": [7, 8]}}}}};
    let place = |rest| format!("/a.b/$not{rest}");
    let expected = |gt, not| {
        vec![
            (place(""), !(gt && not)),
            (place("/$elemMatch"), gt && not),
            (place("/$elemMatch/$gt"), gt),
            (place("/$elemMatch/$not"), not),
            (place("/$elemMatch/$not/$in"), !not),
        ]
    };
    // The values are in several arrays.
    let document = |last: i32| doc! {"a": [{"b": [7, 1]}, {"b": 9}, {"b": [last]}]};
    assert_eq!(explained(&filter, &document(9)), expected(true, true));
    assert_eq!(explained(&filter, &document(8)), expected(true, false));
    let nested = doc! {"a": {"$elemMatch": {"$elemMatch": {"b": 1}}}};
    assert_eq!(
        explained(&nested, &doc! {"a": [1, [2], [{"b": 2}, {"b": 1}]]}),
        lines(&[
            ("/a/$elemMatch", true),
            ("/a/$elemMatch/$elemMatch", true),
            ("/a/$elemMatch/$elemMatch/b", true)
        ])
    );
}

#[test]
fn an_explanation_tells_which_members_of_all_were_found() {
    let filter = doc! {"a": {"$all": [1, Bson::Null, {"$eq": 1}]}};
    assert!(parse(&filter).is_err());
    let filter = doc! {"a": {"$all": [1, "x", Bson::Null]}};
    let explanation = parse(&filter).unwrap().explain(&raw(&doc! {"a": [2, "x"]}));
    let saw: Vec<_> = explanation
        .parts
        .iter()
        .map(|part| (part.holds, part.saw.clone()))
        .collect();
    assert_eq!(
        saw,
        [(false, vec![]), (true, vec!["x".into()]), (false, vec![])]
    );
    assert_eq!(
        explained(&filter, &doc! {}),
        lines(&[
            ("/a/$all", false),
            ("/a/$all/0", false),
            ("/a/$all/1", false),
            ("/a/$all/2", true)
        ])
    );
    let filter =
        doc! {"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"b": {"$gt": 5}}}]}};
    assert_eq!(
        explained(&filter, &doc! {"a": [{"b": 1}, {"b": 2}]}),
        lines(&[
            ("/a/$all", false),
            ("/a/$all/0/$elemMatch", true),
            ("/a/$all/0/$elemMatch/b", true),
            ("/a/$all/1/$elemMatch", false),
            ("/a/$all/1/$elemMatch/b/$gt", false),
        ])
    );
}

fn collect(explanation: &Explanation, lines: &mut Vec<(String, bool)>) {
    lines.push((explanation.pointer.clone(), explanation.holds));
    explanation
        .parts
        .iter()
        .for_each(|part| collect(part, lines));
}

#[test]
fn an_explanation_is_bounded() {
    let filter = parse(&doc! {"a": {"$gt": 0}}).unwrap();
    let many = filter.explain(&raw(&doc! {"a": (0..100).collect::<Vec<i32>>()}));
    assert!(many.saw.len() <= 8 && many.truncated);
    let large = filter.explain(&raw(&doc! {"a": "x".repeat(10_000)}));
    assert!(large.saw.is_empty() && large.truncated);
}

#[test]
fn a_hostile_pattern_takes_linear_time() {
    let filter = parse(&doc! {"a": {"$regex": "^(a|aa|a*)*$"}}).unwrap();
    let text = "a".repeat(100_000) + "b";
    assert!(!filter.matches(&raw(&doc! {"a": text})));
}

#[test]
fn deep_filters_and_documents_need_little_stack() {
    let deep = (0..98).fold(doc! {"a": 1}, |inner, _| doc! {"a": {"$elemMatch": inner}});
    let document = (0..98).fold(doc! {"a": 1}, |inner, _| doc! {"a": [inner]});
    check(&deep, &document, true);
    // Far deeper than any server takes, as raw bytes.
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        let length = u32::try_from(bytes.len() + 8 + usize::from(bytes.is_empty())).unwrap();
        let mut outer = length.to_le_bytes().to_vec();
        if bytes.is_empty() {
            outer.extend(b"\x10a\0");
            outer.truncate(4);
            outer = b"\x05\0\0\0".to_vec();
        } else {
            outer.extend(b"\x04a\0");
            outer.append(&mut bytes);
        }
        outer.push(0);
        bytes = outer;
    }
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    let path = vec!["a"; 180].join(".");
    for test in [
        doc! {"$exists": true},
        doc! {"$elemMatch": {"a.a.a": 1}},
        doc! {"$gt": [[[[1]]]]},
    ] {
        let filter = parse(&doc! {&path: test}).unwrap();
        filter.matches(&document);
        filter.explain(&document);
    }
}

#[test]
fn a_document_that_breaks_off_counts_up_to_there() {
    // {a: 1, then a string that claims to be longer than the document}
    let bytes = b"\x16\0\0\0\x10a\0\x01\0\0\0\x02b\0\xff\0\0\0x\0\0\0".to_vec();
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    assert!(parse(&doc! {"a": 1}).unwrap().matches(&document));
    assert!(
        parse(&doc! {"b": {"$exists": false}})
            .unwrap()
            .matches(&document)
    );
}
