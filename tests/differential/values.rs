//! Values of every BSON type, chosen to be near one another.

use std::str::FromStr;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
};

use super::patterns;
use super::random::Random;

const INTS: &[i64] = &[
    0,
    1,
    2,
    3,
    -1,
    5,
    7,
    8,
    128,
    255,
    -128,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 31,
    1 << 53,
    (1 << 53) + 1,
    -(1 << 53) - 1,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
    1 << 62,
];
const DOUBLES: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    1.5,
    -1.0,
    0.1,
    2.5,
    3.0,
    5e-324,
    1e-320,
    1e308,
    -1e308,
    f64::NAN,
    -f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    9_007_199_254_740_992.0,
    9_007_199_254_740_994.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    1e19,
    127.999,
    -0.5,
    1e22,
    0.5,
];
const DECIMALS: &[&str] = &[
    "0",
    "-0",
    "0E+3",
    "1",
    "1.0",
    "1.5",
    "0.1",
    "0.5",
    "-0.5",
    "2.5",
    "NaN",
    "-NaN",
    "Infinity",
    "-Infinity",
    "9007199254740993",
    "9007199254740992",
    "9223372036854775807",
    "9223372036854775808",
    "9223372036854775807.5",
    "-9223372036854775808",
    "1E+30",
    "1E-30",
    "1E+6111",
    "1E-6176",
    "-1E+400",
    "0.1000000000000000055511151231257827",
    "0.1000000000000000055511151231257828",
    "4.940656458412465441765687928682214E-324",
    "1.797693134862315708145274237317044E+308",
    "1E+22",
    "9999999999999999999999999999999999",
    "-1",
    "3",
    "3.7",
    "2",
];

/// Makes any value, at most `depth` levels deep.
pub(crate) fn value(random: &mut Random, depth: usize) -> Bson {
    match random.below(if depth == 0 { 20 } else { 30 }) {
        0..=5 => number(random),
        6..=9 => Bson::String(patterns::text(random)),
        10 => Bson::Null,
        11 => Bson::Boolean(random.one_in(2)),
        12..=19 => rare(random),
        20..=25 => array(random, depth - 1).into(),
        _ => document(random, depth - 1).into(),
    }
}

/// Makes any number.
pub(crate) fn number(random: &mut Random) -> Bson {
    match random.below(6) {
        0 | 1 => Bson::Int32(i32::try_from(random.pick(INTS)).unwrap_or(4)),
        2 => Bson::Int64(random.pick(INTS)),
        3 => Bson::Double(random.pick(DOUBLES)),
        4 => Bson::Int32(random.int(4)),
        _ => Bson::Decimal128(decimal(random)),
    }
}

fn decimal(random: &mut Random) -> Decimal128 {
    match random.below(8) {
        // Not canonical, or any bits at all.
        0 => Decimal128::from_bytes((u128::from(random.next()) | (0x6c << 120)).to_le_bytes()),
        1 => Decimal128::from_bytes(
            (u128::from(random.next()) << 64 | u128::from(random.next())).to_le_bytes(),
        ),
        // The exact decimal form of a double, cut to 34 digits.
        2 => {
            let text = format!("{:.33e}", random.pick(DOUBLES));
            Decimal128::from_str(&text).unwrap_or_else(|_| Decimal128::from_str("1").expect("one"))
        }
        _ => Decimal128::from_str(random.pick(DECIMALS)).expect("a decimal"),
    }
}

fn rare(random: &mut Random) -> Bson {
    let small = u8::try_from(random.below(3)).unwrap_or(0);
    match random.below(17) {
        0 | 1 => Bson::DateTime(DateTime::from_millis(random.pick(&[
            0,
            1,
            -1,
            1_700_000_000_000,
        ]))),
        2 => Bson::ObjectId(ObjectId::from_bytes([small; 12])),
        3 | 4 => Bson::Binary(binary(random)),
        // Not zero: a server replaces that by the time of the insert.
        5 => Bson::Timestamp(Timestamp {
            time: u32::from(small) + 1,
            increment: random.pick(&[0, u32::MAX]),
        }),
        6 => Bson::MinKey,
        7 => Bson::MaxKey,
        8 => Bson::Undefined,
        9 => Bson::RegularExpression(regex(random)),
        10 => Bson::JavaScriptCode(patterns::text(random)),
        11 => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: patterns::text(random),
            scope: doc! {"a": i32::from(small)},
        }),
        12 => Bson::Symbol(patterns::text(random)),
        13 => db_pointer(small),
        14 => doc! {"$ref": "c", "$id": i32::from(small)}.into(),
        _ => Bson::Null,
    }
}

fn binary(random: &mut Random) -> Binary {
    let bytes = (0..random.below(11))
        .map(|_| random.pick(&[0, 1, 0x80, 0xff, 5]))
        .collect();
    let subtype = random.pick(&[
        BinarySubtype::Generic,
        BinarySubtype::Generic,
        BinarySubtype::Function,
        BinarySubtype::UserDefined(0x80),
        BinarySubtype::BinaryOld,
    ]);
    Binary { subtype, bytes }
}

/// Makes a regular expression value.
pub(crate) fn regex(random: &mut Random) -> Regex {
    let pattern = patterns::pattern(random);
    let options = patterns::options(random);
    Regex {
        pattern: pattern.try_into().expect("no NUL in a pattern"),
        options: options.try_into().expect("no NUL in options"),
    }
}

fn db_pointer(small: u8) -> Bson {
    let json = serde_json::json!({
        "$dbPointer": {"$ref": "db.c", "$id": {"$oid": format!("{small:02x}").repeat(12)}}
    });
    json.try_into().expect("a database pointer")
}

/// Picks a field name. There are few, so that filters meet documents.
pub(crate) fn name(random: &mut Random) -> &'static str {
    random.pick(&[
        "a", "a", "a", "b", "b", "c", "0", "1", "2", "00", "", "é", "a b", "$x",
    ])
}

/// Makes an array of a few values.
pub(crate) fn array(random: &mut Random, depth: usize) -> Vec<Bson> {
    (0..random.below(4)).map(|_| value(random, depth)).collect()
}

/// Makes a document of a few fields.
pub(crate) fn document(random: &mut Random, depth: usize) -> Document {
    (0..random.below(4))
        .map(|_| (name(random).to_owned(), value(random, depth)))
        .collect()
}
