use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::Client;
use tidegate::{
    config::Config,
    mongod::Mongod,
    store::{MigrationState, Sight, StartupError, Store, StoreError},
};

use crate::{config, eventually, other_program, raw, store, support};

const LEASE: Duration = Duration::from_secs(1);

async fn names(store: &Store) -> Vec<String> {
    let status = store.migration_status().await.unwrap();
    status.into_iter().map(|one| one.name).collect()
}

/// Reads everything that a migration makes: options and indexes of every collection.
async fn shape(store: &Store) -> Vec<Document> {
    let database = other_program(store).await;
    let mut collections: Vec<_> = database
        .list_collections()
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    collections.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all = Vec::new();
    for collection in collections {
        let options = bson::serialize_to_document(&collection.options).unwrap();
        let answer = database
            .run_command(doc! {"listIndexes": &collection.name})
            .await
            .unwrap();
        let mut indexes = answer
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .clone();
        indexes.sort_by_key(Bson::to_string);
        all.push(doc! {"name": collection.name, "options": options, "indexes": indexes});
    }
    all
}

#[tokio::test]
async fn a_second_run_applies_nothing_and_changes_nothing() {
    let store = Store::connect(&config().await).await.unwrap();
    let applied = store.migrate().await.unwrap();
    assert_eq!(applied, names(&store).await);
    let before = shape(&store).await;

    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());

    assert_eq!(shape(&store).await, before);
}

#[tokio::test]
async fn each_migration_is_recorded_once_with_its_time() {
    let store = store().await;
    for one in store.migration_status().await.unwrap() {
        let MigrationState::Applied(at) = one.state else {
            panic!("{one:?}");
        };
        assert!(at > DateTime::from_millis(0), "{}", one.name);
    }
    let status = store.migration_status().await.unwrap();
    store.repair().await.unwrap();
    assert_eq!(store.migration_status().await.unwrap(), status);
}

#[tokio::test]
async fn ten_migrators_at_once_apply_each_file_once() {
    let config = config().await;
    let migrators = (0..10).map(|_| async {
        let store = Store::connect(&config).await.unwrap();
        store.migrate().await.unwrap()
    });

    let applied: Vec<String> = join_all(migrators).await.concat();

    let store = Store::connect(&config).await.unwrap();
    assert_eq!(applied, names(&store).await);
    let records = other_program(&store)
        .await
        .collection::<Document>("migrations");
    assert_eq!(records.find_one(doc! {"_id": "lease"}).await.unwrap(), None);
}

#[tokio::test]
async fn ten_nodes_at_once_are_one_deployment() {
    let config = config().await;
    let nodes = (0..10).map(|_| async {
        let store = Store::connect(&config).await.unwrap();
        store.migrate().await.unwrap();
        store.deployment()
    });

    let deployments = join_all(nodes).await;

    assert!(deployments.iter().all(|one| *one == deployments[0]));
    let elsewhere = Config {
        database: support::database_name(),
        ..config
    };
    let other = Store::connect(&elsewhere).await.unwrap().deployment();
    assert_ne!(other, deployments[0]);
}

#[tokio::test]
async fn another_takes_over_when_a_migrator_dies_half_way() {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let mut config = Config {
        mongodb_uri: mongod.uri() + "&appName=dies_half_way",
        ..config().await
    };
    let dying = Store::connect(&config).await.unwrap();
    // The second createIndexes hangs. By then the first file is done, and the second is not.
    let client = Client::with_uri_str(&config.mongodb_uri).await.unwrap();
    let fail_point = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"skip": 1},
        "data": {
            "failCommands": ["createIndexes"],
            "blockConnection": true,
            "blockTimeMS": 3_000,
            "appName": "dies_half_way",
        },
    };
    client
        .database("admin")
        .run_command(fail_point)
        .await
        .unwrap();
    let half_way = tokio::spawn({
        let dying = dying.clone();
        async move { dying.migrate_with_lease(LEASE).await }
    });
    let database = client.database(dying.database_name());
    eventually("half of the work", async || {
        database
            .list_collection_names()
            .await
            .unwrap()
            .contains(&"events".to_owned())
    })
    .await;
    half_way.abort();
    assert!(half_way.await.unwrap_err().is_cancelled());

    config.mongodb_uri = mongod.uri();
    let other = Store::connect(&config).await.unwrap();
    let applied = other.migrate_with_lease(LEASE).await.unwrap();

    assert_eq!(applied, names(&other).await[1..]);
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_work_takes_longer_than_it() {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let mut config = Config {
        mongodb_uri: mongod.uri() + "&appName=works_slowly",
        ..config().await
    };
    let slow = Store::connect(&config).await.unwrap();
    let client = Client::with_uri_str(&config.mongodb_uri).await.unwrap();
    let fail_point = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"times": 1},
        "data": {
            "failCommands": ["createIndexes"],
            "blockConnection": true,
            "blockTimeMS": 3_000,
            "appName": "works_slowly",
        },
    };
    client
        .database("admin")
        .run_command(fail_point)
        .await
        .unwrap();

    config.mongodb_uri = mongod.uri();
    let waiting = Store::connect(&config).await.unwrap();
    let (worked, waited) = tokio::join!(slow.migrate_with_lease(LEASE), async {
        let database = client.database(slow.database_name());
        eventually("the work begins", async || {
            let records = database.collection::<Document>("migrations");
            records
                .find_one(doc! {"_id": "lease"})
                .await
                .unwrap()
                .is_some()
        })
        .await;
        waiting.migrate_with_lease(LEASE).await
    });

    assert_eq!(worked.unwrap(), names(&slow).await);
    assert_eq!(waited.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_edited_migration_is_refused_by_name() {
    let store = store().await;
    let records = other_program(&store)
        .await
        .collection::<Document>("migrations");
    let edit = doc! {"$set": {"checksum": "abc"}};
    records
        .update_one(doc! {"_id": "0002_events"}, edit)
        .await
        .unwrap();

    for refused in [
        store.migrate().await.map(drop),
        store.require_migrated().await,
    ] {
        let StoreError::Startup(error) = refused.unwrap_err() else {
            panic!("not a start-up error");
        };
        assert!(
            matches!(&*error, StartupError::EditedMigration { name, recorded, .. }
                if name == "0002_events" && recorded == "abc"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn pending_migrations_are_listed_where_they_may_not_be_applied() {
    let store = Store::connect(&config().await).await.unwrap();

    let error = store.require_migrated().await.unwrap_err().to_string();

    for name in names(&store).await {
        assert!(error.contains(&name), "{error}");
    }
    store.migrate().await.unwrap();
    store.require_migrated().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_used_and_shown() {
    let store = store().await;
    let records = other_program(&store)
        .await
        .collection::<Document>("migrations");
    let newer = doc! {"_id": "9999_newer", "checksum": "abc", "appliedAt": DateTime::now()};
    records.insert_one(newer).await.unwrap();

    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());

    let status = store.migration_status().await.unwrap();
    assert!(matches!(
        status.last().unwrap().state,
        MigrationState::Unknown(_)
    ));
}

#[tokio::test]
async fn a_collection_that_exists_already_is_brought_to_the_same_state() {
    let migrated = shape(&store().await).await;
    let store = Store::connect(&config().await).await.unwrap();
    let database = other_program(&store).await;
    for name in ["subscriptions", "events", "nodes"] {
        database.create_collection(name).await.unwrap();
    }

    store.migrate().await.unwrap();

    assert_eq!(shape(&store).await, migrated);
}

#[tokio::test]
async fn repair_restores_what_was_dropped() {
    let store = store().await;
    let database = other_program(&store).await;
    let before = shape(&store).await;
    let deployment = store.deployment();
    database
        .collection::<Document>("subscriptions")
        .drop()
        .await
        .unwrap();
    database
        .collection::<Document>("subscriptions")
        .insert_one(doc! {})
        .await
        .unwrap();
    database
        .collection::<Document>("migrations")
        .drop()
        .await
        .unwrap();

    let (one, two) = tokio::join!(store.repair(), store.repair());
    one.unwrap();
    two.unwrap();

    assert_eq!(shape(&store).await, before);
    let config = Config {
        database: store.database_name().to_owned(),
        ..config().await
    };
    let restarted = Store::connect(&config).await.unwrap();
    assert_eq!(restarted.deployment(), deployment);
    restarted.require_migrated().await.unwrap();
}

#[tokio::test]
async fn retention_follows_the_setting() {
    let mut config = config().await;
    for seconds in [60, 1_000, 1_000] {
        config.retention = Duration::from_secs(seconds);
        config.audit.retention = Duration::from_secs(seconds + 1);
        let store = Store::connect(&config).await.unwrap();
        store.migrate().await.unwrap();
        let shapes = shape(&store).await;
        for (name, seconds) in [("events", seconds), ("audit", seconds + 1)] {
            let mut named = shapes.iter();
            let collection = named.find(|c| c.get_str("name").unwrap() == name);
            let shown = collection.unwrap().to_string();
            assert!(
                shown.contains(&format!("\"expireAfterSeconds\": {seconds}")),
                "{shown}"
            );
        }
    }
}

#[tokio::test]
async fn repeating_a_repair_keeps_a_changed_retention() {
    let mut config = config().await;
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    config.retention = Duration::from_secs(99);
    let changed = Store::connect(&config).await.unwrap();
    changed.migrate().await.unwrap();
    let before = shape(&changed).await;
    changed.repair().await.unwrap();
    assert_eq!(shape(&changed).await, before);
}

#[tokio::test]
async fn events_leave_when_their_time_is_over_whoever_wrote_them() {
    let config = Config {
        retention: Duration::from_secs(1),
        ..config().await
    };
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    let events = other_program(&store).await.collection::<Document>("events");
    store
        .insert_events(vec![raw(&doc! {"id": "ours"})])
        .await
        .unwrap();
    events.insert_one(doc! {"id": "theirs"}).await.unwrap();

    let (undated, _) = store.undated_events().await.unwrap();
    let now = store.server_time().await.unwrap();
    let commits = store.find_commits(&undated, now).await.unwrap();
    assert_eq!(store.date_events(&commits).await.unwrap(), 1);

    eventually("an empty log", async || {
        events.count_documents(doc! {}).await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn an_expired_subscription_is_deleted_by_the_server() {
    let store = store().await;
    let document = doc! {"_id": "a", "expiresAt": DateTime::from_millis(1)};
    store.insert_subscription(&document, None).await.unwrap();
    eventually("the delete", async || {
        store
            .find_subscription("a", &Sight::EVERYTHING)
            .await
            .unwrap()
            .document
            .is_none()
    })
    .await;
}

/// Counts the waits for the majority on this server.
async fn waits(client: &Client) -> i64 {
    let status = client
        .database("admin")
        .run_command(doc! {"serverStatus": 1})
        .await
        .unwrap();
    let metrics = status.get_document("metrics").unwrap();
    let waits = metrics
        .get_document("getLastError")
        .unwrap()
        .get_document("wtime")
        .unwrap();
    i64::from(waits.get_i32("num").unwrap())
}

/// If the majority lags by a second, each wait adds a second to the start.
#[tokio::test]
async fn all_migrations_together_wait_for_the_majority_a_few_times() {
    // It was 22. A server that has just started waits a few times for itself.
    const FEW: i64 = 12;
    let mongod = Mongod::start(support::options()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        ..Config::default()
    };
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let store = Store::connect(&config).await.unwrap();
    let before = waits(&client).await;
    store.migrate().await.unwrap();
    let waited = waits(&client).await - before;
    assert!((1..=FEW).contains(&waited), "{waited}");
    drop(store);
    mongod.stop().await;
}
