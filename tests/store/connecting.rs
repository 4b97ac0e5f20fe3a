use std::time::{Duration, Instant};

use bson::doc;
use mongodb::Client;
use tidegate::{
    config::Config,
    mongod::Mongod,
    store::{Sight, StartupError, Store, StoreError},
};

use crate::{
    config, other_program, store,
    support::{self, Guarded, Plain, free_port},
};

async fn refusal(config: &Config) -> StartupError {
    match Store::connect(config).await {
        Err(StoreError::Startup(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unreachable_server_is_named_without_the_password() {
    let config = Config {
        mongodb_uri: "mongodb://user:secret@127.0.0.1:1/?connectTimeoutMS=100".to_owned(),
        startup_timeout: Duration::from_millis(300),
        ..config().await
    };
    let error = refusal(&config).await;
    assert!(matches!(error, StartupError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1") && !text.contains("secret"),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    assert!(
        text.contains("Connection refused") && !text.contains("Topology"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_string_that_cannot_be_read_is_told_at_once() {
    for uri in [
        "http://x",
        "mongodb://",
        "mongodb://a:99999999/",
        "mongodb://a/?w=x&wtimeoutMS=y",
    ] {
        let config = Config {
            mongodb_uri: uri.to_owned(),
            ..config().await
        };
        let error = refusal(&config).await;
        assert!(
            matches!(error, StartupError::BadUri { .. }),
            "{uri}: {error}"
        );
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_at_once() {
    let port = support::shared_mongod().await.port();
    let config = Config {
        mongodb_uri: format!("mongodb://nobody:secret@127.0.0.1:{port}/"),
        ..config().await
    };
    let error = refusal(&config).await;
    assert!(
        matches!(error, StartupError::WrongCredentials { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn every_call_ends_and_says_that_the_database_is_away() {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let mut config = Config {
        mongodb_uri: mongod.uri(),
        ..config().await
    };
    // It bounds each step of the start too.
    config.limits.database_timeout = Duration::from_secs(5);
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    mongod.stop().await;

    let document = doc! {"_id": "a"};
    let begun = Instant::now();
    let answers = tokio::join!(
        store.ping(),
        store.find_subscription("a", &Sight::EVERYTHING),
        store.insert_subscription(&document, None),
        store.insert_events(vec![crate::raw(&doc! {})]),
        store.migration_status(),
        store.reserve("k", [0; 32]),
    );
    assert!(answers.0.unwrap_err().is_unavailable());
    assert!(answers.1.unwrap_err().is_unavailable());
    assert!(answers.2.unwrap_err().is_unavailable());
    assert!(answers.3.unwrap_err().is_unavailable());
    assert!(answers.4.unwrap_err().is_unavailable());
    assert!(answers.5.unwrap_err().is_unavailable());
    // No bound on speed: it only shows that the driver's own 30 s did not end the calls.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let mut config = config().await;
    config.mongodb_uri += "&appName=no_answer";
    config.limits.database_timeout = Duration::from_millis(300);
    let store = Store::connect(&config).await.unwrap();
    let client = Client::with_uri_str(&config.mongodb_uri).await.unwrap();
    let block = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"times": 1},
        "data": {"failCommands": ["find"], "blockConnection": true, "blockTimeMS": 2_000,
            "appName": "no_answer"},
    };
    client.database("admin").run_command(block).await.unwrap();
    let error = store
        .find_subscription("a", &Sight::EVERYTHING)
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    store
        .find_subscription("a", &Sight::EVERYTHING)
        .await
        .unwrap();
}

/// A full oplog may lose its oldest entry at any time, also while that is read.
#[tokio::test]
async fn the_oldest_entry_of_the_oplog_may_go_while_it_is_read() {
    // A server has only one such fail point.
    let mongod = Mongod::start(support::options()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        ..config().await
    };
    let store = Store::connect(&config).await.unwrap();
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let fail = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"times": 3},
        "data": {"failCommands": ["find"], "errorCode": 136},
    };
    client.database("admin").run_command(fail).await.unwrap();
    assert!(store.oplog_begin().await.unwrap().is_some());
}

#[tokio::test]
async fn a_write_that_no_majority_has_is_not_answered_as_done() {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        ..config().await
    };
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    let document = doc! {"_id": "a"};
    store.insert_subscription(&document, None).await.unwrap();
    let read = crate::raw(&document);
    let fail = doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": {
            "failCommands": ["insert", "findAndModify", "delete"],
            "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"},
        },
    };
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    client.database("admin").run_command(fail).await.unwrap();

    let inserted = store.insert_subscription(&doc! {"_id": "b"}, None).await;
    assert!(inserted.unwrap_err().is_unavailable());
    let inserted = store
        .insert_subscriptions(&[&crate::raw(&doc! {"_id": "c"})], None)
        .await;
    assert!(inserted.unwrap_err().is_unavailable());
    let published = store.insert_events(vec![crate::raw(&doc! {})]).await;
    assert!(published.unwrap_err().is_unavailable());
    let updated = store
        .update_subscription(&read, doc! {"name": "n"}, &[], &Sight::EVERYTHING, None)
        .await;
    assert!(updated.unwrap_err().is_unavailable());
    assert!(
        store
            .reserve("k", [0; 32])
            .await
            .unwrap_err()
            .is_unavailable()
    );
    let deleted = store
        .delete_subscription("a", None, &Sight::EVERYTHING, None)
        .await;
    assert!(deleted.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn the_estimate_of_the_servers_clock_is_not_behind_it() {
    let store = store().await;
    let database = other_program(&store).await;
    for _ in 0..20 {
        let hello = database.run_command(doc! {"hello": 1}).await.unwrap();
        let estimate = store.server_time().await.unwrap();
        assert!(estimate >= *hello.get_datetime("localTime").unwrap());
    }
}

#[tokio::test]
async fn a_user_without_rights_is_told_which_to_grant() {
    let guarded = Guarded::start().await;
    let database = config().await.database;
    for (user, roles) in [
        ("reader", vec!["read"]),
        ("writer", vec!["readWrite"]),
        ("owner", vec!["readWrite", "dbAdmin"]),
    ] {
        guarded.create_user(user, &roles, &database).await;
    }
    let config = |user: &str, password: &str| Config {
        mongodb_uri: guarded.uri(user, password),
        database: database.clone(),
        ..Config::default()
    };

    // A user who may only read can take a survey.
    let reader = Store::connect(&config("reader", "p")).await.unwrap();
    reader.survey().await.unwrap();
    let error = reader.migrate().await.unwrap_err();
    let text = error.to_string();
    let StoreError::Startup(error) = error else {
        panic!("{text}");
    };
    assert!(
        matches!(*error, StartupError::MissingRight { .. }),
        "{text}"
    );
    assert!(
        text.contains("readWrite") && text.contains(&database),
        "{text}"
    );
    assert_no_values(&text);
    let error = refusal(&config("reader", "wrong")).await;
    assert!(
        matches!(error, StartupError::WrongCredentials { .. }),
        "{error}"
    );

    // A first migration only needs readWrite; changing existing collections needs more.
    let writer = Store::connect(&config("writer", "p")).await.unwrap();
    writer.migrate().await.unwrap();
    writer.migrate().await.unwrap();
    writer.repair().await.unwrap();
    let mut changed = config("writer", "p");
    changed.retention = Duration::from_hours(1);
    let writer = Store::connect(&changed).await.unwrap();
    for refused in [
        writer.migrate().await.map(drop),
        writer.require_migrated().await,
        writer.repair().await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("dbAdmin"), "{error}");
        assert!(error.contains("collMod on events"), "{error}");
        assert_no_values(&error);
    }
    let owner = Store::connect(&config("owner", "p")).await.unwrap();
    owner.repair().await.unwrap();
}

/// The server repeats a refused command with its values and the session's id.
fn assert_no_values(error: &str) {
    for part in ["lsid", "$db", "UUID", "secret", "expireAfterSeconds:"] {
        assert!(!error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_standalone_server_is_told_from_a_replica_set() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // A server that is still starting is waited for.
    let _server = Plain::start(port, folder.path(), &[]).await;
    for query in ["", "?directConnection=true", "?replicaSet=tidegate"] {
        let config = Config {
            mongodb_uri: format!("mongodb://127.0.0.1:{port}/{query}"),
            ..config().await
        };
        let error = refusal(&config).await;
        assert!(
            matches!(error, StartupError::NotReplicaSet { .. }),
            "{query}: {error}"
        );
    }
}

#[tokio::test]
async fn a_set_that_was_not_initiated_or_has_another_name_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = Plain::start(port, folder.path(), &["--replSet", "tidegate"]).await;
    let config = |uri: String| Config {
        mongodb_uri: uri,
        startup_timeout: Duration::from_secs(5),
        ..Config::default()
    };
    let error = refusal(&config(format!("mongodb://127.0.0.1:{port}/")))
        .await
        .to_string();
    assert!(error.contains("rs.initiate()"), "{error}");
    let other = support::shared_mongod().await.port();
    let error = refusal(&config(format!(
        "mongodb://127.0.0.1:{other}/?replicaSet=x"
    )))
    .await
    .to_string();
    assert!(
        error.contains("asks for replica set x, but the server belongs to tidegate"),
        "{error}"
    );
}
