//! Documents that are no policies, and policies that their authors perhaps did not mean.

use bson::{Bson, Document, RawDocumentBuf, Regex, cstr, doc, rawdoc};

use super::super::Policy;
use super::{of_tenant, read, reading};

fn check_fault(document: &Document, path: &str, reason: &str) {
    let fault = read(document).unwrap_err();
    assert_eq!(fault.path(), path, "{document}: {fault}");
    assert!(fault.reason.contains(reason), "{document}: {fault}");
}

#[test]
fn a_field_that_is_not_known_or_of_a_wrong_type_is_a_fault() {
    let with = |field: &str, value: Bson| {
        let mut document = doc! {"_id": "p", "read": {}};
        document.insert(field, value);
        document
    };
    check_fault(&doc! {"_id": "p"}, "read", "is missing");
    check_fault(&doc! {"read": {}}, "_id", "is missing");
    for (field, value, path, reason) in [
        ("_id", Bson::from(5), "_id", "must be a text"),
        ("_id", "".into(), "_id", "must be a text"),
        ("read", "all".into(), "read", "must be a document"),
        ("publish", Bson::Null, "publish", "must be a document"),
        ("pubilsh", doc! {}.into(), "pubilsh", "is not a field"),
        ("stamp", "x".into(), "stamp", "must be a document"),
        ("quotas", 5.into(), "quotas", "must be a document"),
        (
            "quotas",
            doc! {"connections": -1}.into(),
            "quotas.connections",
            "must be a whole number from 0 to 1000000000",
        ),
        ("sources", 5.into(), "sources", "must be a document"),
        (
            "sources",
            doc! {"s": {}}.into(),
            "sources.s.read",
            "is missing",
        ),
        (
            "sources",
            doc! {"s": 1}.into(),
            "sources.s",
            "must be a document",
        ),
        (
            "sources",
            doc! {"s": {"read": {}, "write": {}}}.into(),
            "sources.s.write",
            "is not a field",
        ),
        (
            "sources",
            doc! {"s": {"read": {"a": {"$foo": 1}}}}.into(),
            "sources.s.read.a.$foo",
            "is not an operator",
        ),
        (
            "stamp",
            doc! {"data.a": 1}.into(),
            "stamp.data.a",
            "the event itself",
        ),
        (
            "stamp",
            doc! {"$set": 1}.into(),
            "stamp.$set",
            "the event itself",
        ),
        (
            "stamp",
            doc! {"id": "x"}.into(),
            "stamp.id",
            "not a policy's",
        ),
        ("stamp", doc! {"ts": 1}.into(), "stamp.ts", "not a policy's"),
        (
            "stamp",
            doc! {"a": Bson::Null}.into(),
            "stamp.a",
            "must be a claim",
        ),
        (
            "stamp",
            doc! {"a": ["x"]}.into(),
            "stamp.a",
            "must be a claim",
        ),
        (
            "stamp",
            doc! {"a": "x$claims.b"}.into(),
            "stamp.a",
            "none can stand",
        ),
    ] {
        check_fault(&with(field, value), path, reason);
    }
    let mut twice = rawdoc! {"_id": "p", "read": {"tenant": "$claims.tenant"}};
    twice.append(cstr!("read"), rawdoc! {});
    assert_eq!(Policy::read(&twice).unwrap_err().path(), "read");
    let mut twice = rawdoc! {"a": 1};
    twice.append(cstr!("a"), 2);
    let twice: RawDocumentBuf = rawdoc! {"_id": "p", "read": twice};
    assert_eq!(Policy::read(&twice).unwrap_err().path(), "read.a");
}

#[test]
fn a_claim_stands_in_the_place_of_a_value_only() {
    let regex = Bson::RegularExpression(Regex {
        pattern: "^$claims.tenant".try_into().unwrap(),
        options: "".try_into().unwrap(),
    });
    for (query, path, reason) in [
        (doc! {"a": "x$claims.b"}, "read.a", "none can stand"),
        (doc! {"a": "$claims.b.c"}, "read.a", "must name one claim"),
        (doc! {"a": "$claims."}, "read.a", "must name one claim"),
        (doc! {"a": "$claims.b c"}, "read.a", "must name one claim"),
        (
            doc! {"a": "$claims.b$claims.c"},
            "read.a",
            "must name one claim",
        ),
        (doc! {"a": {"b": "$claims.c"}}, "read.a.b", "none can stand"),
        (
            doc! {"a": {"$eq": {"b": "$claims.c"}}},
            "read.a.$eq.b",
            "none can stand",
        ),
        (
            doc! {"a": {"$eq": {"$claims.c": 1}}},
            "read.a.$eq",
            "an operator in the place",
        ),
        (
            doc! {"$claims.a": 1},
            "read.$claims.a",
            "is not an operator",
        ),
        (doc! {"a.$claims.b": 1}, "read.a.$claims.b", "is not a path"),
        (
            doc! {"a": {"$regex": "$claims.b"}},
            "read.a.$regex",
            "none can stand",
        ),
        (doc! {"a": regex}, "read.a", "none can stand"),
        (
            doc! {"a": {"$type": "$claims.b"}},
            "read.a.$type",
            "none can stand",
        ),
        (
            doc! {"a": {"$mod": ["$claims.b", 1]}},
            "read.a.$mod.0",
            "none can stand",
        ),
        (
            doc! {"a": {"$exists": "$claims.b"}},
            "read.a.$exists",
            "true or false",
        ),
        (
            doc! {"$comment": "$claims.b"},
            "read.$comment",
            "none can stand",
        ),
        (doc! {"$or": "$claims.b"}, "read.$or", "must be an array"),
        (
            doc! {"$or": ["$claims.b"]},
            "read.$or.0",
            "must be a document",
        ),
        (
            doc! {"$or": [{"a": {"$in": 5}}]},
            "read.$or.0.a.$in",
            "must be an array",
        ),
        (
            doc! {"a": {"$in": ["$claims.b", "c"]}},
            "read.a.$in",
            "mixes claims",
        ),
        (
            doc! {"a": {"$in": [["$claims.b"]]}},
            "read.a.$in.0.0",
            "none can stand",
        ),
        (
            doc! {"a": {"$in": vec!["$claims.b"; 65]}},
            "read.a.$in",
            "more than 64",
        ),
    ] {
        check_fault(&doc! {"_id": "p", "read": query}, path, reason);
    }
}

#[test]
fn what_a_policy_cannot_use_is_a_fault() {
    let deep = (0..40).fold(doc! {"a": 1}, |inner, _| doc! {"$and": [inner]});
    let long: Vec<Document> = (0..100)
        .map(|at| doc! {format!("a{at}.b.c.d"): 1})
        .collect();
    let below = "read".to_owned() + &".$and.0".repeat(16);
    for (query, path, reason) in [
        (
            doc! {"a": {"$ne": {"$ne": 1}}},
            "read.a.$ne",
            "an operator in the place",
        ),
        (
            doc! {"a": {"$not": {"$ne": 1}}},
            "read.a.$not.$ne",
            "a negation within",
        ),
        (
            doc! {"a": {"$not": {"$nin": [1]}}},
            "read.a.$not.$nin",
            "a negation within",
        ),
        (
            doc! {"a": {"$not": {"$not": {"$gt": 1}}}},
            "read.a.$not.$not",
            "a negation within",
        ),
        (
            doc! {"a": {"$not": {"$exists": false}}},
            "read.a.$not.$exists",
            "a negation within",
        ),
        (
            doc! {"$nor": [{"a": {"$ne": 1}}]},
            "read.$nor.0.a.$ne",
            "a negation within",
        ),
        (
            doc! {"$nor": [{"$or": [{"$nor": [{"a": 1}]}]}]},
            "read.$nor.0.$or.0.$nor",
            "a negation within",
        ),
        (
            doc! {"a": {"$elemMatch": {"$gt": 1}}},
            "read.a.$elemMatch",
            "needs an array",
        ),
        (doc! {"a": {"$all": [1]}}, "read.a.$all", "needs an array"),
        (
            doc! {"a": {"$not": {"$size": 1}}},
            "read.a.$not.$size",
            "needs an array",
        ),
        (doc! {"a": [1]}, "read.a", "is an array"),
        (doc! {"a": {"$gt": [1]}}, "read.a.$gt", "is an array"),
        (
            doc! {"a": {"$gt": 1, "b": 1}},
            "read.a.b",
            "is not an operator",
        ),
        (doc! {"$where": "true"}, "read.$where", "is not an operator"),
        (doc! {"$expr": true}, "read.$expr", "is not an operator"),
        (doc! {"$ref": 1}, "read.$ref", "is not an operator"),
        (doc! {"a..b": 1}, "read.a..b", "is not a path"),
        (doc! {"": 1}, "read.", "is not a path"),
        (doc! {"a.$b": 1}, "read.a.$b", "is not a path"),
        (
            doc! {vec!["a"; 17].join("."): 1},
            &format!("read{}", ".a".repeat(17)),
            "16 parts",
        ),
        (doc! {"a": {"$regex": "("}}, "read.a.$regex", "is refused"),
        (doc! {"a": {"$mod": [0, 1]}}, "read.a.$mod", "is refused"),
        (
            doc! {"a": {"$options": "i"}},
            "read.a.$options",
            "is refused",
        ),
        (doc! {"a": Bson::Undefined}, "read.a.$eq", "is refused"),
        (doc! {"$and": []}, "read.$and", "is refused"),
        (doc! {"$alwaysTrue": 2}, "read.$alwaysTrue", "is refused"),
        (doc! {"$and": long}, "read", "conditions that refuse arrays"),
        (deep, &below, "nested deeper"),
    ] {
        check_fault(&doc! {"_id": "p", "read": query}, path, reason);
    }
}

fn check_warnings(document: &Document, pointers: &[&str]) {
    let warnings = read(document).unwrap().warnings();
    let found: Vec<&str> = warnings.iter().map(|warning| &*warning.pointer).collect();
    assert_eq!(found, pointers, "{document}: {warnings:?}");
}

#[test]
fn a_policy_that_is_perhaps_not_meant_so_has_warnings() {
    for (query, paths) in [
        (of_tenant(), &[][..]),
        (doc! {}, &["#/read"]),
        (doc! {"$alwaysTrue": 1}, &["#/read"]),
        (doc! {"a": {"$gt": "$claims.b"}}, &["#/read"]),
        (doc! {"a": {"$in": "$claims.b"}, "c": {"$ne": 1}}, &[]),
        (doc! {"a": {"$in": ["$claims.b"]}}, &[]),
        (doc! {"a": {"$in": vec![1; 64]}}, &[]),
        (doc! {"a": {"$in": vec![1; 65]}}, &["#/read"]),
        (doc! {"a": Bson::Null}, &["#/read", "#/read/a/$eq"]),
        (
            doc! {"a": {"$in": [1, Bson::Null]}},
            &["#/read", "#/read/a/$in"],
        ),
        (doc! {"$or": [of_tenant(), {"a": 1}]}, &[]),
        (doc! {"$or": [of_tenant(), {"a": {"$gt": 1}}]}, &["#/read"]),
        (doc! {"$and": [of_tenant(), {"a": {"$gt": 1}}]}, &[]),
        (
            doc! {"a": {"$ne": "$claims.b"}},
            &["#/read", "#/read/a/$ne"],
        ),
        (
            doc! {"a": 1, "b": {"$nin": "$claims.b"}},
            &["#/read/b/$nin"],
        ),
        (
            doc! {"a": 1, "b": {"$not": {"$gt": "$claims.b"}}},
            &["#/read/b/$not/$gt"],
        ),
        (
            doc! {"a": 1, "$nor": [{"b": "$claims.b"}, {"$and": [{"c": {"$in": ["$claims.c"]}}]}]},
            &["#/read/$nor/0/b/$eq", "#/read/$nor/1/$and/0/c/$in"],
        ),
        (doc! {"a": 1, "$nor": [{"b": Bson::Null}]}, &[]),
    ] {
        check_warnings(&doc! {"_id": "p", "read": query}, paths);
    }
    for (more, paths) in [
        (doc! {"publish": of_tenant()}, &["#/publish"][..]),
        (doc! {"publish": {}}, &["#/publish", "#/publish"]),
        (doc! {"publish": {"source": "$claims.tenant"}}, &[]),
        (doc! {"publish": {"source": {"$in": ["/a", "/b"]}}}, &[]),
        (
            doc! {"publish": of_tenant(), "stamp": {"source": "/a"}},
            &[],
        ),
        (
            doc! {"publish": {"tenant": "$claims.tenant", "source": {"$regex": "^/a/"}}},
            &["#/publish"],
        ),
        (doc! {"sources": {"s": {"read": {}}}}, &["#/sources/s/read"]),
    ] {
        let mut document = doc! {"_id": "p", "read": of_tenant()};
        document.extend(more);
        check_warnings(&document, paths);
    }
}

#[test]
fn plain_values_are_what_their_operators_are() {
    let regex = Bson::RegularExpression(Regex {
        pattern: "^a".try_into().unwrap(),
        options: "i".try_into().unwrap(),
    });
    for (plain, operator) in [
        (doc! {"a": 1}, doc! {"a": {"$eq": 1}}),
        (doc! {"a": {"b": 1}}, doc! {"a": {"$eq": {"b": 1}}}),
        (doc! {"a": {}}, doc! {"a": {"$eq": {}}}),
        (
            doc! {"a": regex.clone()},
            doc! {"a": {"$regex": regex.clone()}},
        ),
        (
            doc! {"a": {"$not": regex.clone()}},
            doc! {"a": {"$not": {"$regex": regex}}},
        ),
        (of_tenant(), doc! {"tenant": {"$eq": "$claims.tenant"}}),
    ] {
        assert_eq!(reading(plain), reading(operator));
    }
}
