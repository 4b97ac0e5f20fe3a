//! `doctor` on real servers, good and bad.

use std::collections::HashMap;

use bson::{Document, doc};
use mongodb::Client;
use serde_json::Value;

use super::{
    process::{Outcome, finish, tidegate},
    support::{Guarded, Plain, database_name, free_port, shared_mongod},
};

fn doctor(uri: &str, database: &str, arguments: &[&str]) -> Outcome {
    let mut command = tidegate(&[&["doctor", "--database", database], arguments].concat());
    finish(command.env("TIDEGATE_MONGODB_URI", uri), "")
}

/// Runs the command. Returns the exit code, and each finding by its name.
fn findings(uri: &str, database: &str) -> (Option<i32>, HashMap<String, Value>) {
    let outcome = doctor(uri, database, &["--json"]);
    assert_ne!(outcome.code, Some(69), "{}", outcome.stderr);
    let findings = outcome.stdout.lines().map(|line| {
        let finding: Value = serde_json::from_str(line).unwrap();
        let name = finding["check"].as_str().unwrap().to_owned();
        assert_eq!(
            finding["advice"].is_string(),
            finding["verdict"] != "good",
            "{finding}"
        );
        (name, finding)
    });
    (outcome.code, findings.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_serves_has_nothing_to_mend() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let (code, found) = findings(&uri, &database);
    assert_eq!(code, Some(0), "{found:#?}");
    assert_eq!(found["migrations"]["verdict"], "warning");
    let pending = found["migrations"]["found"].as_str().unwrap();
    assert!(pending.contains("0001_subscriptions"), "{pending}");
    for name in ["change stream", "clocks"] {
        assert_eq!(found[name]["verdict"], "good", "{found:#?}");
    }

    let client = Client::with_uri_str(&uri).await.unwrap();
    let names = client.list_database_names().await.unwrap();
    assert!(!names.contains(&database), "to look makes nothing");

    let migrated = finish(
        tidegate(&["migrate", "--database", &database]).env("TIDEGATE_MONGODB_URI", &uri),
        "",
    );
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let (_, found) = findings(&uri, &database);
    assert_eq!(found["migrations"]["verdict"], "good");
    assert_eq!(found["collections"]["verdict"], "good");
    // The advice is printed in full for people.
    let told = doctor(&uri, &database, &[]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(
        told.stderr.contains("nothing that must be fixed"),
        "{}",
        told.stderr
    );
    for words in [
        "MongoDB 6",
        "replica set tidegate, 1 member",
        "reaches back",
        "oplogMinRetentionHours is 0",
        "replSetResizeOplog: 1, minRetentionHours: 72",
    ] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_migrations_are_to_be_mended_where_nobody_applies_them() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let mut command = tidegate(&["doctor", "--database", &database]);
    command.env("TIDEGATE_MONGODB_URI", &uri);
    let outcome = finish(command.env("TIDEGATE_MIGRATE", "false"), "");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("tidegate migrate"),
        "{}",
        outcome.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_one_by_one_with_what_to_grant() {
    let guarded = Guarded::start().await;
    let database = database_name();
    for (user, roles) in [
        ("reader", &["read"][..]),
        ("writer", &["readWrite"]),
        ("owner", &["readWrite", "dbAdmin"]),
    ] {
        guarded.create_user(user, roles, &database).await;
    }
    let (code, found) = findings(&guarded.uri("reader", "p"), &database);
    assert_eq!(
        (code, &found["rights"]["verdict"]),
        (Some(1), &"bad".into())
    );
    let lacking = found["rights"]["found"].as_str().unwrap();
    for right in ["insert on", &format!("{database}.positions"), "collMod on"] {
        assert!(lacking.contains(right), "{right}: {lacking}");
    }
    assert!(!lacking.contains("changeStream"), "{lacking}");
    let advice = found["rights"]["advice"].as_str().unwrap();
    assert!(advice.contains("grantRolesToUser(\"reader\""), "{advice}");
    assert_eq!(found["migrations"]["verdict"], "warning");

    let (code, found) = findings(&guarded.uri("writer", "p"), &database);
    assert_eq!(code, Some(1));
    let lacking = found["rights"]["found"].as_str().unwrap();
    let expected = format!(
        "writer lacks collMod on {database}.subscriptions, {database}.events, {database}.audit"
    );
    assert_eq!(lacking, expected);

    let (code, found) = findings(&guarded.uri("owner", "p"), &database);
    assert_eq!(
        (code, &found["rights"]["verdict"]),
        (Some(0), &"good".into())
    );
    // Whatever these roles may not see is unknown, and the advice names the role that may see it.
    for name in ["oplog", "oplog minimum"] {
        assert_eq!(found[name]["verdict"], "unknown", "{found:#?}");
        let whole = found[name].to_string();
        assert!(whole.contains("clusterMonitor"), "{whole}");
    }

    let (code, found) = findings(&guarded.uri("root", "p"), &database);
    assert_eq!(
        (code, &found["rights"]["verdict"]),
        (Some(0), &"good".into())
    );
    assert_eq!(found["oplog minimum"]["verdict"], "warning");

    // Who else is as good as an operator is told to those who may see the users. Their administrator can always be one.
    let on = |collection: &str, actions: &[&str]| {
        let resource = doc! {"db": &database, "collection": collection};
        doc! {"resource": resource, "actions": actions}
    };
    let privileges = [
        on("events", &["insert"]),
        on("subscriptions", &["find", "insert", "update", "remove"]),
    ];
    let role = doc! {"createRole": "application", "roles": [], "privileges": &privileges[..]};
    guarded.admin().run_command(role).await.unwrap();
    let shop = doc! {"createUser": "shop", "pwd": "p", "roles": ["application"]};
    guarded.admin().run_command(shop).await.unwrap();
    let (_, found) = findings(&guarded.uri("root", "p"), &database);
    assert_eq!(found["writers"]["verdict"], "warning", "{found:#?}");
    let told = found["writers"]["found"].as_str().unwrap();
    let expected =
        "as good as operators: owner@admin (keys policies revocations tickets audit), writer@admin";
    assert!(told.starts_with(expected), "{told}");
    assert!(!told.contains("reader") && !told.contains("shop"), "{told}");
    let (_, found) = findings(&guarded.uri("owner", "p"), &database);
    assert_eq!(found["writers"]["verdict"], "unknown", "{found:#?}");

    let (code, found) = findings(&guarded.anonymous_uri(), &database);
    assert_eq!(
        (code, &found["rights"]["verdict"]),
        (Some(1), &"bad".into())
    );
    let wrong = doctor(&guarded.uri("owner", "wrong"), &database, &[]);
    assert_eq!(wrong.code, Some(69), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("credentials"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_at_all_ends_it_with_69_and_a_bad_setting_with_64() {
    let check = |uri: &str, code: i32, words: &str| {
        let outcome = doctor(uri, "d", &[]);
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    };
    let port = free_port();
    check(
        &format!("mongodb://127.0.0.1:{port}/"),
        69,
        "no usable MongoDB",
    );
    check("mongodb://", 64, "mongodb_uri");
    let folder = tempfile::tempdir().unwrap();
    let _server = Plain::start(port, folder.path(), &[]).await;
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    // The server may still be starting. Each attempt waits for seconds.
    let starting = || doctor(&uri, "d", &[]).stderr.contains("no usable MongoDB");
    assert!((0..20).any(|_| !starting()), "the server does not start");
    check(&uri, 69, "not a member of a replica set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_and_what_is_otherwise_than_it_has_to_be_is_told() {
    let uri = shared_mongod().await.uri();
    let client = Client::with_uri_str(&uri).await.unwrap();
    let theirs = client.database(&database_name());
    let events = theirs.collection::<Document>("events");
    events.insert_one(doc! {"sale": 1}).await.unwrap();
    let (code, found) = findings(&uri, theirs.name());
    assert_eq!(code, Some(1));
    let told = found["collections"]["found"].as_str().unwrap();
    assert!(told.contains("events has documents"), "{told}");
    assert!(told.contains("--adopt events"), "{told}");
    let names = theirs.list_collection_names().await.unwrap();
    assert_eq!(names, ["events"]);

    let ours = client.database(&database_name());
    let mut migrate = tidegate(&["migrate", "--database", ours.name()]);
    let migrated = finish(migrate.env("TIDEGATE_MONGODB_URI", &uri), "");
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let subscriptions = ours.collection::<Document>("subscriptions");
    subscriptions.drop_index("expiresAt").await.unwrap();
    let off = doc! {"collMod": "subscriptions", "validationLevel": "off"};
    ours.run_command(off).await.unwrap();
    let (code, found) = findings(&uri, ours.name());
    assert_eq!(code, Some(1));
    let told = found["collections"]["found"].as_str().unwrap();
    for words in ["another validationLevel", "index expiresAt is missing"] {
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_keys_that_deserve_a_look_are_named() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    let key = |life: &[&str]| {
        let arguments = [
            "key",
            "create",
            "--scope",
            "metrics",
            "--database",
            &database,
        ];
        let mut create = tidegate(&[&arguments[..], life].concat());
        let made = finish(create.env("TIDEGATE_MONGODB_URI", &uri), "");
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    };
    key(&["--expires-in", "1d"]);
    let (code, found) = findings(&uri, &database);
    assert_eq!(code, Some(0), "{found:#?}");
    for (name, words) in [("policies", "there are none"), ("keys", "all 1 expire")] {
        assert_eq!(found[name]["verdict"], "good", "{found:#?}");
        assert_eq!(found[name]["found"], words);
    }

    key(&[]);
    let client = Client::with_uri_str(&uri).await.unwrap();
    let policies = client
        .database(&database)
        .collection::<Document>("policies");
    let sound = doc! {"_id": "default", "read": {"tenant": "$claims.tenant"}};
    let open = doc! {"_id": "open", "read": {}};
    policies.insert_many([sound, open]).await.unwrap();
    let (code, found) = findings(&uri, &database);
    assert_eq!(code, Some(0), "{found:#?}");
    let told = |name: &str| found[name]["found"].as_str().unwrap().to_owned();
    assert_eq!(found["policies"]["verdict"], "warning");
    assert_eq!(told("policies"), "let everything through: open");
    assert_eq!(found["keys"]["verdict"], "warning");
    assert!(
        told("keys").starts_with("1 of 2 never expire: key_"),
        "{found:#?}"
    );

    let broken = doc! {"_id": "odd", "read": {"a": {"$all": [1]}}};
    policies.insert_one(broken).await.unwrap();
    let (code, found) = findings(&uri, &database);
    assert_eq!(
        (code, &found["policies"]["verdict"]),
        (Some(1), &"bad".into())
    );
    let told = found["policies"]["found"].as_str().unwrap();
    assert!(
        told.contains("cannot be used: odd (read.a.$all needs an array"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_open_is_told() {
    let uri = shared_mongod().await.uri();
    let database = database_name();
    for (arguments, verdict, words) in [
        (&[][..], "good", "for this machine alone"),
        (
            &["--listen", "0.0.0.0:0", "--insecure"],
            "warning",
            "may do everything",
        ),
        (
            &["--listen", "0.0.0.0:0", "--insecure", "--auth", "required"],
            "warning",
            "in the clear",
        ),
    ] {
        let outcome = doctor(&uri, &database, &[arguments, &["--json"]].concat());
        let findings = outcome.stdout.lines();
        let mut findings = findings.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let address = findings.find(|found| found["check"] == "address").unwrap();
        assert_eq!(address["verdict"], verdict, "{address}");
        assert!(
            address["found"].as_str().unwrap().contains(words),
            "{address}"
        );
    }
}
