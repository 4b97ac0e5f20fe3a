//! The JSON of policies: the document, what is perhaps not meant in it, and what makes it unusable.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::{Value, json};

use crate::{
    access::Policy,
    extjson::{write_string, write_value},
    http::edge::{page_cursor, problem::Problem},
};

/// The members of an answer that a document does not have. A field of one of these names is a fault, and `error` says so.
pub(super) const COMPUTED: [&str; 2] = ["warnings", "error"];

/// Shows a stored policy.
pub(super) fn policy(document: &RawDocument) -> Result<String, Problem> {
    let mut text = String::new();
    write(document, &mut text)?;
    Ok(text)
}

/// Shows a page of stored policies. `more` says that another one follows.
pub(super) fn page(documents: &[RawDocumentBuf], more: bool) -> Result<String, Problem> {
    let mut text = String::from(r#"{"items":["#);
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(document, &mut text)?;
    }
    text.push_str(r#"],"nextCursor":"#);
    let next = match documents.last().filter(|_| more) {
        Some(last) => Value::from(page_cursor::encode(&name(last).into())?),
        None => Value::Null,
    };
    text.push_str(&next.to_string());
    text.push('}');
    Ok(text)
}

fn write(document: &RawDocument, text: &mut String) -> Result<(), Problem> {
    text.push_str(r#"{"id":"#);
    write_string(name(document), text);
    for member in document {
        let (field, value) = member?;
        let field = field.as_str();
        if ["_id", "id"].contains(&field) || COMPUTED.contains(&field) {
            continue;
        }
        text.push(',');
        write_string(field, text);
        text.push(':');
        write_value(value, text)?;
    }
    let (warnings, error) = match Policy::read(document) {
        Ok(policy) => (policy.warnings(), None),
        Err(fault) => (Vec::new(), Some(place(&fault.pointer, &fault.reason))),
    };
    let warnings = warnings.iter().map(|one| place(&one.pointer, &one.reason));
    text.push_str(r#","warnings":"#);
    text.push_str(&warnings.collect::<Value>().to_string());
    if let Some(error) = error {
        text.push_str(r#","error":"#);
        text.push_str(&error.to_string());
    }
    text.push('}');
    Ok(())
}

/// Returns a remark on one place of a policy.
pub(super) fn place(pointer: &str, detail: &str) -> Value {
    json!({"pointer": pointer, "detail": detail})
}

fn name(document: &RawDocument) -> &str {
    match document.get("_id") {
        Ok(Some(RawBsonRef::String(name))) => name,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    fn check(document: &Document, expected: &Value) {
        let raw = RawDocumentBuf::try_from(document).unwrap();
        let shown: Value = serde_json::from_str(&policy(&raw).unwrap()).unwrap();
        assert_eq!(&shown, expected);
    }

    #[test]
    fn a_document_of_another_program_is_shown_as_it_is_with_what_is_wrong() {
        check(
            &doc! {"_id": "p", "read": {"tenant": "$claims.tenant"}, "quotas": {"connections": 5_i64}},
            &json!({"id": "p", "read": {"tenant": "$claims.tenant"}, "quotas": {"connections": 5}, "warnings": []}),
        );
        check(
            &doc! {"_id": "p", "read": {"a/b": {"$size": 1}}},
            &json!({"id": "p", "read": {"a/b": {"$size": 1}}, "warnings": [], "error": {
                "pointer": "#/read/a~1b/$size",
                "detail": "needs an array, and paths of a policy refuse arrays"}}),
        );
        check(
            &doc! {"_id": "p", "read": {"a": 1}, "id": "q", "error": 5},
            &json!({"id": "p", "read": {"a": 1}, "warnings": [], "error": {
                "pointer": "#/id", "detail": "is not a field of a policy"}}),
        );
    }
}
