//! MongoDB Extended JSON (v2) to BSON and back, with pointers to what is wrong.
//!
//! Reading is strict where silence would lose something: duplicate keys and over-deep nesting are
//! refused. Writing goes from raw BSON to relaxed text in one pass, without a tree between.

use std::fmt;

use bson::{Bson, Document, RawBsonRef, RawDocument, spec::BinarySubtype};
use serde::de::{self, Deserialize, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Nesting of JSON accepted: the server's 200 levels of BSON, and room for canonical wrappers.
pub const MAX_JSON_DEPTH: usize = 256;

/// Something wrong at one place of an input. `pointer` is a JSON Pointer in URI fragment form
/// (`#/filter/a`), as RFC 9457's `errors` extension wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, as `#/a/b`.
    pub pointer: String,
    /// What is wrong there, for people.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// Appends one component to a JSON pointer (RFC 6901 escaping).
pub fn push_pointer(pointer: &mut String, component: &str) {
    pointer.push('/');
    for c in component.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// Reads JSON text. Refuses duplicate keys and nesting beyond [`MAX_JSON_DEPTH`].
pub fn parse_json(text: &[u8]) -> Result<Value, String> {
    if nesting(text) > MAX_JSON_DEPTH {
        return Err(format!("nested deeper than {MAX_JSON_DEPTH} levels"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.disable_recursion_limit();
    let value = Strict::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value.0)
}

/// The deepest nesting of brackets outside strings: a bound that holds for malformed text too.
fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON value whose objects hold each key once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictSeed.deserialize(deserializer).map(Strict)
    }
}

struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(StrictSeed)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(StrictSeed)?;
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key {key:?} appears twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Keys by which an object stands for a BSON value rather than a document.
const TYPE_WRAPPERS: [&str; 16] = [
    "$oid",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$date",
    "$timestamp",
    "$regularExpression",
    "$minKey",
    "$maxKey",
    "$symbol",
    "$code",
    "$undefined",
    "$dbPointer",
];

/// Turns a JSON value in Extended JSON, relaxed or canonical, into BSON.
/// `pointer` says where the value stands in the request. The first fault is the error.
pub fn to_bson(value: Value, pointer: &str) -> Result<Bson, Fault> {
    let mut faults = Vec::new();
    let value = read_bson(value, pointer, &mut faults);
    faults.into_iter().next().map_or(Ok(value), Err)
}

/// As [`to_bson`], but goes on after a fault and adds each to `faults`; what is faulty is null.
pub fn read_bson(value: Value, pointer: &str, faults: &mut Vec<Fault>) -> Bson {
    let converted = match value {
        Value::Object(object) => {
            let wrapper = object
                .keys()
                .next()
                .is_some_and(|key| TYPE_WRAPPERS.contains(&key.as_str()));
            if !wrapper {
                return Bson::Document(read_object(object, pointer, faults));
            }
            Bson::try_from(Value::Object(object))
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            return items
                .map(|(index, item)| read_bson(item, &format!("{pointer}/{index}"), faults))
                .collect::<Vec<_>>()
                .into();
        }
        // Whole numbers beyond 64 bits signed are doubles in relaxed Extended JSON.
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Ok(Bson::Double(number.as_f64().unwrap_or(f64::INFINITY)))
        }
        scalar => Bson::try_from(scalar),
    };
    converted.unwrap_or_else(|error| {
        faults.push(Fault::new(pointer, format!("not Extended JSON: {error}")));
        Bson::Null
    })
}

/// Turns a JSON object into a document; an object that is a type wrapper is a fault here.
pub fn to_document(value: Value, pointer: &str) -> Result<Document, Fault> {
    match to_bson(value, pointer)? {
        Bson::Document(document) => Ok(document),
        _ => Err(Fault::new(pointer, "must be an object")),
    }
}

fn read_object(object: Map<String, Value>, pointer: &str, faults: &mut Vec<Fault>) -> Document {
    let mut document = Document::new();
    for (key, value) in object {
        let mut at = pointer.to_owned();
        push_pointer(&mut at, &key);
        if key.contains('\0') {
            faults.push(Fault::new(
                at,
                "a key must not contain the character U+0000",
            ));
            continue;
        }
        let value = read_bson(value, &at, faults);
        document.insert(key, value);
    }
    document
}

/// Appends `document` as relaxed Extended JSON.
pub fn write_document(document: &RawDocument, out: &mut String) -> Result<(), bson::error::Error> {
    out.push('{');
    for (index, element) in document.iter().enumerate() {
        let (key, value) = element?;
        if index > 0 {
            out.push(',');
        }
        write_string(key.as_str(), out);
        out.push(':');
        write_value(value, out)?;
    }
    out.push('}');
    Ok(())
}

/// Appends one value as relaxed Extended JSON.
pub fn write_value(value: RawBsonRef<'_>, out: &mut String) -> Result<(), bson::error::Error> {
    use fmt::Write as _;
    // Writing to a `String` cannot fail.
    macro_rules! put {
        ($($arg:tt)*) => {{ let written = write!(out, $($arg)*); debug_assert!(written.is_ok()); }};
    }
    match value {
        RawBsonRef::Document(document) => write_document(document, out)?,
        RawBsonRef::Array(array) => {
            out.push('[');
            for (index, item) in array.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item?, out)?;
            }
            out.push(']');
        }
        RawBsonRef::String(text) => write_string(text, out),
        RawBsonRef::Boolean(value) => put!("{value}"),
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::Int32(value) => put!("{value}"),
        RawBsonRef::Int64(value) => put!("{value}"),
        RawBsonRef::Double(value) => write_double(value, out),
        RawBsonRef::Decimal128(value) => put!(r#"{{"$numberDecimal":"{value}"}}"#),
        RawBsonRef::ObjectId(value) => put!(r#"{{"$oid":"{}"}}"#, value.to_hex()),
        RawBsonRef::DateTime(value) => write_date(value, out),
        RawBsonRef::Timestamp(value) => {
            put!(
                r#"{{"$timestamp":{{"t":{},"i":{}}}}}"#,
                value.time,
                value.increment
            );
        }
        RawBsonRef::Binary(binary) => {
            let text = data_encoding::BASE64.encode(binary.bytes);
            let subtype = u8::from(binary.subtype);
            put!(r#"{{"$binary":{{"base64":"{text}","subType":"{subtype:02x}"}}}}"#);
        }
        RawBsonRef::RegularExpression(regex) => {
            out.push_str(r#"{"$regularExpression":{"pattern":"#);
            write_string(regex.pattern.as_str(), out);
            out.push_str(r#","options":"#);
            write_string(regex.options.as_str(), out);
            out.push_str("}}");
        }
        RawBsonRef::JavaScriptCode(code) => {
            out.push_str(r#"{"$code":"#);
            write_string(code, out);
            out.push('}');
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.push_str(r#"{"$code":"#);
            write_string(code.code, out);
            out.push_str(r#","$scope":"#);
            write_document(code.scope, out)?;
            out.push('}');
        }
        RawBsonRef::Symbol(text) => {
            out.push_str(r#"{"$symbol":"#);
            write_string(text, out);
            out.push('}');
        }
        RawBsonRef::Undefined => out.push_str(r#"{"$undefined":true}"#),
        RawBsonRef::MinKey => out.push_str(r#"{"$minKey":1}"#),
        RawBsonRef::MaxKey => out.push_str(r#"{"$maxKey":1}"#),
        // The parts of a DBPointer are private to the bson crate: by way of its own conversion.
        RawBsonRef::DbPointer(_) => {
            let owned = Bson::try_from(value)?;
            put!("{}", owned.into_relaxed_extjson());
        }
    }
    Ok(())
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

fn write_double(value: f64, out: &mut String) {
    if value.is_finite() {
        out.push_str(&Value::from(value).to_string());
    } else if value.is_nan() {
        out.push_str(r#"{"$numberDouble":"NaN"}"#);
    } else if value > 0.0 {
        out.push_str(r#"{"$numberDouble":"Infinity"}"#);
    } else {
        out.push_str(r#"{"$numberDouble":"-Infinity"}"#);
    }
}

fn write_date(value: bson::DateTime, out: &mut String) {
    const YEAR_10_000_MS: i64 = 253_402_300_800_000;
    let millis = value.timestamp_millis();
    match value.try_to_rfc3339_string() {
        Ok(text) if (0..YEAR_10_000_MS).contains(&millis) => {
            out.push_str(r#"{"$date":""#);
            out.push_str(&text);
            out.push_str(r#""}"#);
        }
        _ => {
            out.push_str(r#"{"$date":{"$numberLong":""#);
            out.push_str(&millis.to_string());
            out.push_str(r#""}}"#);
        }
    }
}

/// A scalar as the plain text that stands for it (an id, a source): strings and numbers as they
/// are, object ids in hex, anything else as Extended JSON.
pub fn plain_text(value: RawBsonRef<'_>) -> Result<String, bson::error::Error> {
    Ok(match value {
        RawBsonRef::String(text) => text.to_owned(),
        RawBsonRef::ObjectId(id) => id.to_hex(),
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            match binary.bytes.try_into().map(uuid::Uuid::from_bytes) {
                Ok(uuid) => uuid.to_string(),
                Err(_) => data_encoding::BASE64.encode(binary.bytes),
            }
        }
        other => {
            let mut text = String::new();
            write_value(other, &mut text)?;
            text
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn round_trip(text: &str) -> String {
        let document = to_document(parse_json(text.as_bytes()).unwrap(), "#").unwrap();
        let raw = bson::RawDocumentBuf::try_from(&document).unwrap();
        let mut out = String::new();
        write_document(&raw, &mut out).unwrap();
        out
    }

    #[test]
    fn every_type_goes_in_and_comes_out_relaxed() {
        for text in [
            r#"{"a":1,"b":2147483648,"c":1.5,"d":"x\"\n","e":[true,null,{}],"f":-0.0}"#,
            r#"{"o":{"$oid":"0123456789abcdef01234567"},"d":{"$date":"2026-01-02T03:04:05.006Z"}}"#,
            r#"{"d":{"$date":{"$numberLong":"-1"}},"n":{"$numberDecimal":"0.10"}}"#,
            r#"{"t":{"$timestamp":{"t":1,"i":2}},"b":{"$binary":{"base64":"AQID","subType":"00"}}}"#,
            r#"{"r":{"$regularExpression":{"pattern":"a/b","options":"i"}},"m":{"$minKey":1}}"#,
            r#"{"x":{"$maxKey":1},"u":{"$undefined":true},"s":{"$symbol":"q"},"c":{"$code":"f"}}"#,
            r#"{"n":{"$numberDouble":"NaN"},"i":{"$numberDouble":"-Infinity"}}"#,
        ] {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(
            round_trip(r#"{"a":{"$numberLong":"5"},"b":{"$numberInt":"6"}}"#),
            r#"{"a":5,"b":6}"#
        );
    }

    #[test]
    fn query_operators_are_not_type_wrappers() {
        let text = r#"{"a":{"$gte":1},"b":{"$regex":"^a","$options":"i"},"$or":[{"c":1},{"d":2}]}"#;
        assert_eq!(round_trip(text), text);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let value = parse_json(br#"{"a":[{"b/c":{"$oid":"nope"}}]}"#).unwrap();
        let fault = to_document(value, "#/filter").unwrap_err();
        assert_eq!(fault.pointer, "#/filter/a/0/b~1c");
        let value = parse_json(br#"{"$date":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(
            to_document(value, "#/filter").unwrap_err().pointer,
            "#/filter"
        );
        assert!(
            parse_json(br#"{"a":1,"a":2}"#)
                .unwrap_err()
                .contains("twice")
        );
        assert!(parse_json(br#"{"a":1} x"#).is_err());
    }

    #[test]
    fn nesting_is_as_deep_as_the_server_takes_and_no_deeper() {
        let nested = |levels: usize| {
            format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)).into_bytes()
        };
        assert!(parse_json(&nested(MAX_JSON_DEPTH)).is_ok());
        assert!(
            parse_json(&nested(MAX_JSON_DEPTH + 1))
                .unwrap_err()
                .contains("nested")
        );
        assert!(parse_json("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn plain_text_of_ids() {
        let raw = bson::RawDocumentBuf::try_from(&doc! {"a": "x", "b": 5, "c": 2.5}).unwrap();
        let texts: Vec<_> = raw
            .iter()
            .map(|element| plain_text(element.unwrap().1).unwrap())
            .collect();
        assert_eq!(texts, ["x", "5", "2.5"]);
    }
}
