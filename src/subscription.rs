//! Subscriptions: how a stored document is read, and how it is shown.
//!
//! The document is the subscription, whoever wrote it. Reading never fails: what is wrong with a
//! document makes it `invalid`, with a reason, and stops nothing else.

pub mod input;
mod key;

use std::{
    borrow::{Borrow, Cow},
    fmt,
    sync::Arc,
};

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, oid::ObjectId};
use serde_json::{Value, json};
use smallvec::SmallVec;

pub use self::key::Key;
use crate::extjson::{mend, plain_text, reading, time_text, write_string, write_value};

/// Unknown fields of a document that are named, at most, and how much of each name.
const UNKNOWN_NAMED: usize = 20;
const UNKNOWN_CHARS: usize = 100;

/// The one source there is for now.
pub const DEFAULT_SOURCE: &str = "events";

/// A subscription's id: the text of its `_id`, or the 24 hex digits of an `ObjectId`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// A new id: `sub_` and a time-ordered UUID (version 7) in hex.
    pub fn generate() -> Self {
        Self::of(uuid::Uuid::now_v7())
    }

    /// The id with this UUID.
    pub fn of(uuid: uuid::Uuid) -> Self {
        Self(format!("sub_{}", uuid.simple()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for SubscriptionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The id that a document with this `_id` has; `None` for every other type.
pub fn id_of(value: RawBsonRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        RawBsonRef::String(text) => Some(text.into()),
        RawBsonRef::ObjectId(id) => Some(id.to_hex().into()),
        _ => None,
    }
}

/// What is wrong with an id that is not [`is_reachable`].
pub const UNREACHABLE: &str = "cannot stand in an address, where it means another one";

/// Whether clients can name the id in an address: `.` and `..` are resolved before anything is sent
/// (RFC 3986, section 5.2.4).
pub fn is_reachable(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
}

/// The `ObjectId` whose id this text is, if it is one's.
pub fn object_id(id: &str) -> Option<ObjectId> {
    let found = ObjectId::parse_str(id).ok()?;
    (found.to_hex() == id).then_some(found)
}

/// What a subscription is doing. `Invalid` is computed, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Events are matched.
    Active,
    /// Nothing is matched until it is active again.
    Paused,
    /// The document cannot be used as it is; nothing is matched.
    Invalid,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Invalid];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Invalid => "invalid",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A stored subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The document as it is stored.
    pub document: RawDocumentBuf,
    /// Whether the document asks to be paused.
    pub paused: bool,
    /// Whether the server keeps the acknowledged position.
    pub durable: bool,
    /// Nothing that is committed after this is delivered.
    pub expires_at: Option<DateTime>,
    /// Whether there are fields that nothing here reads.
    pub has_unknown: bool,
    /// What is wrong with the document or its filter, if anything.
    pub fault: Option<Box<str>>,
}

/// What the fields of a document say.
#[derive(Default)]
struct Fields<'d> {
    /// Whether `_id` is of a type that ids have.
    has_id: Option<bool>,
    filter: Given<'d>,
    has_unknown: bool,
    paused: bool,
    durable: bool,
    expires_at: Option<DateTime>,
    fault: Option<Box<str>>,
}

/// What stands first under `filter`.
#[derive(Default)]
enum Given<'d> {
    #[default]
    Nothing,
    Null,
    Filter(&'d RawDocument),
}

impl Given<'_> {
    /// Keeps what came first.
    fn first(&mut self, given: Self) {
        if matches!(self, Self::Nothing) {
            *self = given;
        }
    }
}

impl Subscription {
    /// Reads a stored document, and has its filter compiled where nothing else is wrong with it. Why the
    /// filter cannot be compiled is what is wrong then.
    pub fn read<F>(
        document: RawDocumentBuf,
        compile: impl FnOnce(&RawDocument) -> Result<F, String>,
    ) -> (Self, Option<F>) {
        let mended;
        let mut fields = if let Ok(fields) = Fields::of(&document) {
            fields
        } else {
            // Text that is not UTF-8 is no reason to refuse a name; the filter is compiled as it is stored.
            mended = mend(&document).unwrap_or_default();
            let mut fields = Fields::of(&mended).unwrap_or_default();
            if matches!(fields.filter, Given::Filter(_))
                && let Ok(filter) = document.get_document("filter")
            {
                fields.filter = Given::Filter(filter);
            }
            fields
        };
        if fields.has_id != Some(true) {
            fields.blame("_id", "must be a string or an ObjectId");
        }
        if matches!(document.get("_id"), Ok(Some(RawBsonRef::String(id))) if !is_reachable(id)) {
            fields.blame("_id", UNREACHABLE);
        }
        let filter = if let Given::Filter(filter) = fields.filter {
            Some(filter)
        } else {
            fields.blame("filter", FILTER_MISSING);
            None
        };
        let compiled = match (fields.fault, filter) {
            (None, Some(filter)) => compile(filter).map_err(Into::into),
            (fault, _) => Err(fault.unwrap_or_default()),
        };
        let (filter, fault) = match compiled {
            Ok(filter) => (Some(filter), None),
            Err(fault) => (None, Some(fault)),
        };
        let (paused, durable, expires_at) = (fields.paused, fields.durable, fields.expires_at);
        let has_unknown = fields.has_unknown;
        let read = Self {
            document,
            paused,
            durable,
            expires_at,
            has_unknown,
            fault,
        };
        (read, filter)
    }

    /// What is left of it where no more than its id is to be held, for this reason: what is due to it
    /// without a look at its fields.
    #[must_use]
    pub fn withheld(self, reason: &str) -> Self {
        let mut document = RawDocumentBuf::new();
        if let Ok(Some(id)) = self.document.get("_id") {
            document.append(bson::raw::cstr!("_id"), bson::RawBson::from(id));
        }
        Self {
            document,
            paused: false,
            has_unknown: false,
            fault: Some(reason.into()),
            ..self
        }
    }

    /// What tells the document from all others.
    pub fn key(&self) -> Key {
        Key::of(&self.document)
    }

    /// The id; `None` where `_id` is of a type that ids do not have (then the subscription is invalid).
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.document.get("_id").ok().flatten().and_then(id_of)
    }

    /// The filter as stored; `None` where the document has none (then the subscription is invalid).
    pub fn filter(&self) -> Option<&RawDocument> {
        self.document.get_document("filter").ok()
    }

    /// The names of fields that nothing here reads, as far as they are named; each is cut to a bound.
    pub fn unknown_fields(&self) -> Vec<String> {
        if !self.has_unknown {
            return Vec::new();
        }
        let fields = self.document.iter_elements().filter_map(Result::ok);
        let names = fields.map(|field| field.key());
        let unknown = names.filter(|name| !is_known(name.as_str()));
        let cut = |name: &str| name.chars().take(UNKNOWN_CHARS).collect();
        unknown
            .map(|name| cut(name.as_str()))
            .take(UNKNOWN_NAMED)
            .collect()
    }

    /// Whether it gets what is committed then: nothing is delivered after the expiry.
    pub fn gets(&self, committed: DateTime) -> bool {
        self.expires_at
            .is_none_or(|expires_at| committed <= expires_at)
    }

    /// Whether a delete at `when` is the expiry.
    pub fn expired_by(&self, when: DateTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= when)
    }

    /// The entity tag: a hash of the stored document, so that a change made in a shell counts.
    pub fn etag(&self) -> String {
        etag(&self.document)
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        match self.fault {
            Some(_) => Status::Invalid,
            None if self.paused => Status::Paused,
            None => Status::Active,
        }
    }

    /// The subscription as JSON.
    pub fn to_json(&self) -> String {
        self.to_json_with(&[])
    }

    /// The subscription as JSON, with warnings about its filter beside those about the document.
    pub fn to_json_with(&self, of_filter: &[String]) -> String {
        let mut out = String::with_capacity(self.document.as_bytes().len() * 2);
        let shown = Shown::of(&self.document).ok();
        let shown = shown.as_ref();
        let id = self.document.get("_id").ok().flatten().map(plain_text);
        out.push_str(r#"{"id":"#);
        write_string(&id.and_then(Result::ok).unwrap_or_default(), &mut out);
        self.write_field(shown, "name", "null", &mut out);
        self.write_field(shown, "source", "\"events\"", &mut out);
        self.write_field(shown, "filter", "null", &mut out);
        out.push_str(r#","status":"#);
        write_string(self.status().as_str(), &mut out);
        if let Some(fault) = &self.fault {
            out.push_str(r#","error":"#);
            write_string(fault, &mut out);
        }
        self.write_field(shown, "durable", "false", &mut out);
        self.write_field(shown, "owner", "null", &mut out);
        self.write_field(shown, "metadata", "{}", &mut out);
        self.write_field(shown, "expiresAt", "null", &mut out);
        match revision(&self.document) {
            Some(revision) => {
                out.push_str(r#","revision":"#);
                out.push_str(&revision.to_string());
            }
            None => self.write_field(shown, "revision", "1", &mut out),
        }
        self.write_field(shown, "createdAt", "null", &mut out);
        self.write_field(shown, "updatedAt", "null", &mut out);
        let warnings = self.warnings(of_filter);
        if !warnings.is_empty() {
            out.push_str(r#","warnings":"#);
            out.push_str(&Value::from(warnings).to_string());
        }
        out.push('}');
        out
    }

    fn warnings(&self, of_filter: &[String]) -> Vec<Value> {
        let of_filter = of_filter
            .iter()
            .map(|detail| json!({"pointer": "#/filter", "detail": detail}));
        let unknown = self.unknown_fields().into_iter().map(|name| {
            let name = name.replace('~', "~0").replace('/', "~1");
            json!({"pointer": format!("#/{name}"), "detail": UNKNOWN_FIELD})
        });
        of_filter.chain(unknown).collect()
    }

    /// Writes one field; dates as RFC 3339, other values as relaxed Extended JSON.
    fn write_field(&self, shown: Option<&Shown<'_>>, name: &str, absent: &str, out: &mut String) {
        out.push(',');
        write_string(name, out);
        out.push(':');
        let start = out.len();
        let written = shown.map(|shown| write_shown(shown.get(name), out));
        let is_written = if let Some(Ok(is_written)) = written {
            is_written
        } else {
            // Something in the document is no text.
            let mended = reading(&self.document, |document| {
                out.truncate(start);
                write_shown(document.get(name)?, out)
            });
            matches!(mended, Ok((true, _)))
        };
        if !is_written {
            out.truncate(start);
            out.push_str(absent);
        }
    }
}

/// Writes the value of a field, unless it has none.
fn write_shown(
    value: Option<RawBsonRef<'_>>,
    out: &mut String,
) -> Result<bool, bson::error::Error> {
    match value {
        None | Some(RawBsonRef::Null) => Ok(false),
        Some(RawBsonRef::DateTime(date)) if let Some(text) = time_text(date) => {
            write_string(&text, out);
            Ok(true)
        }
        Some(value) => write_value(value, out).map(|()| true),
    }
}

/// The fields that are shown, found in one pass rather than in one for each: every connection shows its
/// subscription. Of several with one name the first.
#[derive(Default)]
struct Shown<'d>(SmallVec<[(&'d str, RawBsonRef<'d>); 16]>);

impl<'d> Shown<'d> {
    fn of(document: &'d RawDocument) -> Result<Self, bson::error::Error> {
        let mut shown = Self::default();
        for element in document {
            let (key, value) = element?;
            let key = key.as_str();
            if is_known(key) && shown.get(key).is_none() {
                shown.0.push((key, value));
            }
        }
        Ok(shown)
    }

    fn get(&self, name: &str) -> Option<RawBsonRef<'d>> {
        let found = self.0.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    }
}

/// The revision that is stored, whatever type of number it has; it is a count.
fn revision(document: &RawDocument) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a revision is a count")]
    let count = |number: f64| number as i64;
    match document.get("revision") {
        Ok(Some(RawBsonRef::Int32(number))) => Some(i64::from(number)),
        Ok(Some(RawBsonRef::Int64(number))) => Some(number),
        Ok(Some(RawBsonRef::Double(number))) => Some(count(number)),
        Ok(Some(RawBsonRef::Decimal128(number))) => number.to_string().parse().map(count).ok(),
        _ => None,
    }
}

/// What is wrong where no filter is.
pub const FILTER_MISSING: &str = "is missing: an empty document is everything";
/// What is said of a field that nothing here reads.
const UNKNOWN_FIELD: &str = "is not a field of subscriptions, and changes nothing";

/// Whether subscriptions have a field of this name.
fn is_known(name: &str) -> bool {
    name == "_id" || input::FIELDS.contains(&name) || input::KEPT.contains(&name)
}

impl<'d> Fields<'d> {
    fn of(document: &'d RawDocument) -> Result<Self, bson::error::Error> {
        let mut fields = Self::default();
        for element in document {
            let (key, value) = element?;
            fields.take(key.as_str(), value);
        }
        Ok(fields)
    }

    fn take(&mut self, key: &str, value: RawBsonRef<'d>) {
        match (key, value) {
            // Of several the first is the one that a look-up finds.
            ("_id", id) => {
                self.has_id.get_or_insert(matches!(
                    id,
                    RawBsonRef::String(_) | RawBsonRef::ObjectId(_)
                ));
            }
            ("filter", RawBsonRef::Document(filter)) => {
                self.filter.first(Given::Filter(filter));
            }
            ("filter", RawBsonRef::Null) => {
                self.filter.first(Given::Null);
            }
            // A missing field and null mean the same, as in MongoDB's queries.
            (
                "name" | "status" | "durable" | "source" | "expiresAt" | "owner" | "metadata"
                | "createdAt" | "updatedAt" | "revision",
                RawBsonRef::Null,
            )
            | ("metadata", RawBsonRef::Document(_))
            | ("name" | "owner", RawBsonRef::String(_))
            | ("createdAt" | "updatedAt", RawBsonRef::DateTime(_))
            | ("status", RawBsonRef::String("active"))
            | ("source", RawBsonRef::String(DEFAULT_SOURCE))
            | (
                "revision",
                RawBsonRef::Int32(_)
                | RawBsonRef::Int64(_)
                | RawBsonRef::Double(_)
                | RawBsonRef::Decimal128(_),
            ) => {}
            ("status", RawBsonRef::String("paused")) => self.paused = true,
            ("durable", RawBsonRef::Boolean(durable)) => self.durable = durable,
            ("expiresAt", RawBsonRef::DateTime(date)) => self.expires_at = Some(date),
            ("filter" | "metadata", _) => self.blame(key, "must be a document"),
            ("name" | "owner", _) => self.blame(key, "must be a string"),
            ("createdAt" | "updatedAt" | "expiresAt", _) => self.blame(key, "must be a date"),
            ("status", _) => self.blame(key, "must be \"active\" or \"paused\""),
            ("source", _) => self.blame(key, "must be \"events\""),
            ("durable", _) => self.blame(key, "must be a boolean"),
            ("revision", _) => self.blame(key, "must be a number"),
            // Fields of others are theirs.
            _ => self.has_unknown = true,
        }
    }

    fn blame(&mut self, field: &str, detail: &str) {
        if self.fault.is_none() && field.is_empty() {
            self.fault = Some(detail.into());
        } else if self.fault.is_none() {
            self.fault = Some(format!("#/{field}: {detail}").into());
        }
    }
}

/// The entity tag of a stored document, quoted as HTTP wants it.
pub fn etag(document: &RawDocument) -> String {
    format!(
        "\"{:032x}\"",
        xxhash_rust::xxh3::xxh3_128(document.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, RawBson, doc, oid::ObjectId};
    use serde_json::{Value, json};

    fn read(document: &Document) -> Subscription {
        let document = RawDocumentBuf::try_from(document).unwrap();
        Subscription::read(document, |_| Ok(())).0
    }

    /// The filter that is compiled.
    fn given(document: RawDocumentBuf) -> Option<RawDocumentBuf> {
        let (subscription, given) = Subscription::read(document, |filter| Ok(filter.to_owned()));
        if let Some(given) = &given {
            assert_eq!(Some(&**given), subscription.filter());
        }
        given
    }

    fn shown(subscription: &Subscription) -> Value {
        serde_json::from_str(&subscription.to_json()).unwrap()
    }

    #[test]
    fn a_bare_document_is_a_subscription_with_defaults() {
        let subscription = read(&doc! {"_id": "a", "filter": {"x": {"$gt": 1}}});
        assert_eq!(subscription.fault, None);
        assert_eq!(
            shown(&subscription),
            json!({"id": "a", "name": null, "source": "events", "filter": {"x": {"$gt": 1}},
                "status": "active", "durable": false, "owner": null, "metadata": {},
                "expiresAt": null, "revision": 1, "createdAt": null, "updatedAt": null})
        );
    }

    #[test]
    fn an_object_id_is_an_id_by_its_digits() {
        let id = ObjectId::new();
        let subscription = read(&doc! {"_id": id, "filter": {}});
        assert_eq!(subscription.fault, None);
        assert_eq!(subscription.id().as_deref(), Some(&*id.to_hex()));
        assert_eq!(shown(&subscription)["id"], id.to_hex());
        assert_eq!(object_id(&id.to_hex()), Some(id));
        for other in ["", "a", &id.to_hex()[1..], "ABCDEFABCDEFABCDEFABCDEF"] {
            assert_eq!(object_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_date_that_no_text_stands_for_is_shown_as_what_it_is() {
        for millis in [i64::MAX, i64::MIN, 253_402_300_800_000] {
            let date = DateTime::from_millis(millis);
            let shown = shown(&read(&doc! {"_id": "a", "filter": {}, "expiresAt": date}));
            let number = json!({"$date": {"$numberLong": millis.to_string()}});
            assert_eq!(shown["expiresAt"], number);
        }
    }

    #[test]
    fn unknown_fields_are_named_as_far_as_there_is_room() {
        let subscription = read(&doc! {"_id": "a", "filer": {}, "filter": {}, "a/b": 1});
        assert_eq!(subscription.fault, None);
        let warnings = &shown(&subscription)["warnings"];
        assert_eq!(warnings[0]["pointer"], "#/filer");
        assert_eq!(warnings[1]["pointer"], "#/a~1b");
        assert_eq!(
            subscription
                .to_json_with(&["w".to_owned()])
                .matches("pointer")
                .count(),
            3
        );
        let mut many = doc! {"_id": "a", "filter": {}};
        many.extend((0..100).map(|n| (format!("{n:0200}"), 1.into())));
        let named = read(&many).unknown_fields();
        assert_eq!(named.len(), UNKNOWN_NAMED);
        assert_eq!(named[0].len(), UNKNOWN_CHARS);
    }

    #[test]
    fn what_is_no_text_is_shown_with_replacements_and_refuses_nothing() {
        let document =
            doc! {"_id": "a", "name": "nX", "filter": {"kX": "vX"}, "metadata": {"mX": ["X"]}};
        let document = RawDocumentBuf::try_from(&document).unwrap();
        let mut bytes = document.into_bytes();
        for byte in &mut bytes {
            if *byte == b'X' {
                *byte = 0xFF;
            }
        }
        let document = RawDocumentBuf::from_bytes(bytes).unwrap();
        let (subscription, given) = Subscription::read(document, |filter| Ok(filter.to_owned()));
        assert_eq!(subscription.fault, None);
        assert_eq!(given.as_deref(), subscription.filter());
        let shown = shown(&subscription);
        assert_eq!(shown["name"], "n\u{FFFD}");
        assert_eq!(shown["filter"], json!({"k\u{FFFD}": "v\u{FFFD}"}));
        assert_eq!(shown["metadata"], json!({"m\u{FFFD}": ["\u{FFFD}"]}));
    }

    #[test]
    fn an_id_that_no_address_can_have_is_invalid() {
        for id in ["", ".", ".."] {
            let fault = read(&doc! {"_id": id, "filter": {}}).fault.unwrap();
            assert!(fault.starts_with("#/_id"), "{fault}");
        }
        for id in ["...", ".a", "%2e"] {
            assert_eq!(read(&doc! {"_id": id, "filter": {}}).fault, None, "{id}");
        }
    }

    #[test]
    fn each_wrong_field_makes_it_invalid_and_says_which() {
        for (document, pointer) in [
            (doc! {"_id": 5}, "#/_id"),
            (doc! {"_id": "a"}, "#/filter"),
            (doc! {"_id": "a", "filer": {}}, "#/filter"),
            (doc! {"_id": "a", "filter": Bson::Null}, "#/filter"),
            (doc! {"_id": "a", "filter": 5}, "#/filter"),
            (doc! {"_id": "a", "name": 5}, "#/name"),
            (doc! {"_id": "a", "status": "asleep"}, "#/status"),
            (doc! {"_id": "a", "status": "invalid"}, "#/status"),
            (doc! {"_id": "a", "durable": "yes"}, "#/durable"),
            (doc! {"_id": "a", "source": "orders"}, "#/source"),
            (doc! {"_id": "a", "expiresAt": "soon"}, "#/expiresAt"),
            (doc! {"_id": "a", "metadata": []}, "#/metadata"),
        ] {
            let subscription = read(&document);
            let fault = subscription.fault.clone().unwrap_or_default();
            assert!(fault.starts_with(pointer), "{document}: {fault}");
            assert_eq!(shown(&subscription)["status"], "invalid");
            assert_eq!(shown(&subscription)["error"], *fault);
        }
    }

    #[test]
    fn null_means_absent_and_unknown_fields_are_left_alone() {
        let document = doc! {"_id": "a", "filter": {}, "name": null, "status": null,
        "expiresAt": null, "theirs": 1};
        let subscription = read(&document);
        assert_eq!(subscription.fault, None);
        assert_eq!(shown(&subscription)["status"], "active");
    }

    #[test]
    fn what_is_compiled_is_the_filter_that_a_look_up_finds() {
        let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
        let one = doc! {"_id": "a", "filter": {"x": 1}};
        assert_eq!(given(raw(&one)), Some(raw(&doc! {"x": 1})));
        for absent in [doc! {"_id": "a"}, doc! {"_id": "a", "filter": null}] {
            assert_eq!(given(raw(&absent)), None);
        }
        assert_eq!(given(raw(&doc! {"_id": 5, "filter": {"x": 1}})), None);
        let twice = |first: Bson, second: Bson| {
            let mut document = raw(&doc! {"_id": "a"});
            for filter in [first, second] {
                let filter = RawBson::try_from(filter).unwrap();
                document.append(bson::raw::cstr!("filter"), filter);
            }
            given(document)
        };
        let (x, y) = (doc! {"x": 1}, doc! {"y": 1});
        let both = twice(x.clone().into(), y.clone().into());
        assert_eq!(both, Some(raw(&x)));
        assert_eq!(twice(Bson::Null, y.into()), None);
        assert_eq!(
            twice(x.into(), 5.into()),
            None,
            "a wrong one is wrong wherever it stands"
        );
    }

    #[test]
    fn of_two_ids_the_first_counts() {
        for (first, second, text) in [
            (RawBson::Int32(1), RawBson::String("a".into()), false),
            (RawBson::String("a".into()), RawBson::Int32(1), true),
        ] {
            let mut document = RawDocumentBuf::new();
            document.append(bson::raw::cstr!("_id"), first);
            document.append(bson::raw::cstr!("_id"), second);
            document.append(bson::raw::cstr!("filter"), RawDocumentBuf::new());
            let (read, _) = Subscription::read(document, |_| Ok(()));
            assert_eq!(read.id().is_some(), text);
            assert_eq!(read.fault.is_none(), text);
        }
    }

    #[test]
    fn the_etag_follows_every_change() {
        let one = read(&doc! {"_id": "a", "theirs": 1}).etag();
        assert_eq!(one, read(&doc! {"_id": "a", "theirs": 1}).etag());
        assert_ne!(one, read(&doc! {"_id": "a", "theirs": 2}).etag());
    }

    #[test]
    fn expiry_is_judged_by_the_date_of_the_delete() {
        let at = DateTime::from_millis(5_000);
        let subscription = read(&doc! {"_id": "a", "expiresAt": at});
        assert!(subscription.expired_by(at));
        assert!(!subscription.expired_by(DateTime::from_millis(4_999)));
        assert!(!read(&doc! {"_id": "a"}).expired_by(at));
    }
}
