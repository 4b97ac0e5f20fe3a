//! Conditions on fields that an event shows but its document may lack: a filter sees the document alone.

use std::collections::BTreeMap;

use bson::{RawBsonRef, RawDocument};

use super::{CURSOR_EXTENSION, DEFAULT_TYPE};

/// Operators that match documents without the field.
const NEGATIONS: [&str; 3] = ["$ne", "$nin", "$not"];
/// Operators that compare with a value.
const ORDERS: [&str; 5] = ["$gt", "$gte", "$lt", "$lte", "$regex"];

/// Explains, for each field on which a condition may never hold, why.
pub(crate) fn unstored(filter: &RawDocument) -> Vec<String> {
    let mut found = BTreeMap::new();
    walk(filter, &mut found);
    found
        .into_iter()
        .map(|(field, why)| format!("On \"{field}\": {why}"))
        .collect()
}

fn walk(filter: &RawDocument, found: &mut BTreeMap<String, &'static str>) {
    for (key, value) in filter.iter().flatten() {
        match (key.as_str(), value) {
            ("$and" | "$or", RawBsonRef::Array(branches)) => {
                for branch in branches.into_iter().flatten() {
                    if let RawBsonRef::Document(branch) = branch {
                        walk(branch, found);
                    }
                }
            }
            (path, _) if path.starts_with('$') => {}
            (path, value) => {
                let field = path.split('.').next().unwrap_or(path);
                let told = conditions(value)
                    .find_map(|(operator, operand)| reason(field, operator, operand));
                if let Some(why) = told {
                    found.insert(field.to_owned(), why);
                }
            }
        }
    }
}

/// Iterates over the operators at a field with their operands, and over the values of a list one by one.
fn conditions(value: RawBsonRef<'_>) -> Box<dyn Iterator<Item = (&str, RawBsonRef<'_>)> + '_> {
    match value {
        RawBsonRef::Document(operators) if is_operators(operators) => {
            let each = operators.iter().flatten().flat_map(|(key, value)| {
                let operator = key.as_str();
                match (operator, value) {
                    ("$in" | "$all", RawBsonRef::Array(values)) => {
                        let each = values.into_iter().flatten();
                        Box::new(each.map(|value| ("$eq", value)))
                            as Box<dyn Iterator<Item = (&str, RawBsonRef<'_>)>>
                    }
                    _ => Box::new(std::iter::once((operator, value))),
                }
            });
            Box::new(each)
        }
        value => Box::new(std::iter::once(("$eq", value))),
    }
}

fn is_operators(document: &RawDocument) -> bool {
    let first = document.iter().flatten().next();
    first.is_some_and(|(key, _)| key.as_str().starts_with('$'))
}

fn reason(field: &str, operator: &str, operand: RawBsonRef<'_>) -> Option<&'static str> {
    let absent = operator == "$exists" && operand == RawBsonRef::Boolean(false)
        || operator == "$eq" && operand == RawBsonRef::Null;
    if NEGATIONS.contains(&operator) || absent {
        return None;
    }
    let equal = operator == "$eq";
    let text = operand.as_str();
    match field {
        "specversion" | CURSOR_EXTENSION => Some(
            "this field is shown but not stored: only documents into which a program wrote it match.",
        ),
        "data_base64" => Some(
            "binary data is shown under this name but stored under \"data\": only documents into which a program wrote \
             this field match.",
        ),
        "type" if equal && text == Some(DEFAULT_TYPE) => Some(
            "this type is shown for a document without one: only documents that store it match.",
        ),
        "source" if equal && text.is_some_and(is_default_source) => Some(
            "such a source is shown for a document without one: only documents that store it match.",
        ),
        "id" if equal && text.is_some_and(is_object_id) => Some(
            "such an id may come from \"_id\" of a document without an id: only documents that store it as text match.",
        ),
        "time" if equal || ORDERS.contains(&operator) => {
            let is_text = matches!(
                operand,
                RawBsonRef::String(_) | RawBsonRef::RegularExpression(_)
            );
            is_text.then_some(
                "the time is shown as text but stored as a date: compare it with {\"$date\": \"…\"}.",
            )
        }
        _ => None,
    }
}

/// Whether a text looks like a [`default_source`](super::default_source).
fn is_default_source(text: &str) -> bool {
    let name = text
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix("/events"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, RawDocumentBuf, doc};

    fn fields(filter: &Document) -> Vec<String> {
        let raw = RawDocumentBuf::try_from(filter).unwrap();
        let told = unstored(&raw);
        let name = |told: &String| told.split('"').nth(1).unwrap().to_owned();
        told.iter().map(name).collect()
    }

    #[test]
    fn conditions_on_what_is_shown_and_not_stored_are_told() {
        for (filter, expected) in [
            (doc! {"specversion": "1.0"}, "specversion"),
            (doc! {"specversion": {"$exists": true}}, "specversion"),
            (doc! {"tidegatecursor": {"$gt": "0"}}, "tidegatecursor"),
            (doc! {"data_base64": {"$regex": "^A"}}, "data_base64"),
            (doc! {"type": "tidegate.event"}, "type"),
            (doc! {"type": {"$in": ["a", "tidegate.event"]}}, "type"),
            (doc! {"source": {"$eq": "/shop/events"}}, "source"),
            (doc! {"id": "65a000000000000000000001"}, "id"),
            (doc! {"time": "2026-01-01T00:00:00Z"}, "time"),
            (doc! {"time": {"$gte": "2026-01-01"}}, "time"),
            (doc! {"time": {"$regex": "^2026"}}, "time"),
            (doc! {"$or": [{"a": 1}, {"$and": [{"time": "x"}]}]}, "time"),
        ] {
            assert_eq!(fields(&filter), [expected], "{filter}");
        }
        let two = doc! {"specversion": "1.0", "time": "x", "type": "t"};
        assert_eq!(fields(&two), ["specversion", "time"]);
    }

    #[test]
    fn what_may_well_match_is_not_told() {
        for filter in [
            doc! {},
            doc! {"type": "order", "source": "/shop", "id": "7", "subject": "s"},
            doc! {"source": "/a/b/events"},
            doc! {"time": {"$gt": bson::DateTime::from_millis(0)}},
            doc! {"time": {"$exists": true}},
            doc! {"specversion": {"$ne": "1.0"}},
            doc! {"specversion": {"$exists": false}},
            doc! {"specversion": bson::Bson::Null},
            doc! {"type": {"$not": {"$eq": "tidegate.event"}}},
            doc! {"$nor": [{"specversion": "1.0"}]},
            doc! {"data": {"specversion": "1.0"}, "data.time": "noon"},
            doc! {"datacontenttype": "application/json"},
        ] {
            assert_eq!(fields(&filter), [""; 0], "{filter}");
        }
    }
}
