//! A reader of a request's object: every field is known, typed and bounded, and every fault has a pointer.

use bson::{Bson, DateTime, Document, RawBson};
use serde::de::{DeserializeSeed as _, Deserializer, MapAccess};
use serde_json::Value;

use super::{COMPUTED, FIELDS, Input, KEPT};
use crate::{
    access::{CLAIMS, ClaimValue, is_tenant},
    config::Limits,
    extjson::{Faults, JsonPointer, Members, Object, ReadOutcome, ReadValue, Scalar, read_time},
    subscription::{
        DEFAULT_SOURCE, FILTER_MISSING,
        id::{UNREACHABLE, is_reachable},
    },
};

/// Most bytes of an id that a caller chooses.
const ID_BYTES: usize = 200;

/// The expectations of a request's object.
#[derive(Clone, Copy, Debug)]
pub struct InputReader<'a> {
    /// The place of the object in the body (`#`, or `#/3` in a batch).
    pub pointer: &'a str,
    /// The id in the path, which the body may repeat; `None` if the service gives the id.
    pub id: Option<&'a str>,
    /// The fields that the caller may not set. It may repeat their values.
    pub fixed: &'a [&'static str],
    /// True if fields that are not named stay as they are.
    pub partial: bool,
    /// The bounds of names, filters and metadata.
    pub limits: &'a Limits,
    /// The time by which `expiresAt` is judged.
    pub now: DateTime,
}

/// The fields and faults found so far.
struct FieldReader<'a, 'f> {
    reader: InputReader<'a>,
    input: Input,
    names_filter: bool,
    faults: &'f mut Faults,
}

impl Members for FieldReader<'_, '_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let root = JsonPointer::Text(self.reader.pointer);
        let at = JsonPointer::Key(&root, name);
        let known = self.faults.len();
        let Some(field) = FIELDS.into_iter().find(|field| *field == name) else {
            let value = map.next_value_seed(Scalar)?;
            let kept = KEPT.into_iter().find(|kept| *kept == name);
            match kept.filter(|_| self.reader.id.is_some()) {
                Some(kept) => self.input.repeated.push((kept, value)),
                None => {
                    if let Some(detail) = self.reader.stray(name, &value) {
                        self.faults.blame(at, detail);
                    }
                }
            }
            return Ok(());
        };
        self.names_filter |= field == "filter";
        let value = match field {
            "filter" | "metadata" | "claims" => {
                let max_bytes = self.reader.max_bytes(field);
                let faults = &mut *self.faults;
                let read = map.next_value_seed(ReadValue {
                    at,
                    max_bytes,
                    faults,
                })?;
                let null = read == ReadOutcome::Value(RawBson::Null);
                if null && field == "filter" {
                    self.faults.blame(at, FILTER_MISSING);
                }
                let value = document(read, max_bytes, at, self.faults);
                if let (CLAIMS, Some(Bson::Document(claims))) = (field, &value) {
                    check_claims(claims, at, self.faults);
                }
                value
            }
            _ => match map.next_value_seed(Scalar)? {
                Value::Null => None,
                value => self.reader.value(field, &value, at, self.faults),
            },
        };
        if self.faults.len() == known {
            let named = if self.reader.fixed.contains(&field) {
                &mut self.input.fixed
            } else {
                &mut self.input.fields
            };
            named.push((field, value));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.faults.is_full()
    }
}

impl InputReader<'_> {
    /// Reads one object, and adds its faults to `faults`. The error is the JSON parser's.
    pub fn input<'de, D: Deserializer<'de>>(
        self,
        body: D,
        faults: &mut Faults,
    ) -> Result<Input, D::Error> {
        let mut fields = FieldReader {
            reader: self,
            input: Input::default(),
            names_filter: false,
            faults,
        };
        if !Object(&mut fields).deserialize(body)? {
            fields.faults.blame(self.pointer, "must be an object");
        } else if !self.partial && !fields.names_filter {
            let at = JsonPointer::Key(&JsonPointer::Text(self.pointer), "filter");
            fields.faults.blame(at, FILTER_MISSING);
        }
        Ok(fields.input)
    }

    /// Returns the most bytes of a nested document as BSON.
    fn max_bytes(self, field: &str) -> usize {
        match field {
            "filter" => self.limits.filter_bytes,
            _ => self.limits.metadata_bytes,
        }
    }

    /// Returns the fault of a field that cannot be set, unless it may be repeated.
    fn stray(self, key: &str, value: &Value) -> Option<String> {
        match (key, self.id) {
            ("id", Some(id)) if value.as_str() == Some(id) => None,
            ("id", Some(_)) => Some("must be the id in the path: ids do not change".to_owned()),
            ("id", None) => Some(
                "is given by the service; PUT /subscriptions/{id} takes an id of yours".to_owned(),
            ),
            // Repeated from an answer; it may have changed since.
            (key, Some(_)) if COMPUTED.contains(&key) => None,
            (key, None) if COMPUTED.contains(&key) => {
                Some("is computed and cannot be set".to_owned())
            }
            (key, _) if KEPT.contains(&key) => {
                Some("is kept by the service and cannot be set".to_owned())
            }
            _ => Some(format!("is unknown; the fields are {}", FIELDS.join(", "))),
        }
    }

    fn value(
        self,
        field: &'static str,
        value: &Value,
        at: JsonPointer<'_>,
        faults: &mut Faults,
    ) -> Option<Bson> {
        let checked = match field {
            "durable" => value
                .as_bool()
                .map(Bson::Boolean)
                .ok_or_else(|| "must be true or false".to_owned()),
            "status" => one_of(value, &["active", "paused"]),
            "source" => one_of(value, &[DEFAULT_SOURCE]),
            "expiresAt" => self.expiry(value),
            "tenant" => self.text(value).and_then(tenant),
            _ => self.text(value),
        };
        checked.map_err(|detail| faults.blame(at, detail)).ok()
    }

    fn text(self, value: &Value) -> Result<Bson, String> {
        let text = value.as_str().ok_or("must be a string")?;
        match text.chars().count() {
            long if long > self.limits.name_chars => Err(format!(
                "is {long} characters long; at most {} are allowed",
                self.limits.name_chars
            )),
            _ => Ok(text.into()),
        }
    }

    fn expiry(self, value: &Value) -> Result<Bson, String> {
        let date = value
            .as_str()
            .and_then(read_time)
            .ok_or("must be an RFC 3339 time such as \"2030-01-31T12:00:00Z\", or null")?;
        if date <= self.now {
            return Err("must be in the future".to_owned());
        }
        Ok(date.into())
    }
}

/// Returns the document that was read; null is none.
fn document(
    read: ReadOutcome,
    max_bytes: usize,
    at: JsonPointer<'_>,
    faults: &mut Faults,
) -> Option<Bson> {
    match read {
        ReadOutcome::Value(RawBson::Null) | ReadOutcome::Faulty => None,
        ReadOutcome::Value(RawBson::Document(raw)) => Document::try_from(raw)
            .map_err(|error| faults.blame(at, format_args!("cannot be stored: {error}")))
            .ok()
            .map(Bson::Document),
        ReadOutcome::Value(_) => {
            faults.blame(at, "must be an object");
            None
        }
        ReadOutcome::TooLarge => {
            faults.blame(at, format_args!("is larger than {max_bytes} bytes as BSON"));
            None
        }
    }
}

/// Blames claims that no policy can use.
fn check_claims(claims: &Document, at: JsonPointer<'_>, faults: &mut Faults) {
    for (name, value) in claims {
        let value = RawBson::try_from(value.clone()).ok();
        if value.is_none_or(|value| ClaimValue::read(value.as_raw_bson_ref()).is_none()) {
            faults.blame(
                JsonPointer::Key(&at, name),
                "must be a text that is not empty, a number, true or false, or a list of up to 64 of these",
            );
        }
    }
}

fn tenant(name: Bson) -> Result<Bson, String> {
    match name.as_str() {
        Some(text) if is_tenant(text) => Ok(name),
        _ => Err("must not be empty or contain a colon".to_owned()),
    }
}

fn one_of(value: &Value, allowed: &[&str]) -> Result<Bson, String> {
    match value.as_str() {
        Some(text) if allowed.contains(&text) => Ok(text.into()),
        _ => {
            let allowed: Vec<_> = allowed.iter().map(|text| format!("\"{text}\"")).collect();
            Err(format!("must be {}", allowed.join(" or ")))
        }
    }
}

/// Checks an id that a caller chooses.
pub fn check_id(id: &str) -> Result<(), String> {
    match id {
        "" => Err("must not be empty".to_owned()),
        id if !is_reachable(id) => Err(UNREACHABLE.to_owned()),
        id if id.len() > ID_BYTES => Err(format!(
            "is {} bytes long; at most {ID_BYTES} are allowed",
            id.len()
        )),
        id if id.contains(char::is_control) => {
            Err("must not contain control characters".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Binding, extjson::Fault};
    use serde_json::json;

    const NOW: DateTime = DateTime::from_millis(1_000_000);

    fn read(id: Option<&str>, body: Value) -> (Input, Vec<Fault>) {
        read_bounded(id, body, 64 << 10)
    }

    fn read_bounded(id: Option<&str>, body: Value, filter_bytes: usize) -> (Input, Vec<Fault>) {
        let limits = Limits {
            name_chars: 5,
            metadata_bytes: 30,
            filter_bytes,
            ..Limits::default()
        };
        let reader = InputReader {
            pointer: "#",
            id,
            fixed: &[],
            partial: true,
            limits: &limits,
            now: NOW,
        };
        let mut faults = Faults::default();
        let input = reader.input(body, &mut faults).unwrap();
        (input, faults.into_iter().collect())
    }

    fn good(body: Value) -> Input {
        let (input, faults) = read(None, body);
        assert_eq!(faults, []);
        input
    }

    #[test]
    fn every_fault_is_pointed_at_in_one_go() {
        let (_, faults) = read(
            None,
            json!({"id": "x", "name": "too long", "status": "invalid", "source": "orders",
                "durable": "yes", "owner": 5, "filter": {"a": {"$oid": "x"}, "b": {"$date": 1.5}},
                "metadata": {"k": "0123456789012345678901234567890"}, "expiresAt": "soon",
                "revision": 3, "a/b": 1}),
        );
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "#/id",
                "#/name",
                "#/status",
                "#/source",
                "#/durable",
                "#/owner",
                "#/filter/a",
                "#/filter/b",
                "#/metadata",
                "#/expiresAt",
                "#/revision",
                "#/a~1b"
            ]
        );
    }

    #[test]
    fn the_id_in_the_path_may_be_repeated_and_not_changed() {
        assert_eq!(read(Some("x"), json!({"id": "x"})).1, []);
        assert_eq!(read(Some("x"), json!({"id": "y"})).1.len(), 1);
        assert_eq!(read(None, json!([])).1[0].pointer, "#");
    }

    #[test]
    fn no_more_is_made_of_a_filter_than_it_may_have() {
        let filter = json!({"filter": {"a": {"$in": vec![json!({"b": 1}); 1_000]}}});
        let (input, faults) = read_bounded(None, filter.clone(), 1_000);
        assert_eq!((input.filter(), faults.len()), (None, 1));
        assert_eq!(faults[0].pointer, "#/filter");
        assert!(good(filter).filter().is_some());
    }

    #[test]
    fn unknown_fields_are_told_up_to_a_hundred() {
        let many = (0..1_000).map(|n| (format!("field{n}"), json!([[[n]]])));
        let (_, faults) = read(None, Value::Object(many.collect()));
        assert_eq!(faults.len(), 100);
    }

    #[test]
    fn expiry_is_in_the_future_with_any_offset() {
        let body = json!({"expiresAt": "1970-01-01T03:00:00.250+02:00"});
        let document = good(body).create("a", Binding::default(), NOW);
        assert_eq!(
            document.get_datetime("expiresAt").unwrap(),
            &DateTime::from_millis(3_600_250)
        );
        let (_, faults) = read(None, json!({"expiresAt": "1970-01-01T00:00:00Z"}));
        assert!(faults[0].detail.contains("future"));
        let beyond = json!({"expiresAt": "9999-12-31T23:59:59-01:00"});
        assert_eq!(read(None, beyond).1[0].pointer, "#/expiresAt");
    }

    #[test]
    fn ids_of_callers_are_bounded() {
        for good in ["a", "with space/and slash", "ünï", &"x".repeat(200)] {
            assert_eq!(check_id(good), Ok(()));
        }
        for bad in ["", ".", "..", "a\nb", &"x".repeat(201)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }
}
