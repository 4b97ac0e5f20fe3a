//! `publish` against a real service.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    process::{Outcome, finish, tidegate},
    support::Service,
};

fn publish(service: &Service, arguments: &[&str], input: &str) -> Outcome {
    let mut command = tidegate(&[&["publish"], arguments].concat());
    command.env("TIDEGATE_SERVER", format!("http://{}", service.address));
    finish(&mut command, input)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_stored_as_given() {
    let service = Service::start().await;
    let arguments = [
        "--type",
        "t",
        "--source",
        "/s",
        "--id",
        "1",
        "--subject",
        "x",
        "--time",
        "2030-01-31T12:00:00Z",
        "--data",
        r#"{"amount": 1.5}"#,
    ];
    let first = publish(&service, &arguments, "");
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (Some(0), "1 accepted, 0 duplicates, 0 errors\n")
    );
    let second = publish(&service, &arguments, "");
    assert_eq!(
        (second.code, second.stdout.as_str()),
        (Some(0), "0 accepted, 1 duplicate, 0 errors\n")
    );
    let stored = service.get("/events/1?source=/s").await;
    for (field, value) in [
        ("type", json!("t")),
        ("subject", json!("x")),
        ("time", json!("2030-01-31T12:00:00Z")),
        ("data", json!({"amount": 1.5})),
    ] {
        assert_eq!(stored[field], value, "{stored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_line_is_named_and_the_others_are_stored() {
    let service = Service::start().await;
    let input = "{\"type\":\"t\",\"source\":\"/s\",\"id\":\"1\"}\n\n{\"source\":\"/s\"}\n\
        {\"type\":\"t\",\"source\":\"/s\",\"id\":\"1\"}\n{\"type\":\"t\",\"time\":\"soon\"}\nnope\n\
        {\"type\":\"t\"}\n";
    let outcome = publish(&service, &["-", "--batch", "3"], input);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.stdout, "2 accepted, 1 duplicate, 3 errors\n");
    for line in ["line 3: ", "line 5: ", "line 6: not JSON"] {
        assert!(outcome.stderr.contains(line), "{line}: {}", outcome.stderr);
    }
    assert!(outcome.stderr.contains("#/type"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("#/time"), "{}", outcome.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_published_in_batches_and_a_second_time_adds_nothing() {
    let service = Service::start().await;
    let mut lines = String::new();
    for n in 0..1_234 {
        writeln!(lines, r#"{{"type":"t","source":"/s","id":"{n}"}}"#).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let path = file.path().to_str().unwrap();
    let first = publish(&service, &[path, "--json"], "");
    assert_eq!(
        first.stdout,
        "{\"accepted\":1234,\"duplicates\":0,\"errors\":0}\n"
    );
    let second = publish(&service, &[path, "--json"], "");
    assert_eq!(
        second.stdout,
        "{\"accepted\":0,\"duplicates\":1234,\"errors\":0}\n"
    );
    assert_eq!(publish(&service, &["/no/such/file"], "").code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_event_exits_with_1() {
    let service = Service::start().await;
    let outcome = publish(&service, &["--type", "t", "--time", "soon"], "");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("#/time"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("line"), "{}", outcome.stderr);
}
