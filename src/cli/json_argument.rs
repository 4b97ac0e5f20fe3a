//! JSON on the command line: as text, as `@file`, or as `-` for standard input.

use std::{fs, io::Read as _};

use serde_json::Value;

use super::failure::Failure;
use crate::extjson;

/// Reads the JSON that `argument` stands for. Errors name `flag`.
pub(crate) fn parse(flag: &str, argument: &str) -> Result<Value, Failure> {
    let text = text(flag, argument)?;
    extjson::parse_json(&text)
        .map_err(|error| Failure::Usage(format!("{flag} is not JSON: {}", hinted(&error))))
}

/// Adds a hint to a parser's reason: MongoDB's shell takes keys and texts without double quotes, and JSON does not.
fn hinted(reason: &str) -> String {
    let quotes = ["key must be a string", "expected value", "expected ident"];
    if quotes.iter().any(|words| reason.contains(words)) {
        format!("{reason} (keys and texts need double quotes)")
    } else {
        reason.to_owned()
    }
}

/// Reads JSON that must be an object.
pub(crate) fn parse_object(flag: &str, text: &str) -> Result<Value, Failure> {
    let value = parse(flag, text)?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::Usage(format!("{flag} must be a JSON object")))
    }
}

fn text(flag: &str, argument: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |name: &str, error| Failure::Failed(format!("{flag}: {name}: {error}"));
    if argument == "-" {
        let mut text = Vec::new();
        match std::io::stdin().read_to_end(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(unreadable("standard input", error)),
        }
    } else if let Some(path) = argument.strip_prefix('@') {
        fs::read(path).map_err(|error| unreadable(path, error))
    } else {
        Ok(argument.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_and_texts_without_double_quotes_are_hinted_at() {
        for (text, hint) in [
            ("{type: 'demo'}", true),
            ("{'type': 'demo'}", true),
            (r#"{"type": 'demo'}"#, true),
            (r#"{"type": null_}"#, false),
            ("{", false),
            (r#"{"a":1,"a":2}"#, false),
        ] {
            let message = parse_object("--filter", text).unwrap_err().to_string();
            assert_eq!(message.contains("double quotes"), hint, "{message}");
        }
    }

    #[test]
    fn text_and_files_are_read_and_faults_name_the_flag() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"a": 1}"#).unwrap();
        let at = format!("@{}", file.path().display());
        assert_eq!(parse_object("--filter", &at).unwrap(), json!({"a": 1}));
        fs::write(file.path(), "\u{feff}{\"a\": 2}\n").unwrap();
        assert_eq!(parse_object("--filter", &at).unwrap(), json!({"a": 2}));
        assert_eq!(parse("--data", "[1]").unwrap(), json!([1]));
        for (text, code) in [
            ("{", 2),
            ("[]", 2),
            (r#"{"a":1,"a":2}"#, 2),
            ("@/no/file", 1),
        ] {
            let failure = parse_object("--filter", text).unwrap_err();
            assert!(failure.to_string().contains("--filter"), "{failure}");
            assert_eq!(failure.exit_code(), code, "{text}");
        }
    }
}
