//! Subscriptions: how a stored document is read, and how it is shown.
//!
//! The document is the subscription, whoever wrote it. Reading never fails: what is wrong with a
//! document makes it `invalid`, with a reason, and stops nothing else.

pub mod input;

use std::{
    borrow::Borrow,
    fmt,
    sync::{Arc, OnceLock},
};

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::extjson::{plain_text, write_string, write_value};

static EMPTY: OnceLock<RawDocumentBuf> = OnceLock::new();

/// The one source there is for now.
pub const DEFAULT_SOURCE: &str = "events";

/// A subscription's `_id`: text.
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
    /// When the TTL index deletes it.
    pub expires_at: Option<DateTime>,
    /// What is wrong with the document or its filter, if anything.
    pub fault: Option<Box<str>>,
}

/// What the fields of a document say.
#[derive(Default)]
struct Fields<'d> {
    /// Whether `_id` is text.
    has_id: Option<bool>,
    filter: Option<&'d RawDocument>,
    paused: bool,
    durable: bool,
    expires_at: Option<DateTime>,
    fault: Option<Box<str>>,
}

impl Subscription {
    /// Reads a stored document, and has its filter compiled where nothing else is wrong with it. Why the
    /// filter cannot be compiled is what is wrong then.
    pub fn read<F>(
        document: RawDocumentBuf,
        compile: impl FnOnce(&RawDocument) -> Result<F, String>,
    ) -> (Self, Option<F>) {
        let mut fields = Fields::default();
        for element in &document {
            match element {
                Ok((key, value)) => fields.take(key.as_str(), value),
                Err(error) => fields.blame("", &format!("the document cannot be decoded: {error}")),
            }
        }
        if fields.has_id != Some(true) {
            fields.blame("_id", "must be a string");
        }
        let compiled = match fields.fault {
            None => compile(fields.filter.unwrap_or_else(nothing)).map_err(Into::into),
            Some(fault) => Err(fault),
        };
        let (filter, fault) = match compiled {
            Ok(filter) => (Some(filter), None),
            Err(fault) => (None, Some(fault)),
        };
        let (paused, durable, expires_at) = (fields.paused, fields.durable, fields.expires_at);
        let read = Self {
            document,
            paused,
            durable,
            expires_at,
            fault,
        };
        (read, filter)
    }

    /// `_id`; `None` where it is not text (then the subscription is invalid).
    pub fn id(&self) -> Option<&str> {
        match self.document.get("_id") {
            Ok(Some(RawBsonRef::String(id))) => Some(id),
            _ => None,
        }
    }

    /// The filter as stored; absent means everything.
    pub fn filter(&self) -> &RawDocument {
        match self.document.get("filter") {
            Ok(Some(RawBsonRef::Document(filter))) => filter,
            _ => nothing(),
        }
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
        let mut out = String::with_capacity(self.document.as_bytes().len() * 2);
        let id = self.document.get("_id").ok().flatten().map(plain_text);
        out.push_str(r#"{"id":"#);
        write_string(&id.and_then(Result::ok).unwrap_or_default(), &mut out);
        self.write_field("name", "null", &mut out);
        self.write_field("source", "\"events\"", &mut out);
        self.write_field("filter", "{}", &mut out);
        out.push_str(r#","status":"#);
        write_string(self.status().as_str(), &mut out);
        if let Some(fault) = &self.fault {
            out.push_str(r#","error":"#);
            write_string(fault, &mut out);
        }
        self.write_field("durable", "false", &mut out);
        self.write_field("owner", "null", &mut out);
        self.write_field("metadata", "{}", &mut out);
        self.write_field("expiresAt", "null", &mut out);
        self.write_field("revision", "1", &mut out);
        self.write_field("createdAt", "null", &mut out);
        self.write_field("updatedAt", "null", &mut out);
        out.push('}');
        out
    }

    /// Writes one field; dates as RFC 3339, other values as relaxed Extended JSON.
    fn write_field(&self, name: &str, absent: &str, out: &mut String) {
        out.push(',');
        write_string(name, out);
        out.push(':');
        let start = out.len();
        let written = match self.document.get(name) {
            Ok(None | Some(RawBsonRef::Null)) | Err(_) => None,
            Ok(Some(RawBsonRef::DateTime(date))) => date
                .try_to_rfc3339_string()
                .ok()
                .map(|text| write_string(&text, out)),
            Ok(Some(value)) => write_value(value, out).ok(),
        };
        if written.is_none() {
            out.truncate(start);
            out.push_str(absent);
        }
    }
}

/// The filter that is not there.
fn nothing<'a>() -> &'a RawDocument {
    EMPTY.get_or_init(RawDocumentBuf::new)
}

impl<'d> Fields<'d> {
    fn take(&mut self, key: &str, value: RawBsonRef<'d>) {
        match (key, value) {
            // Of several the first is the one that a look-up finds.
            ("_id", id) => {
                self.has_id
                    .get_or_insert(matches!(id, RawBsonRef::String(_)));
            }
            ("filter", RawBsonRef::Document(filter)) => {
                self.filter.get_or_insert(filter);
            }
            ("filter", RawBsonRef::Null) => {
                self.filter.get_or_insert(nothing());
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
            | ("revision", RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_)) => {
            }
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
            _ => {}
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
            assert_eq!(**given, *subscription.filter());
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
        assert_eq!(shown(&read(&doc! {"_id": "a"}))["filter"], json!({}));
    }

    #[test]
    fn each_wrong_field_makes_it_invalid_and_says_which() {
        for (document, pointer) in [
            (doc! {"_id": ObjectId::new()}, "#/_id"),
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
        let document = doc! {"_id": "a", "filter": null, "name": null, "status": null,
        "expiresAt": null, "theirs": 1};
        let subscription = read(&document);
        assert_eq!(subscription.fault, None);
        assert_eq!(shown(&subscription)["status"], "active");
        assert_eq!(subscription.filter().as_bytes().len(), 5);
    }

    #[test]
    fn what_is_compiled_is_the_filter_that_a_look_up_finds() {
        let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
        let one = doc! {"_id": "a", "filter": {"x": 1}};
        assert_eq!(given(raw(&one)), Some(raw(&doc! {"x": 1})));
        for absent in [doc! {"_id": "a"}, doc! {"_id": "a", "filter": null}] {
            assert_eq!(given(raw(&absent)), Some(raw(&doc! {})));
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
        assert_eq!(twice(Bson::Null, y.into()), Some(raw(&doc! {})));
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
