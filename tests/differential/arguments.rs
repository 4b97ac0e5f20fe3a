//! The arguments of single operators: their meaning, and those that are refused.

use bson::{Bson, Document, bson, doc, spec::BinarySubtype};

use super::cases::{binary, check, decimal, on_a, regex};

fn numbers() -> Vec<Document> {
    let plain = [
        bson!(1),
        bson!(2),
        bson!(-1),
        bson!(0),
        bson!(128),
        bson!(3.9),
        bson!(-3.9),
        bson!(1.5),
        bson!(f64::NAN),
        bson!(1e30),
        bson!(f64::INFINITY),
        bson!(9_223_372_036_854_775_808.0),
        bson!(i64::MAX),
        bson!(i64::MIN),
        bson!((1_i64 << 53) + 1),
        bson!(9_007_199_254_740_992.0),
        bson!(0.1),
        bson!(-0.0),
        bson!(5e-324),
    ];
    let decimals = [
        "1",
        "1.0",
        "1.5",
        "2.5",
        "3.9",
        "NaN",
        "1E+30",
        "-1E+30",
        "0.1",
        "-0",
        "0E+10",
        "-1",
        "0.5",
        "Infinity",
        "9007199254740993",
        "9223372036854775807.5",
        "0.1000000000000000055511151231257827",
        "1E-6176",
    ];
    let binaries = [&b"\x01"[..], b"\x81", b"", b"\x80", b"\0\0\0\0\0\0\0\0\x01"];
    let generic = binaries.map(|bytes| binary(BinarySubtype::Generic, bytes));
    let old = [binary(BinarySubtype::BinaryOld, b"\x01")];
    let values = plain
        .into_iter()
        .chain(decimals.map(decimal))
        .chain(generic)
        .chain(old);
    values.map(|value| doc! {"a": value}).collect()
}

#[tokio::test]
async fn arguments_of_mod() {
    let arguments = [
        bson!([]),
        bson!([2]),
        bson!([2, 1, 3]),
        bson!([2, "a"]),
        bson!(["a", 1]),
        bson!([0, 1]),
        bson!([0.5, 1]),
        bson!([2.7, 1.2]),
        bson!([f64::NAN, 1]),
        bson!([2, f64::NAN]),
        bson!([f64::INFINITY, 1]),
        bson!([1e19, 0]),
        bson!([decimal("2"), decimal("1")]),
        bson!([decimal("2.5"), decimal("1.5")]),
        bson!([decimal("NaN"), 1]),
        bson!([decimal("0.1"), 0]),
        bson!([2, decimal("1E+30")]),
        bson!([1_i64 << 62, 0]),
        bson!(5),
        Bson::Null,
        bson!([2, null]),
        bson!([2, -1]),
        bson!([-2, 1]),
        bson!([-1, 0]),
        bson!({"0": 2, "1": 0}),
        bson!([3.99, -1.99]),
    ];
    check(&on_a("$mod", arguments.to_vec()), &numbers()).await;
}

#[tokio::test]
async fn arguments_of_size() {
    let arguments = [
        bson!(0),
        bson!(1),
        bson!(1.0),
        bson!(1.5),
        bson!(-1),
        bson!(1_i64),
        bson!(1_i64 << 40),
        decimal("1"),
        decimal("1.5"),
        bson!(f64::NAN),
        bson!("1"),
        Bson::Null,
        bson!(true),
        bson!(2_147_483_648.0),
        bson!(-0.0),
        bson!([1]),
    ];
    let documents = [
        doc! {"a": [1]},
        doc! {"a": []},
        doc! {"a": [1, [2]]},
        doc! {"a": {"0": 1}},
        doc! {"a": [[1]]},
        doc! {"a": 1},
    ];
    check(&on_a("$size", arguments.to_vec()), &documents).await;
}

#[tokio::test]
async fn arguments_of_type() {
    let names = [
        "double",
        "number",
        "int",
        "bool",
        "null",
        "undefined",
        "missing",
        "minKey",
        "maxKey",
        "array",
        "object",
        "Double",
        "foo",
        "",
        "eoo",
        "code",
        "javascript",
        "symbol",
        "dbPointer",
    ];
    let mut arguments: Vec<Bson> = names.into_iter().map(Bson::from).collect();
    arguments.extend((-2..22).chain([126, 127, 128, 255, 256]).map(Bson::Int32));
    arguments.extend([
        bson!(1.5),
        bson!(2_i64),
        decimal("2"),
        decimal("2.5"),
        bson!(f64::NAN),
        bson!([]),
        bson!([1, "string"]),
        bson!(["number"]),
        bson!(["foo"]),
        bson!([[1]]),
        Bson::Null,
        bson!(true),
        bson!({"a": 1}),
        bson!(1e10),
    ]);
    let documents = [
        doc! {"a": 1},
        doc! {"a": "x"},
        doc! {},
        doc! {"a": [1]},
        doc! {"a": []},
        doc! {"a": Bson::MinKey},
        doc! {"a": Bson::Null},
        doc! {"a": Bson::Undefined},
        doc! {"a": [[]]},
        doc! {"a": {}},
        doc! {"a": Bson::MaxKey},
        doc! {"a": Bson::Symbol("x".into())},
        doc! {"a": Bson::JavaScriptCode("x".into())},
        doc! {"a": true},
    ];
    check(&on_a("$type", arguments), &documents).await;
}

#[tokio::test]
async fn arguments_of_the_bit_tests() {
    let arguments = [
        bson!(0),
        bson!(1),
        bson!(-1),
        bson!(1.0),
        bson!(1.5),
        bson!(f64::NAN),
        bson!(f64::INFINITY),
        bson!(i64::MAX),
        bson!(9_223_372_036_854_775_808.0),
        decimal("1"),
        decimal("1.5"),
        decimal("-1"),
        decimal("NaN"),
        decimal("1E+30"),
        bson!([]),
        bson!([0]),
        bson!([0, 63, 64, 200]),
        bson!([63]),
        bson!([-1]),
        bson!([1.5]),
        bson!([f64::NAN]),
        bson!([1_i64 << 33]),
        bson!([decimal("1")]),
        bson!([decimal("1.5")]),
        bson!(["a"]),
        Bson::Null,
        bson!("a"),
        bson!(true),
        bson!([i32::MAX]),
        binary(BinarySubtype::Generic, b"\x01"),
        binary(BinarySubtype::Generic, b"\x80"),
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Generic, b"\0\0\0\0\0\0\0\0\x01"),
        binary(BinarySubtype::BinaryOld, b"\x01"),
    ];
    for operator in [
        "$bitsAllSet",
        "$bitsAnySet",
        "$bitsAllClear",
        "$bitsAnyClear",
    ] {
        check(&on_a(operator, arguments.to_vec()), &numbers()).await;
    }
}

#[tokio::test]
async fn numbers_of_all_types_compare_exactly() {
    let documents = numbers();
    for operator in ["$eq", "$gt", "$gte", "$lt", "$lte", "$ne"] {
        let operands = documents
            .iter()
            .map(|document| document.get("a").cloned().expect("a number"));
        check(&on_a(operator, operands.collect()), &documents).await;
    }
}

#[tokio::test]
async fn arguments_of_exists() {
    let arguments = [
        Bson::Null,
        Bson::Undefined,
        bson!("0"),
        bson!(""),
        bson!(0),
        bson!(false),
        decimal("0"),
        decimal("NaN"),
        decimal("0.1"),
        bson!(f64::NAN),
        bson!(0.5),
        bson!(-0.0),
        bson!({}),
        bson!([]),
        Bson::MinKey,
        regex("a", ""),
    ];
    check(
        &on_a("$exists", arguments.to_vec()),
        &[doc! {"a": 1}, doc! {}, doc! {"a": Bson::Null}],
    )
    .await;
}
