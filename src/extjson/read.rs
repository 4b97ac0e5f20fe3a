//! From Extended JSON text to BSON, without a tree between: the result is bounded, and at most a few times the
//! text.

use std::{cell::Cell, fmt};

#[cfg(test)]
use bson::Document;
use bson::{Bson, RawBson};
use serde::{
    Deserialize as _,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    Fault, Faults, JsonPointer,
    json::{KeySeed, MAX_JSON_DEPTH, Tree, parse_with, too_deep, twice},
    sink::Sink,
};

/// First keys of objects that stand for a BSON value rather than for a document.
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
/// Most values in such an object. Only the scope of code has more than a few.
const WRAPPED_VALUES: usize = 1_000;
/// Most keys of an object that are compared each with each other. More are sorted.
const FEW_KEYS: usize = 8;

/// The outcome of reading a value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ReadOutcome {
    /// The value.
    Value(RawBson),
    /// Part of it is not Extended JSON: see the faults.
    Faulty,
    /// It is too large as BSON.
    TooLarge,
}

/// A seed that reads one value in Extended JSON, relaxed or canonical. A value that is too large is built up to
/// its bound; one with too many faults is read no further. Duplicate keys and over-deep nesting are errors, as
/// broken JSON is.
#[derive(Debug)]
pub(crate) struct ReadValue<'a> {
    /// The place of the value.
    pub at: JsonPointer<'a>,
    /// Most bytes of the value as BSON.
    pub max_bytes: usize,
    /// The list that its faults are added to.
    pub faults: &'a mut Faults,
}

impl<'de> DeserializeSeed<'de> for ReadValue<'_> {
    type Value = ReadOutcome;

    fn deserialize<D: de::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ReadOutcome, D::Error> {
        let faults_before = self.faults.len();
        // The value is written into a document of its own, which takes seven bytes more.
        let mut sink = Sink::new(self.max_bytes.saturating_add(7));
        let element = Element {
            sink: &mut sink,
            faults: &mut *self.faults,
            key: Name::Key(""),
            at: self.at,
            levels: MAX_JSON_DEPTH,
        };
        element.deserialize(deserializer)?;
        if self.faults.len() > faults_before {
            return Ok(ReadOutcome::Faulty);
        }
        let alone = sink.finish();
        let value = alone.as_ref().and_then(|alone| alone.get("").ok()?);
        Ok(value.map_or(ReadOutcome::TooLarge, |value| {
            ReadOutcome::Value(value.into())
        }))
    }
}

/// Reads Extended JSON text. The value may have `max_bytes` as BSON; faults point into the text. The error is
/// the JSON parser's.
pub(crate) fn read_value(
    text: &[u8],
    max_bytes: usize,
    faults: &mut Faults,
) -> Result<ReadOutcome, String> {
    let at = JsonPointer::Text("#");
    parse_with(text, |json| {
        ReadValue {
            at,
            max_bytes,
            faults,
        }
        .deserialize(json)
    })
}

/// The name of an element.
#[derive(Clone, Copy)]
enum Name<'a> {
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// A seed that writes one value into a document.
struct Element<'a> {
    sink: &'a mut Sink,
    faults: &'a mut Faults,
    key: Name<'a>,
    at: JsonPointer<'a>,
    levels: usize,
}

impl Element<'_> {
    fn put(self, kind: u8, value: &[u8]) {
        self.sink.put(kind, self.key, &[value]);
    }

    /// Adds the fault of a value that cannot be read.
    fn fault(self, detail: impl fmt::Display) {
        self.faults.blame(self.at, detail);
    }

    fn levels_inside<E: de::Error>(&self) -> Result<usize, E> {
        self.levels.checked_sub(1).ok_or_else(too_deep)
    }

    /// Reads an object that stands for a value of another type.
    fn wrapped<'de, A: MapAccess<'de>>(self, first: &str, map: A) -> Result<(), A::Error> {
        let left = Cell::new(WRAPPED_VALUES);
        let object = Tree::new(&left).rest(Some(first.to_owned()), map)?;
        let value = Bson::try_from(Value::Object(object)).map_err(|error| error.to_string());
        match value.and_then(|value| RawBson::try_from(value).map_err(|error| error.to_string())) {
            Ok(value) => self.sink.put_value(self.key, value),
            Err(error) => self.fault(format_args!("not Extended JSON: {error}")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.sink.is_over() || self.faults.is_full() {
            return IgnoredAny::deserialize(deserializer).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(0x08, &[u8::from(value)]);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        match i32::try_from(value) {
            Ok(small) => self.put(0x10, &small.to_le_bytes()),
            Err(_) => self.put(0x12, &value.to_le_bytes()),
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(signed) => self.visit_i64(signed),
            // Whole numbers beyond 64 bits signed are doubles in relaxed Extended JSON.
            #[expect(clippy::cast_precision_loss, reason = "as the specification has it")]
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(0x01, &value.to_le_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
        let parts: [&[u8]; 3] = [&length.to_le_bytes(), value.as_bytes(), &[0]];
        self.sink.put(0x02, self.key, &parts);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(0x0A, &[]);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let levels = self.levels_inside()?;
        let open = self.sink.open(0x04, self.key);
        let mut index = 0;
        loop {
            let item = Element {
                sink: &mut *self.sink,
                faults: &mut *self.faults,
                key: Name::Index(index),
                at: JsonPointer::Index(&self.at, index),
                levels,
            };
            if seq.next_element_seed(item)?.is_none() {
                break;
            }
            index += 1;
        }
        self.sink.close(open);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let levels = self.levels_inside()?;
        let first = map.next_key_seed(KeySeed)?;
        if let Some(first) = first.as_deref().filter(|key| TYPE_WRAPPERS.contains(key)) {
            return self.wrapped(first, map);
        }
        let open = self.sink.open(0x03, self.key);
        let mut starts = Vec::new();
        let mut next = first;
        while let Some(key) = next {
            let at = JsonPointer::Key(&self.at, &key);
            if key.contains('\0') {
                self.faults
                    .blame(at, "a key must not contain the character U+0000");
                map.next_value::<IgnoredAny>()?;
            } else {
                let start = self.sink.position();
                map.next_value_seed(Element {
                    sink: &mut *self.sink,
                    faults: &mut *self.faults,
                    key: Name::Key(&key),
                    at,
                    levels,
                })?;
                // A faulty value is not written.
                if self.sink.position() > start {
                    starts.push(start);
                }
            }
            next = map.next_key_seed(KeySeed)?;
        }
        if let Some(key) = repeated(self.sink, &mut starts) {
            return Err(twice(&key));
        }
        self.sink.close(open);
        Ok(())
    }
}

/// Returns a key that two of the elements at these positions have.
fn repeated(sink: &Sink, starts: &mut [usize]) -> Option<String> {
    if sink.is_over() {
        return None;
    }
    let key = |start: usize| sink.key_at(start);
    let twice = if starts.len() <= FEW_KEYS {
        let mut places = starts.iter().enumerate();
        places.find_map(|(index, &start)| {
            let mut before = starts[..index].iter();
            before.find(|&&before| key(before) == key(start)).copied()
        })
    } else {
        starts.sort_unstable_by(|&one, &other| key(one).cmp(key(other)));
        let mut pairs = starts.windows(2);
        pairs.find_map(|pair| (key(pair[0]) == key(pair[1])).then_some(pair[0]))
    };
    twice.map(|start| String::from_utf8_lossy(key(start)).into_owned())
}

/// Turns a JSON value in Extended JSON, relaxed or canonical, into BSON. `pointer` is its place in the request.
/// The first fault is the error.
pub(crate) fn to_bson(value: Value, pointer: &str) -> Result<Bson, Fault> {
    let mut faults = Faults::default();
    let read = ReadValue {
        at: JsonPointer::Text(pointer),
        max_bytes: usize::MAX,
        faults: &mut faults,
    };
    let read = read
        .deserialize(value)
        .map_err(|error| Fault::new(pointer, error))?;
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let ReadOutcome::Value(value) = read else {
        return Err(Fault::new(pointer, "is too large"));
    };
    Bson::try_from(value).map_err(|error| Fault::new(pointer, error))
}

/// Turns a JSON object into a document. A type wrapper is a fault.
#[cfg(test)]
pub(crate) fn to_document(value: Value, pointer: &str) -> Result<Document, Fault> {
    match to_bson(value, pointer)? {
        Bson::Document(document) => Ok(document),
        _ => Err(Fault::new(pointer, "must be an object")),
    }
}
