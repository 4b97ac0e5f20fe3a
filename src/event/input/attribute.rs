//! CloudEvents attributes: names, types, and their text in a header.

use std::borrow::Cow;

use bson::Bson;
use percent_encoding::{percent_decode_str, percent_encode_byte};
use serde_json::Value;

use crate::{
    event::{CURSOR_EXTENSION, STORED_AT_FIELD, TS_FIELD, media::Media},
    extjson::read_time,
};

/// Names that an event cannot use: the store's own fields, and the cursor's extension.
const RESERVED: [&str; 3] = [TS_FIELD, STORED_AT_FIELD, CURSOR_EXTENSION];

/// Checks an attribute and returns the value to store; the error describes the fault.
pub(super) fn read(name: &str, value: Value) -> Result<Bson, String> {
    match name {
        "specversion" => match value {
            Value::String(version) if version == "1.0" => Ok(version.into()),
            _ => Err("must be \"1.0\"".to_owned()),
        },
        "id" | "type" | "subject" => text(value),
        "source" => uri(value, "URI-reference"),
        "dataschema" => match uri(value, "URI") {
            Ok(Bson::String(relative)) if !has_scheme(&relative) => {
                Err("must be an absolute URI".to_owned())
            }
            checked => checked,
        },
        "time" => value
            .as_str()
            .and_then(read_time)
            .map(Bson::DateTime)
            .ok_or_else(|| "must be an RFC 3339 time, in UTC of the years 0 to 9999".to_owned()),
        "datacontenttype" => match value.as_str().and_then(Media::parse) {
            Some(_) => text(value),
            None => Err("must be a media type such as \"application/json\"".to_owned()),
        },
        _ => extension(name, value),
    }
}

fn extension(name: &str, value: Value) -> Result<Bson, String> {
    if RESERVED.contains(&name) {
        return Err("is reserved by the service".to_owned());
    }
    if !is_name(name) {
        return Err(
            "is not an attribute name (lower-case letters and digits only); content goes into data"
                .to_owned(),
        );
    }
    match value {
        Value::Object(_) | Value::Array(_) => Err(
            "must be a string, a number or a boolean, since an extension is a single value; content goes into data"
                .to_owned(),
        ),
        Value::String(text) if text.contains(forbidden) => Err(CONTROL.to_owned()),
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Ok(Bson::Double(number.as_f64().unwrap_or(f64::INFINITY)))
        }
        scalar => Bson::try_from(scalar).map_err(|error| error.to_string()),
    }
}

/// Whether an attribute can have this name.
pub(in crate::event) fn is_name(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(lower)
}

const CONTROL: &str = "must not contain control characters";

/// Whether the specification's type String excludes a character.
fn forbidden(c: char) -> bool {
    let noncharacter = u32::from(c) & 0xFFFE == 0xFFFE || ('\u{FDD0}'..='\u{FDEF}').contains(&c);
    c.is_control() || noncharacter
}

/// Whether an attribute can have this text: it is allowed and not empty.
pub(in crate::event) fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.contains(forbidden)
}

/// Percent-encodes the characters that an attribute cannot have.
pub(in crate::event) fn escaped_text(text: &str) -> Cow<'_, str> {
    if !text.contains(forbidden) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if forbidden(c) {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            escaped.extend(bytes.iter().map(|byte| percent_encode_byte(*byte)));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Percent-encodes the characters that a URI reference cannot have.
pub(in crate::event) fn escaped_uri(text: &str) -> Cow<'_, str> {
    if is_uri_reference(text) {
        return text.into();
    }
    let broken = has_broken_escape(text);
    let mut fragment = false;
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        let plain = match byte {
            b'%' => !broken,
            b'#' => !std::mem::replace(&mut fragment, true),
            byte => is_uri_byte(byte),
        };
        if plain {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(percent_encode_byte(byte));
        }
    }
    escaped.into()
}

fn text(value: Value) -> Result<Bson, String> {
    match value {
        Value::String(text) if text.contains(forbidden) => Err(CONTROL.to_owned()),
        Value::String(text) if !text.is_empty() => Ok(text.into()),
        _ => Err("must be a string that is not empty".to_owned()),
    }
}

fn uri(value: Value, what: &str) -> Result<Bson, String> {
    match value {
        Value::String(text) if is_uri_reference(&text) => Ok(text.into()),
        _ => Err(format!("must be a {what} (RFC 3986) that is not empty")),
    }
}

/// Whether a text has the characters of a URI reference only, with whole percent escapes and at most one
/// fragment. Its structure is left to whoever dereferences it.
pub(in crate::event) fn is_uri_reference(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(is_uri_byte)
        && !has_broken_escape(text)
        && text.matches('#').count() <= 1
}

fn is_uri_byte(byte: u8) -> bool {
    const PUNCTUATION: &[u8] = b"-._~:/?#[]@!$&'()*+,;=%";
    byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte)
}

/// Whether a `%` is not followed by two hexadecimal digits.
pub(crate) fn has_broken_escape(text: &str) -> bool {
    text.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().iter().take(2);
        digits.filter(|byte| byte.is_ascii_hexdigit()).count() < 2
    })
}

pub(in crate::event) fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Decodes an attribute from a header: strips quotes, then percent-decodes once (CloudEvents HTTP binding 1.0.2,
/// section 3.1.3.2).
pub(crate) fn header_text(value: &[u8]) -> Result<String, String> {
    let raw = std::str::from_utf8(value).map_err(|_| "is not UTF-8".to_owned())?;
    let quoted = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let unquoted = match quoted {
        Some(inner) => unescape(inner),
        None => raw.to_owned(),
    };
    percent_decode_str(&unquoted)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "is not UTF-8 once percent-decoded".to_owned())
}

fn unescape(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_the_specifications() {
        for good in ["a", "traceparent", "x1", "averyveryverylongextensionname"] {
            assert!(read(good, json!("x")).is_ok(), "{good}");
        }
        for bad in [
            "",
            "orderId",
            "a_b",
            "a-b",
            "ä",
            "ts",
            "storedAt",
            "tidegatecursor",
            "_id",
        ] {
            assert!(read(bad, json!("x")).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_checked_by_attribute() {
        for (name, good, bad) in [
            ("specversion", json!("1.0"), json!("0.3")),
            ("id", json!("a b"), json!("")),
            ("type", json!("com.example.x"), json!(5)),
            ("subject", json!("s"), json!("")),
            ("source", json!("/a/b?c=%20#d"), json!("a b")),
            ("source", json!("urn:x:y"), json!("/a%2")),
            ("source", json!("//host/%C3%A4"), json!("/ä")),
            (
                "dataschema",
                json!("https://example.com/s"),
                json!("/relative"),
            ),
            (
                "time",
                json!("2026-01-02T03:04:05.123456+02:00"),
                json!("2026-01-02"),
            ),
            (
                "datacontenttype",
                json!("text/plain; charset=utf-8"),
                json!("plain"),
            ),
            ("ext", json!(true), json!({})),
            ("ext", json!(1.5), json!([1])),
            ("ext", json!(""), json!("a\u{7}b")),
        ] {
            assert!(read(name, good.clone()).is_ok(), "{name} {good}");
            assert!(read(name, bad.clone()).is_err(), "{name} {bad}");
        }
    }

    #[test]
    fn header_values_are_unquoted_and_decoded_once() {
        for (raw, text) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("50%", "50%"),
            ("%2520", "%20"),
            (r#""a \"b\" c""#, r#"a "b" c"#),
            ("ünquoted", "ünquoted"),
        ] {
            assert_eq!(header_text(raw.as_bytes()).as_deref(), Ok(text));
        }
        assert!(header_text(&[0xFF]).is_err());
        assert!(header_text(b"%FF").is_err());
    }
}
