//! The fields of a request that writes a subscription, and the document that they make.
//!
//! Reading collects every fault, so that a caller corrects a request once. The filter is compiled elsewhere.

mod reader;

use bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::Value;

use super::{DEFAULT_SOURCE, fields::revision};
use crate::{
    access::{Binding, CLAIMS, Claims},
    extjson::read_time,
};

pub use self::reader::{InputReader, check_id};

/// The fields that a request may set, in the order in which they are stored.
pub const FIELDS: [&str; 11] = [
    "name",
    "source",
    "filter",
    "status",
    "durable",
    "owner",
    "tenant",
    "policy",
    "claims",
    "metadata",
    "expiresAt",
];
/// The fields of these that bind a subscription to a tenant. Only operators set them.
pub const BINDING: [&str; 3] = ["tenant", "policy", "claims"];
/// The fields that REST writes maintain.
pub const KEPT: [&str; 3] = ["revision", "createdAt", "updatedAt"];
/// The fields of answers that no document has.
pub const COMPUTED: [&str; 5] = [
    "error",
    "warnings",
    "position",
    "lagSeconds",
    "lossInSeconds",
];

/// The fields that a request names, with their values. `None` is null: back to the default.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Input {
    fields: Vec<(&'static str, Option<Bson>)>,
    /// Fields of [`KEPT`] that the request repeats from an answer. They may not differ.
    repeated: Vec<(&'static str, Value)>,
    /// Fields that this caller may not set, and repeats. They may not differ either.
    fixed: Vec<(&'static str, Option<Bson>)>,
}

/// The difference between a stored document and a requested one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Changes {
    /// Fields that get a value.
    pub set: Document,
    /// Fields that go back to their default.
    pub unset: Vec<&'static str>,
}

impl Changes {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }
}

impl Input {
    /// Returns the filter, if the request gives one.
    pub fn filter(&self) -> Option<&Document> {
        self.get("filter").and_then(Bson::as_document)
    }

    /// Returns the repeated fields that differ from `current`.
    pub fn changed_fields(&self, current: &RawDocument) -> impl Iterator<Item = &'static str> {
        let changed = self.repeated.iter().filter(|(name, value)| {
            let same = match *name {
                "revision" => value.as_i64() == Some(revision(current).unwrap_or(1)),
                _ => match current.get(name) {
                    Ok(Some(RawBsonRef::DateTime(date))) => {
                        value.as_str().and_then(read_time) == Some(date)
                    }
                    _ => value.is_null(),
                },
            };
            !same
        });
        changed
            .map(|(name, _)| *name)
            .chain(self.contradicted(current))
    }

    /// Returns the fields that this caller may not set and that differ from `current`.
    pub fn contradicted(&self, current: &RawDocument) -> impl Iterator<Item = &'static str> {
        let differs = |(field, value): &&(&str, Option<Bson>)| {
            asked(field, value.clone()) != effective(current, field)
        };
        let differing = self.fixed.iter().filter(differs);
        differing.map(|(name, _)| *name)
    }

    /// Whether the request says nothing of fields that this caller may not set.
    pub fn is_free(&self) -> bool {
        self.fixed.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Bson> {
        let (_, value) = self.fields.iter().find(|(field, _)| *field == name)?;
        value.as_ref()
    }

    fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| *name == field)
    }

    /// Returns the value for a document: the given one, else that of the binding, else the default, if there is one.
    fn stored(&self, field: &str, binding: &Binding) -> Option<Bson> {
        let bound = binding.value(field).filter(|_| !self.names(field));
        let value = self.get(field).or(bound).cloned();
        value.or_else(|| default(field))
    }

    /// Makes a new document.
    pub(crate) fn create(&self, id: &str, binding: Binding, now: DateTime) -> Document {
        let binding = if BINDING.iter().any(|field| self.names(field)) {
            binding.owner_only()
        } else {
            binding
        };
        let mut document = bson::doc! {"_id": id};
        for field in FIELDS {
            if let Some(value) = self.stored(field, &binding) {
                document.insert(field, value);
            }
        }
        document.extend(bson::doc! {"revision": 1_i64, "createdAt": now, "updatedAt": now});
        document
    }

    /// Replaces the whole of `current`, and gives it this binding where the request names none; `None` if that changes
    /// nothing. The creation date stays, and so do fields that are not ours: they belong to whoever wrote them.
    pub(crate) fn replace(
        &self,
        current: &RawDocument,
        binding: &Binding,
        now: DateTime,
    ) -> Option<Document> {
        let same =
            |field: &&str| asked(field, self.stored(field, binding)) == effective(current, field);
        if FIELDS.iter().all(same) && KEPT.iter().all(|name| is_sound(current, name)) {
            return None;
        }
        let old = Document::try_from(current).ok()?;
        let mut document = bson::doc! {};
        document.extend(entry(&old, "_id"));
        for field in FIELDS {
            if let Some(value) = self.stored(field, binding) {
                document.insert(field, value);
            }
        }
        document.insert("revision", next_revision(current));
        if is_sound(current, "createdAt") {
            document.extend(entry(&old, "createdAt"));
        }
        document.insert("updatedAt", now);
        let ours = |key: &String| FIELDS.contains(&key.as_str()) || KEPT.contains(&key.as_str());
        document.extend(
            old.into_iter()
                .filter(|(key, _)| key != "_id" && !ours(key)),
        );
        Some(document)
    }

    /// Returns the changes of a merge patch to `current`: fields that it names and that differ, and what binds it in another
    /// way.
    pub(crate) fn patch(&self, current: &RawDocument, binding: &Binding, now: DateTime) -> Changes {
        let (set, unset) = binding.differences(current);
        let mut changes = Changes { set, unset };
        for (field, value) in &self.fields {
            if asked(field, value.clone()) == effective(current, field) {
                continue;
            }
            match value {
                Some(value) => drop(changes.set.insert(*field, value.clone())),
                None => changes.unset.push(field),
            }
        }
        if !changes.is_empty() {
            if !is_sound(current, "createdAt") {
                changes.unset.push("createdAt");
            }
            changes.set.insert("revision", next_revision(current));
            changes.set.insert("updatedAt", now);
        }
        changes
    }
}

fn entry(document: &Document, key: &str) -> Option<(String, Bson)> {
    let value = document.get(key)?;
    Some((key.to_owned(), value.clone()))
}

/// Returns the meaning of a missing field, if that is more than "none".
fn default(field: &str) -> Option<Bson> {
    match field {
        "source" => Some(DEFAULT_SOURCE.into()),
        "metadata" => Some(Document::new().into()),
        "status" => Some("active".into()),
        "durable" => Some(false.into()),
        _ => None,
    }
}

/// Returns the value that a request asks for, as [`effective`] returns it.
fn asked(field: &str, value: Option<Bson>) -> Option<Bson> {
    match value.or_else(|| default(field)) {
        Some(Bson::Document(claims)) if field == CLAIMS => Some(comparable(claims)),
        value => value,
    }
}

/// Returns claims as they are compared: a number is the same whatever its width.
fn comparable(claims: Document) -> Bson {
    let raw = RawDocumentBuf::try_from(&claims);
    let read = raw.map(|raw| Claims::read(&raw)).unwrap_or_default();
    if read.len() == claims.len() {
        read.to_document().into()
    } else {
        claims.into()
    }
}

/// Returns the value of a stored field; missing and null are the default.
fn effective(document: &RawDocument, field: &str) -> Option<Bson> {
    match document.get(field) {
        Ok(Some(RawBsonRef::Document(claims))) if field == CLAIMS => {
            Document::try_from(claims).ok().map(comparable)
        }
        Ok(None | Some(RawBsonRef::Null)) => default(field),
        Ok(Some(value)) => Bson::try_from(value).ok(),
        Err(_) => None,
    }
}

/// Whether a field of [`KEPT`] is of its type or missing. Other programs may write anything.
fn is_sound(document: &RawDocument, name: &str) -> bool {
    match document.get(name) {
        Ok(None | Some(RawBsonRef::Null)) => true,
        Ok(Some(RawBsonRef::DateTime(_))) => name != "revision",
        _ => name == "revision" && revision(document).is_some(),
    }
}

/// Returns one more than the stored revision; a document without one is at its first.
fn next_revision(document: &RawDocument) -> i64 {
    revision(document).unwrap_or(1).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use bson::doc;
    use serde_json::json;

    const NOW: DateTime = DateTime::from_millis(1_000_000);

    fn good(body: Value) -> Input {
        good_at(None, body)
    }

    /// Reads a body whose address has this id.
    fn good_at(id: Option<&str>, body: Value) -> Input {
        let reader = InputReader {
            pointer: "#",
            id,
            fixed: &[],
            partial: true,
            limits: &Limits::default(),
            now: NOW,
        };
        let mut faults = crate::extjson::Faults::default();
        let input = reader.input(body, &mut faults).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        input
    }

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn a_new_document_shows_its_defaults_to_other_programs() {
        assert_eq!(
            good(json!({"filter": {"a": 1}, "owner": null})).create("a", Binding::default(), NOW),
            doc! {"_id": "a", "source": "events", "filter": {"a": 1}, "status": "active",
            "durable": false, "metadata": {}, "revision": 1_i64, "createdAt": NOW, "updatedAt": NOW}
        );
    }

    #[test]
    fn what_writes_keep_may_be_said_again_and_not_changed() {
        let said = |body| good_at(Some("a"), body);
        let bare = raw(&doc! {"_id": "a"});
        let full = raw(&doc! {"_id": "a", "revision": 7.0, "createdAt": NOW, "updatedAt": NOW});
        let time = "1970-01-01T00:16:40Z";
        let as_shown =
            json!({"revision": 7, "createdAt": time, "updatedAt": time, "position": "x"});
        let of_bare = json!({"revision": 1, "createdAt": null, "updatedAt": null, "error": "e"});
        for (body, current, changed) in [
            (&as_shown, &full, &[][..]),
            (&of_bare, &bare, &[]),
            (&of_bare, &full, &["revision", "createdAt", "updatedAt"]),
            (&as_shown, &bare, &["revision", "createdAt", "updatedAt"]),
        ] {
            let input = said(body.clone());
            let found: Vec<_> = input.changed_fields(current).collect();
            assert_eq!(found, changed, "{body}");
        }
    }

    #[test]
    fn a_patch_names_only_what_differs() {
        let current = raw(&doc! {"_id": "a", "filter": {"a": 1}, "name": "n", "status": null});
        for same in [
            json!({}),
            json!({"name": "n", "filter": {"a": 1}}),
            json!({"status": "active", "durable": false, "metadata": {}, "owner": null}),
            json!({"status": null, "source": "events"}),
        ] {
            assert!(
                good(same.clone())
                    .patch(&current, &Binding::default(), NOW)
                    .is_empty(),
                "{same}"
            );
        }
        assert_eq!(
            good(json!({"name": null, "status": "paused", "filter": {"b": 1}})).patch(
                &current,
                &Binding::default(),
                NOW
            ),
            Changes {
                set: doc! {"status": "paused", "filter": {"b": 1}, "revision": 2_i64,
                "updatedAt": NOW},
                unset: vec!["name"],
            }
        );
    }

    #[test]
    fn replacing_keeps_the_creation_and_what_is_not_ours() {
        let old = DateTime::from_millis(5);
        let current = raw(
            &doc! {"_id": "a", "theirs": 1, "name": "n", "status": "paused",
            "revision": 4, "createdAt": old},
        );
        assert_eq!(
            good(json!({"filter": {"a": 1}})).replace(&current, &Binding::default(), NOW),
            Some(
                doc! {"_id": "a", "source": "events", "filter": {"a": 1}, "status": "active",
                "durable": false, "metadata": {}, "revision": 5_i64, "createdAt": old,
                "updatedAt": NOW, "theirs": 1}
            )
        );
        let current = raw(&doc! {"_id": "a", "filter": {"a": 1}, "status": "paused"});
        let same = json!({"filter": {"a": 1}, "status": "paused"});
        assert_eq!(good(same).replace(&current, &Binding::default(), NOW), None);
    }
}
