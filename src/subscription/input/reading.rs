//! Reading a request's object: every field known, typed and bounded, every fault pointed at.

use bson::{Bson, DateTime, RawDocumentBuf};
use serde_json::Value;

use super::{FIELDS, Input, KEPT};
use crate::{
    config::Limits,
    extjson::{At, Fault, read_bson},
    subscription::{DEFAULT_SOURCE, FILTER_MISSING, UNREACHABLE, is_reachable},
};

/// Bytes of an id that a caller chooses.
const ID_BYTES: usize = 200;

/// How a request is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Where the object stands in the body (`#`, or `#/3` in a batch).
    pub pointer: &'a str,
    /// The id in the path, which the body may repeat; `None` where the service gives the id.
    pub id: Option<&'a str>,
    /// Whether fields that are not named stay as they are.
    pub partial: bool,
    /// Bounds on sizes.
    pub limits: &'a Limits,
    /// The time by which `expiresAt` is judged.
    pub now: DateTime,
}

impl Reading<'_> {
    /// Reads one object; what is wrong is added to `faults`.
    pub fn input(self, body: Value, faults: &mut Vec<Fault>) -> Input {
        let Value::Object(object) = body else {
            faults.push(Fault::new(self.pointer, "must be an object"));
            return Input::default();
        };
        let mut input = Input::default();
        let lacks_filter = !self.partial && !object.contains_key("filter");
        for (key, value) in object {
            let at = At::Key(&At::Pointer(self.pointer), &key);
            let Some(field) = FIELDS.into_iter().find(|field| *field == key) else {
                if let Some(detail) = self.stray(&key, &value) {
                    faults.push(Fault::new(at, detail));
                }
                continue;
            };
            let known = faults.len();
            let value = match value {
                Value::Null if field == "filter" => {
                    faults.push(self.missing_filter());
                    None
                }
                Value::Null => None,
                value => self.value(field, value, at, faults),
            };
            if faults.len() == known {
                input.fields.push((field, value));
            }
        }
        if lacks_filter {
            faults.push(self.missing_filter());
        }
        input
    }

    fn missing_filter(self) -> Fault {
        Fault::new(
            At::Key(&At::Pointer(self.pointer), "filter"),
            FILTER_MISSING,
        )
    }

    /// What is wrong with a field that cannot be set, if anything.
    fn stray(self, key: &str, value: &Value) -> Option<String> {
        match (key, self.id) {
            ("id", Some(id)) if value.as_str() == Some(id) => None,
            ("id", Some(_)) => Some("must be the id in the path: ids do not change".to_owned()),
            ("id", None) => Some(
                "is given by the service; PUT /subscriptions/{id} takes an id of yours".to_owned(),
            ),
            ("error" | "warnings", _) => Some("is computed and cannot be set".to_owned()),
            (key, _) if KEPT.contains(&key) => {
                Some("is kept by the service and cannot be set".to_owned())
            }
            _ => Some(format!("is unknown; the fields are {}", FIELDS.join(", "))),
        }
    }

    fn value(
        self,
        field: &'static str,
        value: Value,
        at: At<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Bson> {
        let checked = match field {
            "filter" | "metadata" => return self.document(field, value, at, faults),
            "durable" => value
                .as_bool()
                .map(Bson::Boolean)
                .ok_or_else(|| "must be true or false".to_owned()),
            "status" => one_of(&value, &["active", "paused"]),
            "source" => one_of(&value, &[DEFAULT_SOURCE]),
            "expiresAt" => self.expiry(&value),
            _ => self.text(&value),
        };
        match checked {
            Ok(value) => Some(value),
            Err(detail) => {
                faults.push(Fault::new(at, detail));
                None
            }
        }
    }

    fn document(
        self,
        field: &str,
        value: Value,
        at: At<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Bson> {
        let known = faults.len();
        let value = read_bson(value, at, faults);
        if faults.len() > known {
            return None;
        }
        let Bson::Document(document) = value else {
            faults.push(Fault::new(at, "must be an object"));
            return None;
        };
        let most = self.limits.metadata_bytes;
        let fault = match RawDocumentBuf::try_from(&document) {
            Err(error) => format!("cannot be stored: {error}"),
            Ok(raw) if field == "metadata" && raw.as_bytes().len() > most => format!(
                "is {} bytes as BSON; at most {most} are allowed",
                raw.as_bytes().len()
            ),
            Ok(_) => return Some(Bson::Document(document)),
        };
        faults.push(Fault::new(at, fault));
        None
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
            .and_then(|text| DateTime::parse_rfc3339_str(text).ok())
            .ok_or("must be an RFC 3339 time such as \"2030-01-31T12:00:00Z\", or null")?;
        if date <= self.now {
            return Err("must be in the future".to_owned());
        }
        Ok(date.into())
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

/// What is wrong with an id of a caller's, if anything.
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
    use serde_json::json;

    const NOW: DateTime = DateTime::from_millis(1_000_000);

    fn read(id: Option<&str>, body: Value) -> (Input, Vec<Fault>) {
        let limits = Limits {
            name_chars: 5,
            metadata_bytes: 30,
            ..Limits::default()
        };
        let reading = Reading {
            pointer: "#",
            id,
            partial: true,
            limits: &limits,
            now: NOW,
        };
        let mut faults = Vec::new();
        let input = reading.input(body, &mut faults);
        (input, faults)
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
    fn expiry_is_in_the_future_with_any_offset() {
        let body = json!({"expiresAt": "1970-01-01T03:00:00.250+02:00"});
        let document = good(body).create("a", NOW);
        assert_eq!(
            document.get_datetime("expiresAt").unwrap(),
            &DateTime::from_millis(3_600_250)
        );
        let (_, faults) = read(None, json!({"expiresAt": "1970-01-01T00:00:00Z"}));
        assert!(faults[0].detail.contains("future"));
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
