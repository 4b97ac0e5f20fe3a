//! `migrate` on a real database.

use serde_json::Value;

use super::{
    process::{Outcome, finish, tidegate},
    support::{database_name, shared_mongod},
};

fn migrate(uri: &str, database: &str, arguments: &[&str]) -> Outcome {
    let mut command = tidegate(&[&["migrate", "--database", database], arguments].concat());
    finish(command.env("TIDEGATE_MONGODB_URI", uri), "")
}

fn states(uri: &str, database: &str) -> Vec<String> {
    let listed = migrate(uri, database, &["--list", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let state = |line: &str| {
        let status: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            status["appliedAt"].is_string(),
            status["state"] == "applied",
            "{status}"
        );
        status["state"].as_str().unwrap().to_owned()
    };
    listed.stdout.lines().map(state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_listed_applied_and_then_done() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let pending = states(&uri, &database);
    assert!(
        !pending.is_empty() && pending.iter().all(|state| state == "pending"),
        "{pending:?}"
    );

    let mut serve = tidegate(&[
        "serve",
        "--no-migrate",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "off",
    ]);
    serve
        .env("TIDEGATE_MONGODB_URI", &uri)
        .env("TIDEGATE_DATABASE", &database);
    let refused = finish(&mut serve, "");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("tidegate migrate"),
        "{}",
        refused.stderr
    );

    let applied = migrate(&uri, &database, &[]);
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    assert_eq!(
        applied.stdout.lines().count(),
        pending.len(),
        "{}",
        applied.stdout
    );
    assert!(
        states(&uri, &database)
            .iter()
            .all(|state| state == "applied")
    );
    let again = migrate(&uri, &database, &[]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}
