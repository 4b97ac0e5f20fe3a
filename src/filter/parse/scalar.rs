//! Operators on single values: `$type`, `$mod`, `$size` and the bit tests.

use bson::spec::ElementType;

use super::super::ast::{BitOperator, BitTest, Modulo, Positions, Test, Types};
use super::super::number::Number;
use super::super::value::Value;
use super::at::{At, refuse};
use super::operator::Operator;
use super::{Parsed, check_whole};

/// The names of types. `number` is handled apart: it means the four numeric ones.
const TYPES: &[(&str, ElementType)] = &[
    ("double", ElementType::Double),
    ("string", ElementType::String),
    ("object", ElementType::EmbeddedDocument),
    ("array", ElementType::Array),
    ("binData", ElementType::Binary),
    ("undefined", ElementType::Undefined),
    ("objectId", ElementType::ObjectId),
    ("bool", ElementType::Boolean),
    ("date", ElementType::DateTime),
    ("null", ElementType::Null),
    ("regex", ElementType::RegularExpression),
    ("dbPointer", ElementType::DbPointer),
    ("javascript", ElementType::JavaScriptCode),
    ("symbol", ElementType::Symbol),
    ("javascriptWithScope", ElementType::JavaScriptCodeWithScope),
    ("int", ElementType::Int32),
    ("timestamp", ElementType::Timestamp),
    ("long", ElementType::Int64),
    ("decimal", ElementType::Decimal128),
    ("minKey", ElementType::MinKey),
    ("maxKey", ElementType::MaxKey),
];

const NUMBERS: [ElementType; 4] = [
    ElementType::Double,
    ElementType::Int32,
    ElementType::Int64,
    ElementType::Decimal128,
];

/// Parses `$type`: a name or a number, or an array of them.
pub(super) fn types(value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
    let mut types = Types::default();
    if value.is_array() {
        let mut elements = value.elements();
        for (index, (_, value)) in (&mut elements).enumerate() {
            add_type(&mut types, value, &at.then(&index.to_string()))?;
        }
        check_whole(&elements, at)?;
    } else {
        add_type(&mut types, value, at)?;
    }
    if types.is_empty() {
        return Err(refuse(Some("$type"), at, "$type needs at least one type."));
    }
    Ok(Test::Type(types))
}

/// Parses `$mod`: a divisor and a remainder, truncated to integers.
pub(super) fn modulo(value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
    let malformed = || {
        let reason = "$mod needs an array of two numbers: a divisor that is not 0 and a \
                      remainder, both within 64 bits.";
        refuse(Some("$mod"), at, reason)
    };
    let numbers: Option<Vec<i64>> = value
        .elements()
        .map(|(_, value)| Number::of(value).and_then(Number::truncated))
        .collect();
    match numbers.as_deref() {
        Some(&[divisor, remainder]) if value.is_array() && divisor != 0 => {
            Ok(Test::Mod(Box::new(Modulo { divisor, remainder })))
        }
        _ => Err(malformed()),
    }
}

/// Parses `$size`: an integer from 0 up.
pub(super) fn size(value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
    index(value).map(Test::Size).ok_or_else(|| {
        refuse(
            Some("$size"),
            at,
            "$size needs an integer of 32 bits that is not negative.",
        )
    })
}

/// Parses a bit test: a mask as a number or as binary data, or an array of positions.
pub(super) fn bits(operator: BitOperator, op: Operator<'_>, at: &At<'_>) -> Parsed<Test> {
    let malformed = || {
        let reason = format!(
            "{} needs an integer that is not negative, binary data, or an array of bit \
             positions.",
            op.name
        );
        refuse(Some(op.name), at, reason)
    };
    let positions = match op.value.kind() {
        ElementType::Array => {
            let positions: Option<_> = op.value.elements().map(|(_, value)| index(value)).collect();
            Positions::Listed(positions.ok_or_else(malformed)?)
        }
        ElementType::Binary => {
            let (_, data) = op.value.binary().ok_or_else(malformed)?;
            Positions::Mask(data.into())
        }
        _ => {
            let mask = Number::of(op.value).and_then(Number::exact_int);
            let mask = mask
                .and_then(|mask| u64::try_from(mask).ok())
                .ok_or_else(malformed)?;
            Positions::Mask(mask.to_le_bytes().into())
        }
    };
    let mask = positions.number_mask();
    Ok(Test::Bits(Box::new(BitTest {
        operator,
        mask,
        positions,
    })))
}

fn add_type(types: &mut Types, value: Value<'_>, at: &At<'_>) -> Parsed<()> {
    let reason = match value.str() {
        Some("number") => {
            for kind in NUMBERS {
                types.insert(kind);
            }
            return Ok(());
        }
        Some(name) => match TYPES.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) => {
                types.insert(*kind);
                return Ok(());
            }
            None => format!("\"{name}\" is not the name of a type."),
        },
        None => match Number::of(value)
            .and_then(Number::exact_int)
            .and_then(type_of_code)
        {
            Some(kind) => {
                types.insert(kind);
                return Ok(());
            }
            None => "$type needs the name or the number of a type.".to_owned(),
        },
    };
    Err(refuse(Some("$type"), at, reason))
}

/// Returns the type with a number; `MinKey` is -1 here.
fn type_of_code(code: i64) -> Option<ElementType> {
    match code {
        -1 => Some(ElementType::MinKey),
        255 => None,
        _ => u8::try_from(code).ok().and_then(ElementType::from),
    }
}

/// Returns an integer from 0 to 2^31-1.
fn index(value: Value<'_>) -> Option<u32> {
    let int = Number::of(value)?.exact_int()?;
    i32::try_from(int)
        .ok()
        .and_then(|int| u32::try_from(int).ok())
}
