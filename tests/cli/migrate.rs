//! `migrate` on a real database.

use bson::{DateTime, Document, doc};
use mongodb::{Client, Database};
use serde_json::Value;

use super::{
    process::{Outcome, Running, finish, tidegate},
    support::{Guarded, database_name, shared_mongod},
};

fn migrate(uri: &str, database: &str, arguments: &[&str]) -> Outcome {
    let mut command = tidegate(&[&["migrate", "--database", database], arguments].concat());
    finish(command.env("TIDEGATE_MONGODB_URI", uri), "")
}

fn serve(uri: &str, database: &str, arguments: &[&str]) -> Outcome {
    start("serve", uri, database, arguments)
}

fn start(command: &str, uri: &str, database: &str, arguments: &[&str]) -> Outcome {
    let always = [
        command,
        "--database",
        database,
        "--listen",
        "127.0.0.1:0",
        "--log",
        "off",
    ];
    let mut command = tidegate(&[&always, arguments].concat());
    finish(command.env("TIDEGATE_MONGODB_URI", uri), "")
}

async fn client(uri: &str) -> Client {
    Client::with_uri_str(uri).await.unwrap()
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
async fn a_first_start_mends_nothing() {
    let (uri, database) = (shared_mongod().await.uri(), database_name());
    let mut command = tidegate(&["serve", "--database", &database, "--listen", "127.0.0.1:0"]);
    command
        .args(["--log", "info"])
        .env("TIDEGATE_MONGODB_URI", uri);
    let starting = Running::start(&mut command);
    let told = starting.notes_until("the service is up");
    let said = |words: &str| told.iter().any(|line| line.contains(words));
    assert!(said("applied") && !said("mended"), "{told:#?}");
    let loaded = told
        .iter()
        .find(|line| line.contains("subscriptions are loaded"));
    assert!(
        loaded.is_none_or(|line| !line.contains("Timestamp")),
        "{loaded:?}"
    );
    starting.signal("TERM");
    starting.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_listed_applied_and_then_done() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let pending = states(&uri, &database);
    let names = client(&uri).await.list_database_names().await.unwrap();
    assert!(!names.contains(&database), "to list makes nothing");
    assert!(
        !pending.is_empty() && pending.iter().all(|state| state == "pending"),
        "{pending:?}"
    );

    let refused = serve(&uri, &database, &["--no-migrate"]);
    let names = client(&uri).await.list_database_names().await.unwrap();
    assert!(!names.contains(&database), "a refused start makes nothing");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_refused_by_every_start_and_not_changed() {
    let uri = shared_mongod().await.uri();
    let database = shop(&uri).await;
    let name = database.name();
    for refused in [
        migrate(&uri, name, &[]),
        serve(&uri, name, &[]),
        serve(&uri, name, &["--no-migrate"]),
        start("dev", &uri, name, &[]),
        serve(&uri, name, &["--adopt", "events"]),
        migrate(&uri, name, &["--adopt", "orders"]),
    ] {
        assert_eq!(refused.code, Some(64), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("subscriptions"),
            "{}",
            refused.stderr
        );
    }
    let told = migrate(&uri, name, &[]).stderr;
    for words in [
        "events has documents, subscriptions has documents",
        "--database NAME",
        "--adopt events --adopt subscriptions",
        "`retention`",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    for system in ["admin", "config", "local"] {
        let refused = migrate(&uri, system, &[]);
        assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    }
    let mut names = database.list_collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["events", "subscriptions"]);

    let both = ["--adopt", "events", "--adopt", "subscriptions"];
    let adopted = migrate(&uri, name, &both);
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
    assert!(adopted.stderr.contains("taken over"), "{}", adopted.stderr);
    assert_eq!(migrate(&uri, name, &[]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn adoption_is_a_setting_as_others_are() {
    let uri = shared_mongod().await.uri();
    let database = shop(&uri).await;
    let mut command = tidegate(&["migrate", "--database", database.name()]);
    command.env("TIDEGATE_MONGODB_URI", &uri);
    let adopted = finish(command.env("TIDEGATE_ADOPT", "events,subscriptions"), "");
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_can_list_and_no_refusal_repeats_a_command() {
    let guarded = Guarded::start().await;
    let database = database_name();
    for (user, roles) in [("reader", &["read"][..]), ("writer", &["readWrite"])] {
        guarded.create_user(user, roles, &database).await;
    }
    let (reader, writer) = (guarded.uri("reader", "p"), guarded.uri("writer", "p"));
    let pending = states(&reader, &database);
    assert!(
        pending.iter().all(|state| state == "pending"),
        "{pending:?}"
    );
    let refused = migrate(&reader, &database, &[]);
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("grantRolesToUser"),
        "{}",
        refused.stderr
    );
    assert_eq!(migrate(&writer, &database, &[]).code, Some(0));

    let mut shorter = tidegate(&["migrate", "--database", &database]);
    shorter.env("TIDEGATE_MONGODB_URI", &writer);
    let changed = finish(shorter.env("TIDEGATE_RETENTION", "1h"), "");
    assert_eq!(changed.code, Some(69), "{}", changed.stderr);
    assert!(
        changed.stderr.contains("collMod on events"),
        "{}",
        changed.stderr
    );
    for told in [refused.stderr, changed.stderr] {
        for part in ["lsid", "UUID", "secret", "3600"] {
            assert!(!told.contains(part), "{part}: {told}");
        }
    }
}

/// Makes a database of another program.
async fn shop(uri: &str) -> Database {
    let database = client(uri).await.database(&database_name());
    let customer = doc! {"_id": "customer", "expiresAt": DateTime::from_millis(4_000_000_000_000)};
    let subscriptions = database.collection::<Document>("subscriptions");
    subscriptions.insert_one(customer).await.unwrap();
    let events = database.collection::<Document>("events");
    events.insert_one(doc! {"sale": 1}).await.unwrap();
    database
}
