//! The fields of a small JSON object in a request. All faults are collected, each with its place.

use bson::DateTime;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::extjson::{Faults, parse_json, read_time};

/// The fields of a small JSON object in a request.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) members: Map<String, Value>,
    pub(crate) faults: Faults,
}

impl Fields {
    /// Reads an object, and notes the fields that are not known.
    pub(crate) fn read(bytes: &[u8], known: &[&str]) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let body = parse_json(bytes).map_err(Problem::malformed_json)?;
        let members = if let Value::Object(members) = body {
            members
        } else {
            faults.blame("#", "must be an object");
            Map::new()
        };
        for name in members
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
        {
            let known = known.join(", ");
            faults.blame(
                format_args!("#/{}", name.replace('~', "~0").replace('/', "~1")),
                format_args!("is unknown; the fields are {known}"),
            );
        }
        Ok(Self { members, faults })
    }

    /// Returns what was made of the fields, or the refusal with all faults.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(Problem::invalid(self.faults))
        }
    }

    /// Takes a field; `None` if it is absent or null.
    pub(crate) fn take(&self, name: &str) -> Option<Value> {
        let value = self.members.get(name)?;
        (!value.is_null()).then(|| value.clone())
    }

    /// Takes a text of at most so many characters.
    pub(crate) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if !text.is_empty() && text.chars().count() <= most => Some(text),
            _ => {
                let reason = format!("must be a string of 1 to {most} characters");
                self.faults.blame(format_args!("#/{name}"), reason);
                None
            }
        }
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &str) -> Option<DateTime> {
        let value = self.take(name)?;
        let time = value.as_str().and_then(read_time);
        if time.is_none() {
            let place = format_args!("#/{name}");
            self.faults.blame(place, "must be an RFC 3339 time");
        }
        time
    }

    /// Takes a time that is to come.
    pub(crate) fn future(&mut self, name: &str, now: DateTime) -> Option<DateTime> {
        let time = self.time(name)?;
        if time <= now {
            let place = format_args!("#/{name}");
            self.faults.blame(place, "must be in the future");
            return None;
        }
        Some(time)
    }
}
