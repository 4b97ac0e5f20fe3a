//! A subscription as it is shown to clients.

use bson::{RawBsonRef, RawDocument};
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::{Subscription, fields::count, input::BINDING, is_known};
use crate::extjson::{plain_text, read_or_mend, time_text, write_string, write_value};

/// The warning about a field that nothing here reads.
const UNKNOWN_FIELD: &str = "is not a field of subscriptions and has no effect";

impl Subscription {
    /// Shows the subscription as JSON.
    pub fn to_json(&self) -> String {
        self.to_json_with(&[])
    }

    /// Shows what a client brought as JSON: it has no id.
    pub fn to_json_without_id(&self) -> String {
        self.shown(&[], false)
    }

    /// Shows the subscription as JSON, with warnings about its filter beside those about the document.
    pub fn to_json_with(&self, of_filter: &[String]) -> String {
        self.shown(of_filter, true)
    }

    fn shown(&self, of_filter: &[String], has_id: bool) -> String {
        let mut out = String::with_capacity(self.document.as_bytes().len() * 2);
        let shown = ShownFields::of(&self.document).ok();
        let shown = shown.as_ref();
        out.push_str(r#"{"id":"#);
        if has_id {
            let id = self.field(shown, "_id").ok().flatten().map(plain_text);
            write_string(&id.and_then(Result::ok).unwrap_or_default(), &mut out);
        } else {
            out.push_str("null");
        }
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
        for field in BINDING {
            if !matches!(self.field(shown, field), Ok(None | Some(RawBsonRef::Null))) {
                self.write_field(shown, field, "null", &mut out);
            }
        }
        self.write_field(shown, "metadata", "{}", &mut out);
        self.write_field(shown, "expiresAt", "null", &mut out);
        match self.field(shown, "revision").ok().flatten().and_then(count) {
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

    /// Returns the value of a field that is shown.
    fn field<'d>(
        &'d self,
        shown: Option<&ShownFields<'d>>,
        name: &str,
    ) -> Result<Option<RawBsonRef<'d>>, bson::error::Error> {
        match shown {
            Some(shown) => Ok(shown.get(name)),
            // The document holds text that is not UTF-8.
            None => self.document.get(name),
        }
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
    fn write_field(
        &self,
        shown: Option<&ShownFields<'_>>,
        name: &str,
        absent: &str,
        out: &mut String,
    ) {
        out.push(',');
        write_string(name, out);
        out.push(':');
        let start = out.len();
        let written = shown.map(|shown| write_shown(shown.get(name), out));
        let is_written = if let Some(Ok(is_written)) = written {
            is_written
        } else {
            // The document holds text that is not UTF-8.
            let mended = read_or_mend(&self.document, |document| {
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

/// The fields to show, found in one pass instead of one a field: every connection shows its subscription. If several
/// fields have one name, the first.
#[derive(Default)]
struct ShownFields<'d>(SmallVec<[(&'d str, RawBsonRef<'d>); 16]>);

impl<'d> ShownFields<'d> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        filter::Limits,
        subscription::{CompiledSubscription, UNKNOWN_FIELDS_NAMED, UNKNOWN_NAME_CHARS},
    };
    use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};

    fn read(document: &Document) -> Subscription {
        let document = RawDocumentBuf::try_from(document).unwrap();
        CompiledSubscription::compile(document, &Limits::default()).subscription
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
        assert_eq!(named.len(), UNKNOWN_FIELDS_NAMED);
        assert_eq!(named[0].len(), UNKNOWN_NAME_CHARS);
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
        let subscription = Subscription::with_compiled_filter(document);
        assert_eq!(subscription.fault, None);
        let shown = shown(&subscription);
        assert_eq!(shown["name"], "n\u{FFFD}");
        assert_eq!(shown["filter"], json!({"k\u{FFFD}": "v\u{FFFD}"}));
        assert_eq!(shown["metadata"], json!({"m\u{FFFD}": ["\u{FFFD}"]}));
    }

    #[test]
    fn each_wrong_field_makes_it_invalid_and_says_which() {
        for (document, pointer) in [
            (doc! {"_id": 5}, "#/_id"),
            (doc! {"_id": "a"}, "#/filter"),
            (doc! {"_id": "a", "filer": {}}, "#/filter"),
            (doc! {"_id": "a", "filter": null}, "#/filter"),
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
}
