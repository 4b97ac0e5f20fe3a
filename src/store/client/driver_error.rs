//! The driver's errors: the server's code, and its words without values.

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// Returns the code that the server gave. For a bulk write it is that of the write concern: the items
/// have their own.
pub(crate) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => many.write_concern_error.as_ref().map(|c| c.code),
        _ => None,
    }
}

/// Returns the server's words, without the driver's wrapping and without the values of a command.
pub(in crate::store) fn message(error: &Error) -> String {
    let words = match error.kind.as_ref() {
        ErrorKind::Command(command) => &command.message,
        ErrorKind::Write(WriteFailure::WriteError(write)) => &write.message,
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => &concern.message,
        ErrorKind::Authentication { message, .. } => message,
        ErrorKind::InsertMany(many) => match &many.write_concern_error {
            Some(concern) => &concern.message,
            None => return "not all documents were inserted".to_owned(),
        },
        kind => return kind.to_string(),
    };
    without_values(words)
}

/// Cuts a command in the server's words down to its name and its collection. The server repeats a command
/// that it refuses, with documents, secrets and the session's id.
fn without_values(words: &str) -> String {
    let Some((before, command)) = words.split_once('{') else {
        return words.to_owned();
    };
    let before = before.trim_end();
    if !before.ends_with("command") && !command.contains("lsid: {") {
        return words.to_owned();
    }
    let (name, value) = command.split_once(':').unwrap_or((command, ""));
    let name = name.trim();
    let collection = value.trim_start().strip_prefix('"');
    match collection.and_then(|rest| rest.split_once('"')) {
        Some((collection, _)) => format!("{before} {name} on {collection}"),
        None => format!("{before} {name}"),
    }
}

/// Writes the error in one line. The driver's own text lists labels, and all that it knows of every server.
pub(crate) fn brief(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::ConnectionPoolCleared { message, .. } => message.clone(),
        ErrorKind::ServerSelection { message, .. } => {
            let words = message.split(" Topology:").next();
            words.unwrap_or(message).to_owned()
        }
        _ => match code(error) {
            Some(code) => format!("{} (code {code})", message(error)),
            None => message(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_repeats_what_a_command_held() {
        for (words, told) in [
            (
                "not authorized on shop to execute command { collMod: \"events\", index: { a: 1 }, \
                 lsid: { id: UUID(\"1\") }, $db: \"shop\" }",
                "not authorized on shop to execute command collMod on events",
            ),
            (
                "not authorized on shop to execute command { listCollections: 1, lsid: { id: 1 } }",
                "not authorized on shop to execute command listCollections",
            ),
            (
                "something failed: { update: \"events\", updates: [ 5 ], lsid: { id: 1 } }",
                "something failed: update on events",
            ),
            ("no such { thing }", "no such { thing }"),
        ] {
            assert_eq!(without_values(words), told);
        }
    }
}
