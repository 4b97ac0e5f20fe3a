//! Filters and events for the tests: few values, so that they meet.

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::raw;

/// A change of an index, or a question to it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Insert(u8, Document),
    Remove(u8),
    Match(RawDocumentBuf),
}

/// Returns at most twice as many steps as keys.
pub(super) fn steps(
    filter: impl Strategy<Value = Document>,
    event: impl Strategy<Value = RawDocumentBuf>,
    keys: u8,
) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..keys, filter).prop_map(|(key, filter)| Step::Insert(key, filter)),
        1 => (0..keys).prop_map(Step::Remove),
        3 => event.prop_map(Step::Match),
    ];
    prop::collection::vec(step, 1..usize::from(keys) * 2)
}

/// Ranges and equalities on two paths.
pub(super) fn alike() -> impl Strategy<Value = Document> {
    let low = prop::sample::select(vec!["$gt", "$gte"]);
    let high = prop::sample::select(vec!["$lt", "$lte"]);
    let ends = (low, 0..40_i32, high, 0..40_i32);
    let range = (ends, 0..3_u8).prop_map(|((low, from, high, to), which)| match which {
        0 => doc! { "a": { low: from, high: to } },
        1 => doc! { "a": { low: from } },
        _ => doc! { "a": { high: to } },
    });
    let equal = prop::option::of(0..2_i32).prop_map(|b| b.map(|b| doc! { "b": b }));
    (range, equal).prop_map(|(range, equal)| {
        range
            .into_iter()
            .chain(equal.into_iter().flatten())
            .collect()
    })
}

pub(super) fn numbers() -> impl Strategy<Value = RawDocumentBuf> {
    let number = prop_oneof![
        (0..40_i32).prop_map(Bson::Int32),
        (0..80_i32).prop_map(|n| Bson::Double(f64::from(n) / 2.0))
    ];
    let numbers = prop::collection::vec(number.clone(), 0..4).prop_map(Bson::Array);
    let value = prop_oneof![2 => number, 1 => numbers];
    (value, 0..2_i32).prop_map(|(a, b)| raw(&doc! { "a": a, "b": b }))
}

/// Documents in which names may come twice, as in those that other programs store.
pub(super) fn event() -> impl Strategy<Value = RawDocumentBuf> {
    let member = (prop::sample::select(vec!["a", "b", "c", "d"]), value(3));
    prop::collection::vec(member, 0..5).prop_map(|members| {
        let mut document = RawDocumentBuf::new();
        for (name, value) in members {
            let value = bson::RawBson::try_from(value).expect("values have a raw form");
            let name = bson::raw::CString::try_from(name).expect("names have no NUL");
            document.append(name, value);
        }
        document
    })
}

/// Few values, so that filters and events meet. Among them are all that compare in odd ways.
fn scalar() -> impl Strategy<Value = Bson> {
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a number"));
    let regex = |pattern: &str, options: &str| {
        let text = |text: &str| bson::raw::CString::try_from(text).expect("no NUL");
        Bson::RegularExpression(bson::Regex {
            pattern: text(pattern),
            options: text(options),
        })
    };
    let odd = vec![
        Bson::Null,
        Bson::Boolean(true),
        Bson::Boolean(false),
        Bson::Double(f64::NAN),
        Bson::Double(-0.0),
        Bson::Double(f64::INFINITY),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Double(0.1),
        Bson::Double(9_007_199_254_740_992.0),
        Bson::Int64((1 << 53) + 1),
        Bson::Int64(i64::MAX),
        Bson::Int64(i64::MIN),
        decimal("0.1"),
        decimal("1.00"),
        decimal("-0"),
        decimal("NaN"),
        decimal("Infinity"),
        decimal("1E+400"),
        decimal("9007199254740993"),
        Bson::String("ab".into()),
        Bson::Symbol("abc".into()),
        Bson::String("a long text that goes on".into()),
        Bson::String("a long text that stops".into()),
        regex("^ab", ""),
        regex("b", "i"),
        Bson::DateTime(bson::DateTime::from_millis(-5)),
        Bson::DateTime(bson::DateTime::from_millis(5)),
        Bson::Timestamp(bson::Timestamp {
            time: 1,
            increment: 2,
        }),
        Bson::ObjectId(bson::oid::ObjectId::from_bytes([1; 12])),
        Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: vec![1, 2],
        }),
        Bson::JavaScriptCode("ab".into()),
        Bson::MinKey,
        Bson::MaxKey,
    ];
    prop_oneof![
        4 => (0..4_i32).prop_map(Bson::Int32),
        1 => (0..4_i64).prop_map(Bson::Int64),
        1 => (0..4_i32).prop_map(|number| Bson::Double(number.into())),
        3 => prop::sample::select(vec!["", "a", "abc", "abd", "b"]).prop_map(|text| Bson::String(text.into())),
        3 => prop::sample::select(odd),
    ]
}

fn value(depth: u32) -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![12 => scalar(), 1 => Just(Bson::Undefined)];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        let name = prop::sample::select(vec!["a", "b", "c", "0", "1"]);
        let document = prop::collection::vec((name, inner.clone()), 0..3).prop_map(|members| {
            Bson::Document(
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        });
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Bson::Array),
            document
        ]
    })
}

/// Operands of comparisons.
fn operand() -> impl Strategy<Value = Bson> {
    let whole = value(2).prop_filter("legal", |value| !format!("{value:?}").contains("Undefined"));
    prop_oneof![6 => scalar(), 1 => whole].prop_filter("no pattern", |value| {
        !matches!(value, Bson::RegularExpression(_))
    })
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a", "a", "a", "b", "b", "c", "d", "a.b", "a.b", "a.c", "b.a", "a.0", "a.0.b", "a.b.c",
        "a.1.0", "a.0.0", "a.0.0.b", "a.0.0.0", "0.0.a", "a..b", "a.",
    ])
}

fn comparison() -> impl Strategy<Value = Document> {
    let name = prop::sample::select(vec!["$eq", "$gt", "$gte", "$lt", "$lte", "$ne"]);
    let one = (name, operand()).prop_map(|(name, operand)| doc! { name: operand });
    let range = (operand(), operand()).prop_map(|(low, high)| doc! { "$gte": low, "$lt": high });
    let numbers = (0..4_i32, 0..4_i32).prop_map(|(low, high)| doc! { "$gt": low, "$lte": high });
    prop_oneof![3 => one, 1 => range, 1 => numbers]
}

/// Documents of operators, in place of values.
fn operators() -> impl Strategy<Value = Document> {
    let list = prop::collection::vec(prop_oneof![5 => operand(), 1 => scalar()], 0..4);
    let pattern = prop::sample::select(PATTERNS.to_vec());
    let options = prop::sample::select(vec!["", "", "i", "m", "s"]);
    let listed = prop::sample::select(vec!["$in", "$in", "$nin", "$all"]);
    let kind = prop::sample::select(vec!["number", "string", "array", "object", "null"]);
    prop_oneof![
        4 => comparison(),
        2 => (listed, list).prop_map(|(name, values)| doc! { name: values }),
        1 => any::<bool>().prop_map(|exists| doc! { "$exists": exists }),
        2 => (pattern, options).prop_map(|(pattern, options)| doc! { "$regex": pattern, "$options": options }),
        1 => kind.prop_map(|kind| doc! { "$type": kind }),
        1 => (0..3_i32).prop_map(|size| doc! { "$size": size }),
        1 => (0..2_i32).prop_map(|rest| doc! { "$mod": [2, rest] }),
        1 => comparison().prop_map(|inner| doc! { "$elemMatch": inner }),
        1 => (path(), comparison()).prop_map(|(path, inner)| doc! { "$elemMatch": { path: inner } }),
        1 => (path(), operand()).prop_map(|(path, inner)| doc! { "$elemMatch": { path: inner, "b": { "$gte": 1 } } }),
        1 => comparison().prop_map(|inner| doc! { "$not": inner }),
    ]
}

fn condition() -> impl Strategy<Value = Document> {
    prop_oneof![
        4 => (path(), operand()).prop_map(|(path, value)| doc! { path: { "$eq": value } }),
        6 => (path(), operators()).prop_map(|(path, operators)| doc! { path: operators }),
    ]
}

pub(super) fn filter() -> impl Strategy<Value = Document> {
    let flat = prop::collection::vec(condition(), 0..4)
        .prop_map(|conditions| conditions.into_iter().flatten().collect::<Document>());
    flat.prop_recursive(3, 16, 3, |inner| {
        let branches = prop::collection::vec(inner.clone(), 1..4);
        let name = prop::sample::select(vec!["$or", "$or", "$and", "$nor"]);
        let group = (name, branches).prop_map(|(name, branches)| doc! { name: branches });
        prop_oneof![
            2 => group.clone(),
            1 => (inner, group).prop_map(|(conditions, group)| conditions.into_iter().chain(group).collect()),
        ]
    })
}

const PATTERNS: [&str; 13] = [
    "^a",
    "^ab",
    "^abc",
    "^ab?c",
    "^ab|b",
    "b",
    "^a long text that",
    "^a\\.",
    "^(a)b",
    "^ab+",
    "^a{0,1}",
    "^ab*",
    "^a[b]",
];

/// Conditions on a text.
pub(super) fn textual() -> impl Strategy<Value = Document> {
    let text = || {
        prop::sample::select(vec![
            "",
            "a",
            "ab",
            "abc",
            "ac",
            "a.",
            "a long text that goes",
        ])
    };
    let options = prop::sample::select(vec!["", "", "", "i", "m", "s"]);
    let pattern = (prop::sample::select(PATTERNS.to_vec()), options);
    prop_oneof![
        4 => pattern.prop_map(|(pattern, options)| doc! { "a": { "$regex": pattern, "$options": options } }),
        1 => text().prop_map(|text| doc! { "a": text }),
        1 => (text(), text()).prop_map(|(one, other)| doc! { "a": { "$in": [one, other] } }),
        1 => (text(), text()).prop_map(|(from, to)| doc! { "a": { "$gte": from, "$lt": to } }),
    ]
}

/// A text, a pattern, or several of them.
pub(super) fn texts() -> impl Strategy<Value = RawDocumentBuf> {
    let text = prop::sample::select(vec![
        "",
        "a",
        "ab",
        "abc",
        "abd",
        "ac",
        "b",
        "a.b",
        "Ab",
        "a long text that goes",
    ]);
    let pattern = prop::sample::select(PATTERNS.to_vec()).prop_map(|pattern| {
        let text = |text: &str| bson::raw::CString::try_from(text).expect("no NUL");
        Bson::RegularExpression(bson::Regex {
            pattern: text(pattern),
            options: text(""),
        })
    });
    let one = prop_oneof![4 => text.prop_map(|text| Bson::String(text.into())), 1 => pattern];
    let several = prop::collection::vec(one.clone(), 0..3).prop_map(Bson::Array);
    prop_oneof![4 => one, 1 => several].prop_map(|value| raw(&doc! { "a": value }))
}
