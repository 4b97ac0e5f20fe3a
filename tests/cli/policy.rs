//! `policy …` against a real service that asks for keys.

use std::fs;

use serde_json::{Value, json};
use tidegate::config::Auth;

use super::{
    process::{Outcome, finish, tidegate},
    support::Service,
};

/// Starts a service, and makes an operator's key on its database.
async fn start() -> (Service, String) {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let mut create = tidegate(&["key", "create", "--scope", "admin"]);
    create
        .env("TIDEGATE_MONGODB_URI", &service.config.mongodb_uri)
        .env("TIDEGATE_DATABASE", &service.config.database);
    let made = finish(&mut create, "");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    (service, made.stdout.trim().to_owned())
}

/// Runs `tidegate policy …` on a service, with `input` at standard input.
fn policy(service: &Service, key: &str, arguments: &[&str], input: &str) -> Outcome {
    let mut command = tidegate(&[&["policy"], arguments].concat());
    command
        .env("TIDEGATE_SERVER", format!("http://{}", service.address))
        .env("TIDEGATE_TOKEN", key);
    finish(&mut command, input)
}

const OF_TENANT: &str = r#"{"read": {"tenant": "$claims.tenant"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_stored_shown_listed_and_deleted() {
    let (service, key) = start().await;
    let run = |arguments: &[&str], input: &str| policy(&service, &key, arguments, input);
    let none = run(&["list"], "");
    assert_eq!((none.code, &*none.stdout), (Some(0), ""), "{}", none.stderr);
    assert!(none.stderr.contains("no policies"), "{}", none.stderr);

    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), OF_TENANT).unwrap();
    let path = file.path().to_str().unwrap();
    for said in ["created default", "replaced default"] {
        let stored = run(&["set", "default", path], "");
        assert_eq!(stored.code, Some(0), "{}", stored.stderr);
        assert_eq!(stored.stderr.trim(), said);
        assert_eq!(stored.stdout, "");
    }
    let open = run(&["set", "open", "-"], r#"{"read": {}}"#);
    assert_eq!(open.code, Some(0), "{}", open.stderr);
    assert!(
        open.stderr.contains("warning: #/read: It asks for nothing"),
        "{}",
        open.stderr
    );
    let json = run(&["set", "open", "-", "--json"], r#"{"read": {}}"#);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["warnings"][0]["pointer"], "#/read");

    // What is shown can be stored again.
    let shown = run(&["get", "default"], "");
    let expected: Value = serde_json::from_str(OF_TENANT).unwrap();
    let document: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(document, expected, "{}", shown.stderr);
    assert_eq!(run(&["set", "copy", "-"], &shown.stdout).code, Some(0));
    let whole = run(&["get", "copy", "--json"], "");
    let whole: Value = serde_json::from_str(&whole.stdout).unwrap();
    let read = &expected["read"];
    assert_eq!(whole, json!({"id": "copy", "read": read, "warnings": []}));

    let listed = run(&["list"], "").stdout;
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("copy  sound"), "{listed}");
    assert!(lines[2].starts_with("open  1 warning"), "{listed}");
    assert_eq!(lines.len(), 3, "{listed}");
    let lines = run(&["list", "--json"], "").stdout;
    let ids = lines.lines().map(|line| {
        let policy: Value = serde_json::from_str(line).unwrap();
        policy["id"].as_str().unwrap().to_owned()
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["copy", "default", "open"]);

    let deleted = run(&["delete", "open", "none", "copy"], "");
    assert_eq!(deleted.code, Some(1), "{}", deleted.stderr);
    for said in ["deleted open", "none: there is no policy", "deleted copy"] {
        assert!(deleted.stderr.contains(said), "{said}: {}", deleted.stderr);
    }
    let gone = run(&["get", "open"], "");
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_of_no_use_is_refused_with_its_place() {
    let (service, key) = start().await;
    for (input, code, said) in [
        (r#"{"read": {"a": {"$all": [1]}}}"#, 1, "#/read/a/$all"),
        ("{read: {}}", 2, "double quotes"),
        ("[]", 2, "must be a JSON object"),
    ] {
        let refused = policy(&service, &key, &["set", "p", "-"], input);
        assert_eq!(refused.code, Some(code), "{}", refused.stderr);
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let missing = policy(&service, &key, &["set", "p", "/no/file"], "");
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);
    let bare = policy(&service, "", &["list"], "");
    assert_eq!(bare.code, Some(1), "{}", bare.stderr);
    assert!(bare.stderr.contains("401"), "{}", bare.stderr);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tried_before_anybody_is_under_it() {
    let (service, key) = start().await;
    let run = |arguments: &[&str]| policy(&service, &key, arguments, "");
    assert_eq!(
        policy(&service, &key, &["set", "default", "-"], OF_TENANT).code,
        Some(0)
    );
    let test = |claims: &str, event: &str, more: &[&str]| {
        let arguments = ["test", "default", "--claims", claims, "--event", event];
        let outcome = run(&[&arguments[..], more].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    };
    let acme = r#"{"tenant": "acme"}"#;
    let said = test(acme, acme, &[]);
    assert!(said.starts_with("matches\npolicy\n"), "{said}");
    assert!(said.contains(r#"tenant $eq  saw "acme""#), "{said}");
    let said = test(acme, acme, &["--filter", r#"{"type": "a"}"#]);
    assert!(said.starts_with("does not match\n"), "{said}");
    assert!(said.contains("filter\n  ✗ type  saw nothing"), "{said}");
    let said = test("{}", acme, &[]);
    assert!(said.contains("needs the claim tenant"), "{said}");
    let said = test(acme, acme, &["--source", "orders"]);
    assert!(said.contains("no entry for the source orders"), "{said}");
    let said = test(acme, "{}", &["--json"]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["policy"]["holds"], false);
    service.stop().await;
}
