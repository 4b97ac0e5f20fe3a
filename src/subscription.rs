//! Subscriptions: stored documents, read, compiled and shown.
//!
//! The document is the subscription, whoever wrote it. Reading never fails: a fault in a document makes it
//! `invalid`, with a reason, and stops nothing else.

mod compiled;
mod fields;
mod id;
pub mod input;
mod json;
mod key;
mod status;

use std::borrow::Cow;

use bson::{DateTime, RawDocument, RawDocumentBuf};

pub use self::compiled::{CompiledSubscription, FILTER_PANICKED};
pub use self::fields::FILTER_MISSING;
use self::id::id_of;
pub use self::id::{SubscriptionId, object_id};
pub use self::key::DocumentKey;
pub use self::status::Status;
use crate::access::{OWNER, TENANT};

/// Most unknown fields of a document that are named.
const UNKNOWN_FIELDS_NAMED: usize = 20;
/// Most characters of each such name.
const UNKNOWN_NAME_CHARS: usize = 100;

/// Most bytes of a tenant or an owner that is kept where there is no room for the whole document. One that is longer
/// is in the sight of operators alone then.
const KEPT_BYTES: usize = 1 << 10;

/// The one source there is for now.
pub const DEFAULT_SOURCE: &str = "events";

/// A stored subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The document as it is stored.
    pub document: RawDocumentBuf,
    /// True if the document asks for a pause.
    pub paused: bool,
    /// True if the server keeps the acknowledged position.
    pub durable: bool,
    /// The time after which nothing that is committed is delivered.
    pub expires_at: Option<DateTime>,
    /// True if there are fields that nothing here reads.
    pub has_unknown: bool,
    /// The fault of the document or its filter, which makes the subscription invalid.
    pub fault: Option<Box<str>>,
}

impl Subscription {
    /// Returns the tenant whose subscription it is; `None` if no tenant sees it.
    pub(crate) fn tenant(&self) -> Option<&str> {
        text(&self.document, TENANT)
    }

    /// Drops all of the document but its id and whose it is, and makes the subscription invalid for `reason`. It keeps what the
    /// router has to know without the fields: whether it is durable, and when it expires.
    #[must_use]
    pub fn reduced_to_id(self, reason: &str) -> Self {
        let mut document = RawDocumentBuf::new();
        if let Ok(Some(id)) = self.document.get("_id") {
            document.append(bson::raw::cstr!("_id"), bson::RawBson::from(id));
        }
        let short = |field| text(&self.document, field).filter(|text| text.len() <= KEPT_BYTES);
        if let Some(tenant) = short(TENANT) {
            document.append(bson::raw::cstr!("tenant"), tenant);
        }
        if let Some(owner) = short(OWNER) {
            document.append(bson::raw::cstr!("owner"), owner);
        }
        Self {
            document,
            paused: false,
            has_unknown: false,
            fault: Some(reason.into()),
            ..self
        }
    }

    /// Returns the key of the document.
    pub fn key(&self) -> DocumentKey {
        DocumentKey::of(&self.document)
    }

    /// Returns the id; `None` if `_id` is of a type that ids do not have, which makes the subscription invalid.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.document.get("_id").ok().flatten().and_then(id_of)
    }

    /// Returns the filter as stored; `None` if the document has none, which makes the subscription invalid.
    pub fn filter(&self) -> Option<&RawDocument> {
        self.document.get_document("filter").ok()
    }

    /// Returns the first names of fields that nothing here reads, each truncated.
    pub fn unknown_fields(&self) -> Vec<String> {
        if !self.has_unknown {
            return Vec::new();
        }
        let fields = self.document.iter_elements().filter_map(Result::ok);
        let names = fields.map(|field| field.key());
        let unknown = names.filter(|name| !is_known(name.as_str()));
        let cut = |name: &str| name.chars().take(UNKNOWN_NAME_CHARS).collect();
        unknown
            .map(|name| cut(name.as_str()))
            .take(UNKNOWN_FIELDS_NAMED)
            .collect()
    }

    /// Whether it gets events that are committed at this time: none after its expiry.
    pub fn gets(&self, committed: DateTime) -> bool {
        self.expires_at
            .is_none_or(|expires_at| committed <= expires_at)
    }

    /// Whether a delete at `when` is the expiry.
    pub fn expired_by(&self, when: DateTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= when)
    }

    /// Returns the entity tag: a hash of the stored document, so that a change made in a shell counts.
    pub fn etag(&self) -> String {
        etag(&self.document)
    }

    /// Returns the state.
    pub fn status(&self) -> Status {
        match self.fault {
            Some(_) => Status::Invalid,
            None if self.paused => Status::Paused,
            None => Status::Active,
        }
    }
}

fn text<'d>(document: &'d RawDocument, field: &str) -> Option<&'d str> {
    document.get_str(field).ok()
}

/// Whether subscriptions have a field of this name.
fn is_known(name: &str) -> bool {
    name == "_id" || input::FIELDS.contains(&name) || input::KEPT.contains(&name)
}

/// Returns the entity tag of a stored document, quoted as in HTTP.
pub fn etag(document: &RawDocument) -> String {
    format!(
        "\"{:032x}\"",
        xxhash_rust::xxh3::xxh3_128(document.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Limits;
    use bson::{Document, doc};

    fn read(document: &Document) -> Subscription {
        let document = RawDocumentBuf::try_from(document).unwrap();
        CompiledSubscription::compile(document, &Limits::default()).subscription
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
