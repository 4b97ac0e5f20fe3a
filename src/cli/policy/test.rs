//! `tidegate policy test`: whether a caller would receive an event, and why.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{
    answers::{plain, tree, verdict},
    failure::Failure,
    json_argument,
    server::{ServerArgs, call, path_id},
    style::{self, STRONG, paint},
};

/// A caller, and an event that it may get.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the policy
    #[arg(value_parser = path_id)]
    name: String,
    /// The claims of the caller, with its tenant: a JSON object, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    claims: String,
    /// The event as it would be stored: a JSON object, @FILE, or -
    #[arg(long, value_name = "JSON")]
    event: String,
    /// The filter of the caller's subscription: a JSON object, @FILE, or -
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// The source of live queries whose entry judges
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print the service's answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy test default --claims '{\"tenant\": \"acme\"}' \\
      --event '{\"type\": \"order.placed\", \"tenant\": \"acme\"}'
  tidegate policy test default --claims @claims.json --event @event.json --json | jq .matches";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut body = json!({
        "claims": json_argument::parse_object("--claims", &args.claims)?,
        "event": json_argument::parse_object("--event", &args.event)?,
    });
    if let Some(filter) = &args.filter {
        body["filter"] = json_argument::parse_object("--filter", filter)?;
    }
    if let Some(source) = &args.source {
        body["source"] = source.as_str().into();
    }
    let client = args.server.client()?;
    let request = client.request(Method::POST, &["policies", &args.name, "match"]);
    let answer = call(&client, request.json(&body)).await?.body;
    if args.json {
        return style::print_json(answer);
    }
    style::print(shown(&answer).trim_end())
}

/// Writes the verdict, then the policy and the filter part by part.
fn shown(answer: &Value) -> String {
    let mut text = format!("{}\n", verdict(answer));
    if let Some(reason) = reason(answer) {
        text.push_str(&reason);
        return text;
    }
    let policy = &answer["policy"]["explain"];
    for (name, explanation, root) in [
        ("policy", policy, "#/query"),
        ("filter", &answer["explain"], "#/filter"),
    ] {
        if explanation.is_object() {
            text.push_str(&paint(STRONG, name));
            text.push('\n');
            text.push_str(&tree(explanation, root, 1));
        }
    }
    text
}

/// Returns the reason why nothing matches, whatever the event.
fn reason(answer: &Value) -> Option<String> {
    let unsatisfied = &answer["unsatisfied"];
    if unsatisfied["claim"].is_string() {
        let claim = plain(&unsatisfied["claim"]);
        return Some(format!(
            "the policy needs the claim {claim}, which is missing or cannot be used there"
        ));
    }
    if unsatisfied["source"].is_string() {
        let source = plain(&unsatisfied["source"]);
        return Some(format!("the policy has no entry for the source {source}"));
    }
    let error = answer["error"].as_object()?;
    Some(format!(
        "the policy cannot be used: {} {}",
        plain(&error["pointer"]),
        plain(&error["detail"])
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &Value, expected: &str) {
        let plain = anstream::adapter::strip_str(&shown(answer)).to_string();
        assert_eq!(plain, expected);
    }

    #[test]
    fn the_policy_and_the_filter_are_told_apart() {
        check(
            &json!({"matches": false, "policy": {"holds": true, "explain":
                {"pointer": "#/query/tenant", "holds": true, "saw": ["acme"]}},
                "explain": {"pointer": "#/filter/type", "holds": false, "saw": []}}),
            "does not match\npolicy\n  ✓ tenant  saw \"acme\"\nfilter\n  ✗ type  saw nothing\n",
        );
    }

    #[test]
    fn where_nothing_matches_the_reason_is_said() {
        check(
            &json!({"matches": false, "unsatisfied": {"claim": "region"}}),
            "does not match\nthe policy needs the claim region, which is missing or cannot be used there",
        );
        check(
            &json!({"matches": false, "error": {"pointer": "#/read", "detail": "is missing"}}),
            "does not match\nthe policy cannot be used: #/read is missing",
        );
    }
}
