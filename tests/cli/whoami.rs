//! `whoami` against a real service.

use serde_json::Value;
use tidegate::config::Auth;

use super::{
    process::{Outcome, finish, tidegate},
    support::{Service, admin_key},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_says_who_its_holder_is() {
    let service = Service::start_with(|config| config.auth = Auth::Required).await;
    let admin = admin_key(&service.config);
    let server = format!("http://{}", service.address);
    let whoami = |token: &str, arguments: &[&str]| -> Outcome {
        let mut command = tidegate(&[&["whoami", "--server", &server], arguments].concat());
        finish(command.env("TIDEGATE_TOKEN", token), "")
    };
    let mut command = tidegate(&["key", "create", "--scope", "events:read"]);
    command
        .args(["--scope", "metrics", "--tenant", "acme", "--policy", "p"])
        .args(["--expires-in", "1h", "--server", &server]);
    let made = finish(command.env("TIDEGATE_TOKEN", &admin), "");
    let key = made.stdout.trim();
    let shown = whoami(key, &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let lines: Vec<Vec<&str>> = shown
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let id = lines[1][1];
    assert_eq!(lines[0], ["kind", "key"]);
    assert!(
        id.starts_with("key_") && key.contains(&id[4..]),
        "{shown:?}"
    );
    assert_eq!(lines[2], ["owner", &format!("key:{id}")]);
    assert_eq!(lines[3], ["tenant", "acme"]);
    assert_eq!(lines[4], ["scopes", "events:read", "metrics"]);
    assert_eq!(lines[5], ["policy", "p"]);
    assert_eq!((lines[6][0], lines.len()), ("expiresAt", 7));
    // An operator has no tenant, and this one no end.
    let shown = whoami(&admin, &[]);
    let names: Vec<_> = shown
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["kind", "id", "owner", "scopes"], "{shown:?}");
    let shown = whoami(key, &["--json"]);
    let json: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&json["id"], &json["tenant"]), (&id.into(), &"acme".into()));
    let refused = whoami("tgk_nobody", &[]);
    assert_eq!(
        (refused.code, &*refused.stdout),
        (Some(1), ""),
        "{refused:?}"
    );
    assert!(!refused.stderr.contains("tgk_"), "{refused:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_for_nothing_says_so() {
    let service = Service::start_open(|_| {}).await;
    let server = format!("http://{}", service.address);
    let shown = finish(&mut tidegate(&["whoami", "--server", &server]), "");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let first = shown.stdout.lines().next().unwrap();
    assert_eq!(
        first.split_whitespace().collect::<Vec<_>>(),
        ["kind", "none"]
    );
    service.stop().await;
}
