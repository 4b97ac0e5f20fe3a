//! The body of a dry run.

use bson::{RawBson, RawDocumentBuf};
use serde::de::{DeserializeSeed as _, Deserializer, IgnoredAny, MapAccess};

use crate::{
    extjson::{Faults, JsonPointer, Members, Object, ReadOutcome, ReadValue},
    filter::{Filter, Limits},
    http::edge::problem::Problem,
};

/// The most bytes that an event may have: as many as the server stores.
const EVENT_BYTES: usize = 16 << 20;

/// Reads `{filter, event}`. All faults are reported together.
pub(super) fn filter_and_event<'de, D: Deserializer<'de>>(
    body: D,
    limits: &Limits,
) -> Result<Result<(Filter, RawDocumentBuf), Problem>, D::Error> {
    let mut fields = Fields::new(&["filter", "event"], limits.filter_bytes);
    fields.read(body)?;
    let Fields {
        filter,
        event,
        mut faults,
        ..
    } = fields;
    let filter = filter.and_then(|filter| compile(&filter, limits, &mut faults));
    Ok(match (filter, event) {
        (Some(filter), Some(event)) if faults.is_empty() => Ok((filter, event)),
        _ => Err(Problem::invalid(faults)),
    })
}

/// Reads `{event}`.
pub(super) fn event<'de, D: Deserializer<'de>>(
    body: D,
) -> Result<Result<RawDocumentBuf, Problem>, D::Error> {
    let mut fields = Fields::new(&["event"], 0);
    fields.read(body)?;
    Ok(match fields.event {
        Some(event) if fields.faults.is_empty() => Ok(event),
        _ => Err(Problem::invalid(fields.faults)),
    })
}

/// The fields of a request as they are read.
struct Fields {
    known: &'static [&'static str],
    filter_bytes: usize,
    filter: Option<RawDocumentBuf>,
    event: Option<RawDocumentBuf>,
    seen: Vec<&'static str>,
    faults: Faults,
}

impl Fields {
    fn new(known: &'static [&'static str], filter_bytes: usize) -> Self {
        Self {
            known,
            filter_bytes,
            filter: None,
            event: None,
            seen: Vec::new(),
            faults: Faults::default(),
        }
    }

    fn read<'de, D: Deserializer<'de>>(&mut self, body: D) -> Result<(), D::Error> {
        if !Object(&mut *self).deserialize(body)? {
            self.faults.blame("#", "must be an object");
            return Ok(());
        }
        for name in self.known.iter().filter(|name| !self.seen.contains(name)) {
            let at = JsonPointer::Key(&JsonPointer::Text("#"), name);
            self.faults.blame(at, "is missing");
        }
        Ok(())
    }
}

impl Members for Fields {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let at = JsonPointer::Key(&JsonPointer::Text("#"), name);
        let Some(field) = self.known.iter().find(|known| **known == name) else {
            map.next_value::<IgnoredAny>()?;
            let known = self.known.join(" and ");
            self.faults
                .blame(at, format_args!("is unknown; the fields are {known}"));
            return Ok(());
        };
        self.seen.push(field);
        let (slot, max_bytes) = match *field {
            "filter" => (&mut self.filter, self.filter_bytes),
            _ => (&mut self.event, EVENT_BYTES),
        };
        let faults = &mut self.faults;
        match map.next_value_seed(ReadValue {
            at,
            max_bytes,
            faults,
        })? {
            ReadOutcome::Value(RawBson::Document(document)) => *slot = Some(document),
            ReadOutcome::Value(_) => self.faults.blame(at, "must be an object"),
            ReadOutcome::TooLarge => self
                .faults
                .blame(at, format_args!("is larger than {max_bytes} bytes as BSON")),
            ReadOutcome::Faulty => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.faults.is_full()
    }
}

fn compile(filter: &RawDocumentBuf, limits: &Limits, faults: &mut Faults) -> Option<Filter> {
    Filter::parse_with(filter, limits)
        .map_err(|error| {
            faults.blame(format_args!("#/filter{}", error.pointer), error.reason);
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pointers(body: Value) -> Value {
        let read = filter_and_event(body, &Limits::default()).unwrap();
        let problem = read.unwrap_err();
        let errors = problem.to_json()["errors"].clone();
        let errors = errors.as_array().unwrap().iter();
        errors.map(|error| error["pointer"].clone()).collect()
    }

    #[test]
    fn every_fault_is_pointed_at() {
        for (body, expected) in [
            (json!([]), json!(["#"])),
            (json!({}), json!(["#/filter", "#/event"])),
            (
                json!({"filter": {"a": {"$foo": 1}}, "event": {"t": {"$date": 1.5}}, "x/y": 1}),
                json!(["#/event/t", "#/x~1y", "#/filter/a/$foo"]),
            ),
            (
                json!({"filter": 1, "event": {"$oid": "000000000000000000000000"}}),
                json!(["#/filter", "#/event"]),
            ),
            (
                json!({"filter": {"a": {"$in": vec![1; 100_000]}}, "event": {}}),
                json!(["#/filter"]),
            ),
        ] {
            assert_eq!(pointers(body.clone()), expected, "{body}");
        }
    }
}
