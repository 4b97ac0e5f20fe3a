//! `tidegate subscription explain`: whether a subscription matches an event, and why.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{
    failure::Failure,
    json_argument,
    server::{ServerArgs, call, path_id},
    style::{self, BAD, DIM, GOOD, paint},
};

/// One event against one subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// The event as it would be stored: a JSON object, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    event: String,
    /// Print the service's answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription explain large --event '{\"type\": \"transfer\", \"data\": {\"amount\": 5}}'
  tidegate subscription explain large --event @event.json --json | jq .matches";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let event = json_argument::parse_object("--event", &args.event)?;
    let client = args.server.client()?;
    let request = client.request(Method::POST, &["subscriptions", &args.id, "match"]);
    let request = request.json(&json!({"event": event}));
    let answer = call(&client, request).await?.body;
    if args.json {
        return style::print_json(answer);
    }
    if answer["status"] == "paused" {
        style::warn("the subscription is paused: nothing is delivered now");
    }
    style::print(tree(&answer).trim_end())
}

/// Writes the verdict, then the filter part by part, each below the part it belongs to.
fn tree(answer: &Value) -> String {
    let verdict = if answer["matches"] == true {
        paint(GOOD, "matches")
    } else {
        paint(BAD, "does not match")
    };
    let mut text = format!("{verdict}\n");
    branch(&answer["explain"], "#/filter", 0, &mut text);
    text
}

fn branch(part: &Value, above: &str, depth: usize, text: &mut String) {
    let pointer = part["pointer"].as_str().unwrap_or_default();
    let own = pointer.strip_prefix(above).unwrap_or(pointer);
    // A filter of several conditions has no line of its own: its parts follow the verdict.
    let depth = if own.is_empty() && depth == 0 && part["parts"].is_array() {
        depth
    } else {
        line(part, own, depth, text);
        depth + 1
    };
    for part in part["parts"].as_array().into_iter().flatten() {
        branch(part, pointer, depth, text);
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

    fn check(answer: &Value, expected: &str) {
        let plain = anstream::adapter::strip_str(&tree(answer)).to_string();
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
