//! From raw BSON to Extended JSON text.

use bson::{Bson, RawBsonRef, RawDocument, spec::BinarySubtype};
use serde_json::Value;

use super::SeenKeys;

/// Appends `document` as relaxed Extended JSON.
pub(crate) fn write_document(
    document: &RawDocument,
    out: &mut String,
) -> Result<(), bson::error::Error> {
    out.push('{');
    let mut keys = SeenKeys::default();
    for (index, element) in document.iter().enumerate() {
        let (key, value) = element?;
        if !keys.is_first(key.as_str()) {
            continue;
        }
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
pub(crate) fn write_value(
    value: RawBsonRef<'_>,
    out: &mut String,
) -> Result<(), bson::error::Error> {
    use std::fmt::Write as _;
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
        // The parts of a DBPointer are private to the bson crate, so its own conversion writes it.
        RawBsonRef::DbPointer(_) => {
            let owned = Bson::try_from(value)?;
            put!("{}", owned.into_relaxed_extjson());
        }
    }
    Ok(())
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(text: &str, out: &mut String) {
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

/// Formats a scalar as plain text, for ids and sources: strings and numbers as they are, object ids in hex,
/// anything else as Extended JSON.
pub(crate) fn plain_text(value: RawBsonRef<'_>) -> Result<String, bson::error::Error> {
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
