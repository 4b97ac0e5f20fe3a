//! Known odd cases, each compared with the server.

use bson::{Binary, Bson, Decimal128, Document, Regex, bson, doc, spec::BinarySubtype};

use super::harness::Outcome;

/// Asserts that the server and we agree on every one of `filters`, over all of `documents`.
pub(crate) async fn check(filters: &[Bson], documents: &[Document]) {
    let harness = super::harness().await;
    let raw = harness.replace_documents(documents).await;
    for filter in filters {
        let filter = filter.as_document().expect("a filter is a document");
        let server = harness.ask_server(filter).await;
        let ours = super::harness::ask_ourselves(filter, &raw);
        match (server, ours) {
            (Outcome::Refused(_), Err(_)) => {}
            (server, Ok(ours)) => assert_eq!(server, ours, "{filter}"),
            (server, Err(error)) => panic!("{filter}: {error}, but the server: {server:?}"),
        }
    }
}

/// Puts each operand under `operator` on the field `a`.
pub(crate) fn on_a(operator: &str, operands: Vec<Bson>) -> Vec<Bson> {
    operands
        .into_iter()
        .map(|operand| bson!({"a": {operator: operand}}))
        .collect()
}

pub(crate) fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
}

pub(crate) fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

pub(crate) fn regex(pattern: &str, options: &str) -> Bson {
    let pattern = pattern.try_into().expect("no NUL");
    Bson::RegularExpression(Regex {
        pattern,
        options: options.try_into().expect("no NUL"),
    })
}

fn shapes() -> Vec<Document> {
    vec![
        doc! {"a": 1},
        doc! {"a": [1, 2]},
        doc! {},
        doc! {"a": Bson::Null},
        doc! {"a": Bson::Undefined},
        doc! {"a": []},
        doc! {"a": {"b": 1}},
        doc! {"a": [{"b": 1}, {"b": 2}]},
        doc! {"a": [[1, 2]]},
        doc! {"a": "abc"},
        doc! {"a": regex("abc", "")},
        doc! {"a": {"$ref": "c", "$id": 5}},
        doc! {"$id": 5},
        doc! {"a": [[{"b": 1}]]},
        doc! {"a": {"0": {"b": 1}}},
        doc! {"a": [{"0": {"b": 1}}]},
        doc! {"a": [[[1]]]},
        doc! {"a": [{"": 1}]},
        doc! {"a": {"": 1}},
        doc! {"": 1},
        doc! {"": {"": 1}},
        doc! {"a": [5, {"b": 1}]},
        doc! {"a": [Bson::Null]},
        doc! {"a": [{}]},
        doc! {"a": {}},
        doc! {"a": [[]]},
        doc! {"a.b": 1},
        doc! {"a": {"b": [1, [2]]}},
        doc! {"a": [{"b": []}, {"b": [1]}]},
        doc! {"": [1]},
        doc! {"": [[1]]},
        doc! {"a": [{"b": Bson::Null}]},
        doc! {"a": [["x", {"0": 1}]]},
        doc! {"a": [Bson::Undefined]},
    ]
}

#[tokio::test]
async fn paths_through_arrays_and_odd_names() {
    let paths = [
        "a", "a.b", "a.0", "a.0.b", "a.0.0", "a.00", "a.1", "a.", "a..", ".a", ".", "", "a.0.",
        "a.0.0.b", "a.b.0", "a.b.1", "a.1.b", "a.b.c", "a..b", "a.-1", "a.0.0.0", ".0", "a.0.1.0",
        "a.1.0",
    ];
    let tests = [
        bson!(1),
        Bson::Null,
        bson!({"$exists": true}),
        bson!({"$exists": false}),
        bson!({"$ne": 1}),
        bson!({"$gt": 0}),
        bson!({"$size": 1}),
        bson!({"$type": "array"}),
        bson!([1]),
        bson!([]),
        bson!({}),
        bson!({"$elemMatch": {"b": 1}}),
        bson!({"$elemMatch": {"$gte": 1}}),
        bson!({"$ne": null}),
        bson!({"$in": [null, 7]}),
        bson!({"$nin": [1]}),
        bson!({"$all": [1]}),
        bson!({"$not": {"$gt": 0}}),
        bson!({"$lte": null}),
        bson!({"$gt": null}),
        bson!({"$type": "null"}),
        bson!({"$elemMatch": {"": 1}}),
        bson!({"$mod": [2, 1]}),
    ];
    let mut filters = Vec::new();
    for path in paths {
        filters.extend(tests.iter().map(|test| bson!({path: test.clone()})));
    }
    check(&filters, &shapes()).await;
}

#[tokio::test]
async fn shapes_of_queries() {
    let reference = bson!({"$ref": "c", "$id": 5});
    let filters = [
        bson!({}),
        bson!({"$comment": 5}),
        bson!({"$comment": {"$foo": 1}}),
        bson!({"$and": [{"$comment": "x"}]}),
        bson!({"a": {"$comment": 1}}),
        bson!({"$alwaysTrue": 1}),
        bson!({"$alwaysTrue": 2}),
        bson!({"$alwaysFalse": 1.0}),
        bson!({"$alwaysTrue": decimal("1")}),
        bson!({"$alwaysTrue": true}),
        bson!({"a": {"$alwaysTrue": 1}}),
        bson!({"a": {"$elemMatch": {"$alwaysTrue": 1}}}),
        bson!({"$id": 5}),
        bson!({"$ref": "c"}),
        bson!({"$id": {"$gt": 4}}),
        bson!({"$id": regex("x", "")}),
        bson!({"a.$id": 5}),
        bson!({"a.$id": {"$gt": 4}}),
        bson!({"a": reference}),
        bson!({"a": {"$id": 5, "$ref": "c"}}),
        bson!({"a": {"$ref": "c"}}),
        bson!({"a": {"$id": 5}}),
        bson!({"a": {"$ref": "c", "x": 1, "$id": 5}}),
        bson!({"a": {"$elemMatch": {"$id": 5}}}),
        bson!({"a": {"$elemMatch": {"$gt": 1, "$ref": 5}}}),
        bson!({"a": {"$elemMatch": {}}}),
        bson!({"a": {"$elemMatch": 1}}),
        bson!({"a": {"$elemMatch": {"$or": [{"b": 1}]}}}),
        bson!({"a": {"$elemMatch": {"$gt": 0, "b": 2}}}),
        bson!({"a": {"$elemMatch": []}}),
        bson!({"a": {"$elemMatch": {"b": 2, "$gt": 0}}}),
        bson!({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}),
        bson!({"a": {"$elemMatch": {"$elemMatch": {"$gt": 1}}}}),
        bson!({"a": {"$elemMatch": {"$ne": 1}}}),
        bson!({"a": {"$elemMatch": {"$exists": false}}}),
        bson!({"a": {"$elemMatch": {"0": 1}}}),
        bson!({"a": {"$elemMatch": {"$all": [1]}}}),
        bson!({"a": {"$elemMatch": {"$all": []}}}),
        bson!({"a": {"$elemMatch": {"$size": 2}}}),
        bson!({"a": {"$elemMatch": {"b": null}}}),
        bson!({"a": {"$elemMatch": {"$eq": null}}}),
        bson!({"a": {"$elemMatch": {"$foo": 1}}}),
        bson!({"a": {"$elemMatch": {"$comment": 1}}}),
    ];
    check(&filters, &shapes()).await;
}

#[tokio::test]
async fn shapes_of_operators() {
    let reference = bson!({"$ref": "c", "$id": 5});
    let filters = [
        bson!({"a": {"$all": []}}),
        bson!({"a": {"$all": 1}}),
        bson!({"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"b": 2}}]}}),
        bson!({"a": {"$all": [{"$elemMatch": {"b": 1}}, 5]}}),
        bson!({"a": {"$all": [5, {"$elemMatch": {"b": 1}}]}}),
        bson!({"a": {"$all": [{"$elemMatch": {"b": 1}}, {"b": 2}]}}),
        bson!({"a": {"$all": [{"$gt": 1}]}}),
        bson!({"a": {"$all": [{"$foo": 1}]}}),
        bson!({"a": {"$all": [{"$not": 1}]}}),
        bson!({"a": {"$all": [{"$eq": 1}]}}),
        bson!({"a": {"$all": [{"$near": 1}]}}),
        bson!({"a": {"$all": [{"$options": 1}]}}),
        bson!({"a": {"$all": [{"$expr": 1}]}}),
        bson!({"a": {"$all": [{"b": 1, "$gt": 1}]}}),
        bson!({"a": {"$all": [{"$elemMatch": {"b": 1}, "x": 1}]}}),
        bson!({"a": {"$all": [regex("b", "")]}}),
        bson!({"a": {"$all": [null]}}),
        bson!({"a": {"$all": [[1, 2]]}}),
        bson!({"a": {"$all": [{}]}}),
        bson!({"a": {"$all": [{"$_internalExprEq": 1}]}}),
        bson!({"a": {"$all": [Bson::Undefined]}}),
        bson!({"a": {"$all": [[]]}}),
        bson!({"a": {"$in": 1}}),
        bson!({"a": {"$in": []}}),
        bson!({"a": {"$nin": []}}),
        bson!({"a": {"$in": [{"$gt": 1}]}}),
        bson!({"a": {"$in": [reference]}}),
        bson!({"a": {"$in": [{"b": {"$gt": 1}}]}}),
        bson!({"a": {"$in": [null]}}),
        bson!({"a": {"$in": [regex("b", "")]}}),
        bson!({"a": {"$in": [regex("(", "")]}}),
        bson!({"a": {"$in": [[]]}}),
        bson!({"a": {"$in": [{}]}}),
        bson!({"a": {"$in": [Bson::Undefined]}}),
        bson!({"a": {"$in": [[1, 2]]}}),
        bson!({"a": {"$not": 1}}),
        bson!({"a": {"$not": {}}}),
        bson!({"a": {"$not": regex("b", "")}}),
        bson!({"a": {"$not": {"b": 1}}}),
        bson!({"a": {"$not": {"$regex": "b"}}}),
        bson!({"a": {"$not": {"$not": {"$gt": 1}}}}),
        bson!({"a": {"$not": {"$gt": 1, "b": 1}}}),
        bson!({"a": {"$not": []}}),
        bson!({"a": {"$not": {"$options": "i"}}}),
        bson!({"a": {"$not": {"$ref": "c", "$id": 5}}}),
        bson!({"a": {"$gt": 1, "b": 1}}),
        bson!({"a": {"b": 1, "$gt": 1}}),
        bson!({"a": {"$gt": regex("x", "")}}),
        bson!({"a": {"$eq": regex("abc", "")}}),
        bson!({"a": {"$ne": regex("abc", "")}}),
        bson!({"a": {"$gt": {"$foo": 1}}}),
        bson!({"a": {"$eq": {"$gt": 1}}}),
        bson!({"a": {"$gt": {}}}),
        bson!({"a": {"$lt": []}}),
        bson!({"a": {"": 1}}),
        bson!({"a": {"$": 1}}),
        bson!({"$": 1}),
        bson!({"$foo": 1}),
        bson!({"$a.b": 1}),
        bson!({"$and": 1}),
        bson!({"$and": []}),
        bson!({"$and": [1]}),
        bson!({"$and": [{}]}),
        bson!({"$or": {}}),
        bson!({"$nor": [{}]}),
        bson!({"$not": {"a": 1}}),
        bson!({"$eq": 1}),
        bson!({"a": {"$and": []}}),
        bson!({"a": Bson::Undefined}),
        bson!({"a": {"$gt": Bson::Undefined}}),
        bson!({"a": {"$maxDistance": 1}}),
        bson!({"$atomic": 1}),
        bson!({"a": {"$lt": Bson::MaxKey}}),
        bson!({"a": {"$gt": Bson::MinKey}}),
        bson!({"a": {"$eq": Bson::MinKey}}),
        bson!({"a": {"$gte": null}}),
    ];
    check(&filters, &shapes()).await;
}

#[tokio::test]
async fn forms_of_regular_expressions() {
    let documents = [
        doc! {"a": "abc"},
        doc! {"a": "ABC"},
        doc! {"a": regex("b", "")},
        doc! {"a": regex("b", "i")},
        doc! {"a": ["xbx"]},
        doc! {"a": "b\n"},
        doc! {"a": "ab\0c"},
        doc! {"a": Bson::Symbol("b".into())},
        doc! {"a": Bson::JavaScriptCode("b".into())},
    ];
    let tests = [
        bson!({"$regex": "b", "$options": "i"}),
        bson!({"$options": "i", "$regex": "b"}),
        bson!({"$regex": regex("b", "i"), "$options": ""}),
        bson!({"$options": "", "$regex": regex("b", "i")}),
        bson!({"$options": "m", "$regex": regex("b", "i")}),
        bson!({"$regex": regex("b", ""), "$options": "i"}),
        bson!({"$regex": 5}),
        bson!({"$regex": "b", "$options": 5}),
        bson!({"$options": "i"}),
        bson!({"$regex": "b", "$options": "q"}),
        bson!({"$regex": "b", "$options": "u"}),
        bson!({"$regex": "b", "$options": "ii"}),
        bson!({"$regex": "b", "$options": "imsx"}),
        bson!({"$regex": "a\0"}),
        bson!({"$regex": ""}),
        regex("b", "l"),
        regex("b", "u"),
        regex("b", "s"),
        regex("b", "i"),
        bson!({"$regex": "b", "$gt": ""}),
        bson!({"$in": [regex("b", "i"), 5]}),
        bson!({"$eq": regex("b", "i")}),
        bson!({"$regex": Bson::JavaScriptCode("b".into())}),
        bson!({"$regex": "b", "$not": {"$regex": "c"}}),
        bson!({"$not": {"$regex": "b", "$options": "z"}}),
        bson!({"$regex": Bson::Symbol("b".into())}),
        bson!({"$regex": "(".repeat(249) + &")".repeat(249)}),
        bson!({"$regex": "(".repeat(250) + &")".repeat(250)}),
    ];
    let filters: Vec<Bson> = tests.into_iter().map(|test| bson!({"a": test})).collect();
    check(&filters, &documents).await;
}

#[tokio::test]
async fn limits_of_nesting_and_paths() {
    let nested = |levels: usize, wrap: fn(Bson) -> Bson| {
        (0..levels).fold(bson!({"$gt": 1}), |inner, _| wrap(inner))
    };
    let mut filters = Vec::new();
    for levels in [97, 98, 99, 100, 150] {
        filters.push((0..levels).fold(bson!({"a": 1}), |inner, _| bson!({"$and": [inner]})));
        filters.push((0..levels).fold(
            bson!({"a": 1}),
            |inner, _| bson!({"a": {"$elemMatch": inner}}),
        ));
    }
    for levels in [196, 197, 198, 199, 200] {
        filters.push(bson!({"a": nested(levels, |inner| bson!({"$not": inner}))}));
        filters.push(bson!({"a": nested(levels, |inner| bson!({"b": inner}))}));
        filters.push(bson!({"a": {"$in": [nested(levels, |inner| bson!([inner]))]}}));
        filters.push(bson!({"a": (0..levels).fold(bson!({"$mod": [2, 1]}), |inner, _| bson!({"$not": inner}))}));
        filters.push(bson!({"$comment": nested(levels, |inner| bson!([inner]))}));
    }
    for components in [179, 180, 181, 300] {
        let path = vec!["a"; components].join(".");
        filters.extend([
            bson!({&path: 1}),
            bson!({&path: {"$ne": 1}}),
            bson!({"a": {"$elemMatch": {&path: 1}}}),
        ]);
        filters.push(bson!({&path: {"$elemMatch": {"b": 1}}}));
    }
    let deep = (0..170).fold(bson!(1), |inner, _| bson!([inner]));
    check(&filters, &[doc! {"a": 1}, doc! {}, doc! {"a": deep}]).await;
}
