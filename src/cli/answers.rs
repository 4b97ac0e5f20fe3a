//! Parts that several answers of the service have, for people: warnings, and explanations of filters.

use serde_json::Value;

use super::style::{self, BAD, DIM, GOOD, paint};

/// Prints the service's warnings.
pub(crate) fn print_warnings(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        match (warning["pointer"].as_str(), warning["detail"].as_str()) {
            (Some(pointer), Some(detail)) => {
                style::warn(style::printable(&format!("{pointer}: {detail}")));
            }
            (None, Some(detail)) => style::warn(style::printable(detail)),
            _ => style::warn(plain(warning)),
        }
    }
}

/// Writes a value as JSON, and text without its quotes.
pub(crate) fn plain(value: &Value) -> String {
    style::printable(
        &value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

/// Returns whether the event of a dry run matches, in words.
pub(crate) fn verdict(answer: &Value) -> String {
    if answer["matches"] == true {
        paint(GOOD, "matches")
    } else {
        paint(BAD, "does not match")
    }
}

/// Writes an explanation part by part, each below the part it belongs to. `root` is the place of the whole.
pub(crate) fn tree(explanation: &Value, root: &str, depth: usize) -> String {
    let mut text = String::new();
    match explanation["parts"].as_array() {
        // A filter of several conditions has no line of its own: its parts follow the verdict.
        Some(parts) if explanation["pointer"] == root => {
            for part in parts {
                branch(part, root, depth, &mut text);
            }
        }
        _ => branch(explanation, root, depth, &mut text),
    }
    text
}

fn branch(part: &Value, above: &str, depth: usize, text: &mut String) {
    let pointer = part["pointer"].as_str().unwrap_or_default();
    let own = pointer.strip_prefix(above).unwrap_or(pointer);
    line(part, own, depth, text);
    for part in part["parts"].as_array().into_iter().flatten() {
        branch(part, pointer, depth + 1, text);
    }
}

fn line(part: &Value, own: &str, depth: usize, text: &mut String) {
    let mark = match part["holds"].as_bool() {
        Some(true) => paint(GOOD, "✓"),
        _ => paint(BAD, "✗"),
    };
    let name = style::printable(&unescaped(own.trim_start_matches('/')));
    let name = if name.is_empty() { "all of" } else { &name };
    let indent = "  ".repeat(depth);
    let seen = seen(part);
    for piece in [&*indent, &mark, " ", name, &seen, "\n"] {
        text.push_str(piece);
    }
}

/// Lists the values that a condition found at its path.
fn seen(part: &Value) -> String {
    let Some(saw) = part["saw"].as_array() else {
        return String::new();
    };
    let more = part["truncated"] == true;
    let mut values: Vec<_> = saw
        .iter()
        .map(|value| style::printable(&value.to_string()))
        .collect();
    if more {
        values.push("…".to_owned());
    }
    let words = match values.as_slice() {
        [] => "saw nothing".to_owned(),
        values => format!("saw {}", values.join(", ")),
    };
    format!("  {}", paint(DIM, words))
}

/// Writes a pointer's tokens as they are in the filter, separated by spaces.
fn unescaped(pointer: &str) -> String {
    let tokens = pointer.split('/');
    let tokens: Vec<_> = tokens
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect();
    tokens.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(answer: &Value, expected: &str) {
        let text = format!(
            "{}\n{}",
            verdict(answer),
            tree(&answer["explain"], "#/filter", 0)
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, expected);
    }

    #[test]
    fn parts_are_indented_below_the_part_they_belong_to() {
        check(
            &json!({"matches": false, "explain": {"pointer": "#/filter", "holds": false, "parts": [
                {"pointer": "#/filter/type", "holds": true, "saw": ["a"]},
                {"pointer": "#/filter/$or", "holds": false, "parts": [
                    {"pointer": "#/filter/$or/0/a~1b/$gt", "holds": false, "saw": [1, 2],
                        "truncated": true},
                    {"pointer": "#/filter/$or/1/at", "holds": false, "saw": []},
                ]},
            ]}}),
            "does not match\n\
             ✓ type  saw \"a\"\n\
             ✗ $or\n  \
               ✗ 0 a/b $gt  saw 1, 2, …\n  \
               ✗ 1 at  saw nothing\n",
        );
    }

    #[test]
    fn a_single_condition_is_one_line() {
        check(
            &json!({"matches": true, "explain":
                {"pointer": "#/filter/type", "holds": true, "saw": ["a"]}}),
            "matches\n✓ type  saw \"a\"\n",
        );
    }
}
