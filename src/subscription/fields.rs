//! The fields of a stored document, read in one pass.

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{
    DEFAULT_SOURCE,
    id::{UNREACHABLE, is_reachable},
};
use crate::extjson::mend;

/// The fault of a subscription without a filter.
pub const FILTER_MISSING: &str = "is missing; {} matches everything";
/// The values of a document's fields.
#[derive(Default)]
pub(super) struct StoredFields<'d> {
    /// True if `_id` is of a type that ids have.
    has_id: Option<bool>,
    filter: Given<'d>,
    pub(super) has_unknown: bool,
    pub(super) paused: bool,
    pub(super) durable: bool,
    pub(super) expires_at: Option<DateTime>,
    /// The first fault that was found.
    fault: Option<Box<str>>,
}

/// The first value under `filter`.
#[derive(Default)]
enum Given<'d> {
    #[default]
    Nothing,
    Null,
    Filter(&'d RawDocument),
}

impl Given<'_> {
    /// Keeps the first value.
    fn first(&mut self, given: Self) {
        if matches!(self, Self::Nothing) {
            *self = given;
        }
    }
}

impl<'d> StoredFields<'d> {
    /// Reads the fields of a document. Text that is not UTF-8 is no fault: such a document is read from a
    /// copy in `mended`, except its filter.
    pub(super) fn read(document: &'d RawDocument, mended: &'d mut RawDocumentBuf) -> Self {
        let mut fields = if let Ok(fields) = Self::of(document) {
            fields
        } else {
            *mended = mend(document).unwrap_or_default();
            let mut fields = Self::of(mended).unwrap_or_default();
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
        if !matches!(fields.filter, Given::Filter(_)) {
            fields.blame("filter", FILTER_MISSING);
        }
        fields
    }

    /// Returns the filter, or the first fault of the document.
    pub(super) fn filter(&self) -> Result<&'d RawDocument, Box<str>> {
        match (&self.fault, &self.filter) {
            (None, Given::Filter(filter)) => Ok(filter),
            (fault, _) => Err(fault.clone().unwrap_or_default()),
        }
    }

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
            // Of several, a look-up finds the first.
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
                "name" | "status" | "durable" | "source" | "expiresAt" | "owner" | "tenant"
                | "policy" | "claims" | "metadata" | "createdAt" | "updatedAt" | "revision",
                RawBsonRef::Null,
            )
            | ("metadata" | "claims", RawBsonRef::Document(_))
            | ("name" | "owner" | "tenant" | "policy", RawBsonRef::String(_))
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
            ("filter" | "metadata" | "claims", _) => self.blame(key, "must be a document"),
            ("name" | "owner" | "tenant" | "policy", _) => self.blame(key, "must be a string"),
            ("createdAt" | "updatedAt" | "expiresAt", _) => self.blame(key, "must be a date"),
            ("status", _) => self.blame(key, "must be \"active\" or \"paused\""),
            ("source", _) => self.blame(key, "must be \"events\""),
            ("durable", _) => self.blame(key, "must be a boolean"),
            ("revision", _) => self.blame(key, "must be a number"),
            // StoredFields of others are theirs.
            _ => self.has_unknown = true,
        }
    }

    fn blame(&mut self, field: &str, detail: &str) {
        if self.fault.is_none() {
            self.fault = Some(format!("#/{field}: {detail}").into());
        }
    }
}

/// Returns the stored revision, whatever type of number it has.
pub(super) fn revision(document: &RawDocument) -> Option<i64> {
    count(document.get("revision").ok()??)
}

/// Returns the revision that a value is, whatever type of number.
pub(super) fn count(value: RawBsonRef<'_>) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a revision is a count")]
    let count = |number: f64| number as i64;
    match value {
        RawBsonRef::Int32(number) => Some(i64::from(number)),
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Double(number) => Some(count(number)),
        RawBsonRef::Decimal128(number) => number.to_string().parse().map(count).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, RawBson, doc};

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn filter(document: &RawDocument) -> Result<RawDocumentBuf, Box<str>> {
        let mut mended = RawDocumentBuf::new();
        let filter = StoredFields::read(document, &mut mended).filter();
        filter.map(ToOwned::to_owned)
    }

    /// Returns the filter that is compiled.
    fn given(document: &RawDocument) -> Option<RawDocumentBuf> {
        let given = filter(document).ok()?;
        assert_eq!(document.get_document("filter").ok(), Some(&*given));
        Some(given)
    }

    #[test]
    fn an_id_that_no_address_can_have_is_invalid() {
        for id in ["", ".", ".."] {
            let fault = filter(&raw(&doc! {"_id": id, "filter": {}})).unwrap_err();
            assert!(fault.starts_with("#/_id"), "{fault}");
        }
        for id in ["...", ".a", "%2e"] {
            assert!(
                filter(&raw(&doc! {"_id": id, "filter": {}})).is_ok(),
                "{id}"
            );
        }
    }

    #[test]
    fn what_is_compiled_is_the_filter_that_a_look_up_finds() {
        let one = doc! {"_id": "a", "filter": {"x": 1}};
        assert_eq!(given(&raw(&one)), Some(raw(&doc! {"x": 1})));
        for absent in [doc! {"_id": "a"}, doc! {"_id": "a", "filter": null}] {
            assert_eq!(given(&raw(&absent)), None);
        }
        assert_eq!(given(&raw(&doc! {"_id": 5, "filter": {"x": 1}})), None);
        let twice = |first: Bson, second: Bson| {
            let mut document = raw(&doc! {"_id": "a"});
            for filter in [first, second] {
                let filter = RawBson::try_from(filter).unwrap();
                document.append(bson::raw::cstr!("filter"), filter);
            }
            given(&document)
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
            assert_eq!(filter(&document).is_ok(), text);
        }
    }

    #[test]
    fn a_filter_that_is_no_text_is_compiled_as_it_is_stored() {
        let mut bytes = raw(&doc! {"_id": "a", "name": "nX", "filter": {"kX": "vX"}}).into_bytes();
        for byte in &mut bytes {
            if *byte == b'X' {
                *byte = 0xFF;
            }
        }
        let document = RawDocumentBuf::from_bytes(bytes).unwrap();
        assert!(given(&document).is_some());
    }
}
