//! Filters that the server takes and we refuse on purpose: the table in `docs/filters.md`.

use bson::{Bson, RawDocumentBuf, Regex, bson};
use tidegate::filter::Filter;

use super::harness::Outcome;

/// Asserts that the server takes every filter, and that we refuse it with an operator and a reason.
async fn check_ours_alone_refuses(filters: &[Bson]) {
    let harness = super::harness().await;
    for filter in filters {
        let filter = filter.as_document().expect("a filter is a document");
        let server = harness.ask_server(filter).await;
        assert!(
            matches!(server, Outcome::Selected(_)),
            "{filter}: {server:?}"
        );
        let raw = RawDocumentBuf::try_from(filter).expect("a raw filter");
        let error = Filter::parse(&raw).expect_err("a refusal");
        assert!(
            error.operator.is_some() && !error.reason.is_empty(),
            "{filter}: {error:?}"
        );
    }
}

#[tokio::test]
async fn operators_that_need_more_than_the_document() {
    let filters = [
        bson!({"$where": "true"}),
        bson!({"$expr": true}),
        bson!({"$jsonSchema": {}}),
        bson!({"$sampleRate": 0.5}),
        bson!({"a": {"$geoWithin": {"$centerSphere": [[0, 0], 1]}}}),
        bson!({"a": {"$within": {"$center": [[0, 0], 1]}}}),
        bson!({"a": {"$geoIntersects": {"$geometry": {"type": "Point", "coordinates": [0, 0]}}}}),
        bson!({"a": {"$_internalSchemaMinItems": 1}}),
        bson!({"a": {"$_internalExprEq": 1}}),
        bson!({"$_internalSchemaMinProperties": 1}),
    ];
    check_ours_alone_refuses(&filters).await;
}

#[tokio::test]
async fn regular_expressions_that_cannot_run_in_linear_time() {
    let patterns = [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?>a)",
        "(?|a|b)",
        "a++",
        "a?+",
        "(?x)a+ +b",
        "(a)\\1",
        "(?<n>a)\\k<n>",
        "(a)\\g1",
        "(?(?=a)b)",
        "(a)(?1)",
        "(a(?R)?)",
        "(*ACCEPT)",
        "(*UTF8)a",
        "(?C)a",
        "\\Ka",
        "\\R",
        "\\X",
        "\\C",
        "[[:<:]]a",
        "[\\R]",
        "[\\Qa]\\E]",
        "[a\\E-z]",
        "(?J)a",
        "(?U)a",
        "(?X)a",
        "\\8",
        "\\10",
        "\\p{Latin}",
        "\\p{Xan}",
        "\\p{Cn}",
        "a$b",
        "(a$)+",
        "$\\n",
        "(?m)a^b*$",
        "(a{1000}){1000}",
    ];
    let regex = |pattern: &str| bson!({"a": {"$regex": pattern}});
    check_ours_alone_refuses(&patterns.map(regex)).await;
    let in_list = Regex {
        pattern: "(?=a)".try_into().expect("no NUL"),
        options: "".try_into().expect("no NUL"),
    };
    check_ours_alone_refuses(&[
        bson!({"a": {"$in": [Bson::RegularExpression(in_list)]}}),
        regex(&"a".repeat(5_000)),
    ])
    .await;
}
