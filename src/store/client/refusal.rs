//! The server's refusals in words of our own, which a caller can use. The server's words go to the log.

use bson::{Bson, Document};
use mongodb::error::{Error, ErrorKind, IndexedWriteError, WriteFailure};

use super::driver_error::message;

/// Returns the reason of a refused write: a validator's details if there are any, else that the log has it.
pub(in crate::store) fn refusal(error: &Error) -> String {
    let details = match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.details.clone(),
        // Commands like findAndModify carry them only in the whole answer.
        _ => error
            .server_response()
            .and_then(|response| Document::try_from(response.as_ref()).ok())
            .and_then(|response| response.get_document("errInfo").ok().cloned()),
    };
    details
        .as_ref()
        .and_then(validation)
        .unwrap_or_else(|| refused_silently(error))
}

/// Logs a refusal that we have no words for, and says so.
pub(in crate::store) fn refused_silently(error: &Error) -> String {
    silently(&message(error))
}

fn silently(message: &str) -> String {
    tracing::warn!(message, "the database refused a request");
    "the database does not accept it as it is; the service's log has the reason".to_owned()
}

/// Returns the reason why one document of several was refused.
pub(in crate::store) fn bulk_refusal(error: &IndexedWriteError) -> String {
    error
        .details
        .as_ref()
        .and_then(validation)
        .unwrap_or_else(|| silently(&error.message))
}

/// Reads the `errInfo` of error 121 into one clause for each rule that does not hold.
fn validation(info: &Document) -> Option<String> {
    let mut reasons = Vec::new();
    collect(
        &Bson::Document(info.get_document("details").ok()?.clone()),
        "",
        &mut reasons,
    );
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn collect(value: &Bson, path: &str, reasons: &mut Vec<String>) {
    match value {
        Bson::Array(items) => items.iter().for_each(|item| collect(item, path, reasons)),
        Bson::Document(rule) => {
            let at = match rule.get_str("propertyName") {
                Ok(name) => format!("{path}/{name}"),
                Err(_) => path.to_owned(),
            };
            match reason(rule) {
                Some(reason) => reasons.push(format!("#{at}: {reason}")),
                None => rule.values().for_each(|inner| collect(inner, &at, reasons)),
            }
        }
        _ => {}
    }
}

/// Returns the reason of one failed rule; `None` for a rule that only holds others.
fn reason(rule: &Document) -> Option<String> {
    if let (Ok(stated), Ok(is)) = (
        rule.get_document("specifiedAs"),
        rule.get_str("consideredType"),
    ) {
        let wanted = stated.get("bsonType").or_else(|| stated.get("type"))?;
        return Some(format!("must be {}, is {is}", alternatives(wanted)));
    }
    if rule.get_str("operatorName").ok() == Some("$expr") {
        return Some("the document is larger than this collection allows".to_owned());
    }
    let stated = rule.get_document("specifiedAs").ok()?;
    Some(format!("does not meet a rule of the collection: {stated}"))
}

fn alternatives(types: &Bson) -> String {
    match types {
        Bson::Array(types) => {
            let names: Vec<_> = types.iter().filter_map(Bson::as_str).collect();
            names.join(" or ")
        }
        other => other.as_str().unwrap_or("of another type").to_owned(),
    }
}
