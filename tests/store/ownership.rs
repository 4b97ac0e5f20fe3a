//! Collections of others are not touched; our own are kept in their desired state.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::{Client, Database};
use tidegate::{
    config::Config,
    mongod::Mongod,
    store::{COLLECTIONS, StartupError, Store, StoreError},
};

use crate::{config, eventually, other_program, store, support};

/// Reads everything in a database: collections, options, indexes, documents.
async fn everything(database: &Database) -> Vec<Document> {
    let list = doc! {"listCollections": 1, "cursor": {"batchSize": 1_000}};
    let answer = database.run_command(list).await.unwrap();
    let mut all = first_batch(&answer);
    all.sort_by_key(|one| one.get_str("name").unwrap().to_owned());
    for one in &mut all {
        let name = one.get_str("name").unwrap().to_owned();
        let collection = database.collection::<Document>(&name);
        let documents = collection.find(doc! {}).await;
        let documents: Vec<_> = documents.unwrap().try_collect().await.unwrap();
        one.insert("documents", documents);
        if one.get_str("type").unwrap() == "collection" {
            let list = doc! {"listIndexes": &name};
            let indexes = database.run_command(list).await.unwrap();
            let mut indexes = first_batch(&indexes);
            indexes.sort_by_key(Document::to_string);
            one.insert("indexes", indexes);
        }
    }
    all
}

fn first_batch(answer: &Document) -> Vec<Document> {
    let cursor = answer.get_document("cursor").unwrap();
    let batch = cursor.get_array("firstBatch").unwrap();
    let documents = batch.iter().map(|item| item.as_document().unwrap().clone());
    documents.collect()
}

/// Returns the names that a start refuses to take, each with its reason.
fn refused(answer: Result<(), StoreError>) -> Vec<String> {
    match answer {
        Err(StoreError::Startup(error)) => match *error {
            StartupError::NotOurs { foreign, .. } => {
                foreign.iter().map(ToString::to_string).collect()
            }
            error => panic!("{error}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Asserts that every way to start is refused for these reasons, and that nothing changes.
async fn check_refused(config: &Config, reasons: &[&str]) {
    let database = database_of(config).await;
    let before = everything(&database).await;
    let nodes = (0..3).map(|_| async {
        let store = Store::connect(config).await.unwrap();
        let survey = store.survey().await.unwrap();
        assert!(survey.refusal("x").is_some());
        assert_eq!(refused(store.require_migrated().await), reasons);
        assert_eq!(refused(store.migrate().await.map(drop)), reasons);
    });
    join_all(nodes).await;
    assert_eq!(everything(&database).await, before);
}

async fn database_of(config: &Config) -> Database {
    let client = Client::with_uri_str(&config.mongodb_uri).await.unwrap();
    client.database(&config.database)
}

#[tokio::test]
async fn collections_that_others_filled_are_not_touched_whichever_they_are() {
    for name in COLLECTIONS {
        let config = config().await;
        let database = database_of(&config).await;
        let long_ago = DateTime::from_millis(1);
        let theirs =
            doc! {"_id": "0001_subscriptions", "expiresAt": long_ago, "createdAt": long_ago};
        let collection = database.collection::<Document>(name);
        collection.insert_one(theirs).await.unwrap();
        check_refused(&config, &[&format!("{name} has documents")]).await;
    }
}

#[tokio::test]
async fn views_capped_and_time_series_collections_are_not_touched_even_if_they_are_empty() {
    for (options, reason) in [
        (doc! {"viewOn": "other", "pipeline": []}, "is a view"),
        (
            doc! {"capped": true, "size": 4_096},
            "is a capped collection",
        ),
        (
            doc! {"timeseries": {"timeField": "at"}},
            "is a time-series collection",
        ),
    ] {
        for name in ["events", "migrations", "nodes"] {
            let mut config = config().await;
            let mut create = doc! {"create": name};
            create.extend(options.clone());
            let database = database_of(&config).await;
            database.run_command(create).await.unwrap();
            check_refused(&config, &[&format!("{name} {reason}")]).await;
            config.adopt = vec![name.to_owned()];
            check_refused(&config, &[&format!("{name} {reason}")]).await;
        }
    }
}

#[tokio::test]
async fn records_of_another_programs_migrations_are_no_proof_that_a_database_is_ours() {
    for theirs in [
        doc! {"_id": ObjectId::new(), "name": "0001_subscriptions", "run_on": DateTime::now()},
        doc! {"_id": 5, "checksum": "abc", "appliedAt": DateTime::now()},
        doc! {"_id": "V1__init", "checksum": "abc", "appliedAt": DateTime::now()},
        doc! {"_id": "0001_users", "checksum": "abc", "appliedAt": DateTime::now()},
        doc! {"_id": "lease"},
        doc! {"_id": "claim", "collections": "all"},
    ] {
        let config = config().await;
        let database = database_of(&config).await;
        let records = database.collection::<Document>("migrations");
        records.insert_one(theirs).await.unwrap();
        database
            .collection("events")
            .insert_one(doc! {"sale": 1})
            .await
            .unwrap();
        check_refused(
            &config,
            &["events has documents", "migrations has documents"],
        )
        .await;
    }
}

#[tokio::test]
async fn an_empty_collection_with_an_index_in_the_way_is_not_touched() {
    let config = config().await;
    let database = database_of(&config).await;
    let index = doc! {"name": "name", "key": {"name": 1}, "unique": true};
    let create = doc! {"createIndexes": "subscriptions", "indexes": [index]};
    database.run_command(create).await.unwrap();
    let reason = "subscriptions has a conflicting index \
         (subscriptions: index name has different keys or options)";
    check_refused(&config, &[reason]).await;
}

#[tokio::test]
async fn what_is_adopted_is_ours_from_then_on_and_nothing_else_is() {
    let mut config = config().await;
    let database = database_of(&config).await;
    let events = database.collection::<Document>("events");
    events.insert_one(doc! {"sale": 1}).await.unwrap();
    let nodes = database.collection::<Document>("nodes");
    nodes.insert_one(doc! {"server": 1}).await.unwrap();
    config.adopt = vec!["events".to_owned()];
    check_refused(&config, &["nodes has documents"]).await;

    config.adopt.push("nodes".to_owned());
    config.retention = Duration::from_secs(1);
    let store = Store::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    config.adopt.clear();
    let store = Store::connect(&config).await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
    let (undated, _) = store.undated_events().await.unwrap();
    let now = store.server_time().await.unwrap();
    let estimates: Vec<_> = undated
        .into_iter()
        .map(|event| event.estimate(now))
        .collect();
    assert_eq!(store.date_events(&estimates).await.unwrap(), 1);
    eventually("retention applies to it", async || {
        events.count_documents(doc! {}).await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn a_name_of_a_later_migration_is_looked_at_when_that_is_applied() {
    let store = store().await;
    let database = other_program(&store).await;
    let records = database.collection::<Document>("migrations");
    // As a version left it that had neither receipts nor anything later.
    for name in ["receipts", "positions"] {
        database.collection::<Document>(name).drop().await.unwrap();
    }
    let later = ["claim", "0003_service", "0004_positions", "0006_audit"];
    let later = doc! {"_id": {"$in": later.as_slice()}};
    records.delete_many(later).await.unwrap();
    database
        .collection("receipts")
        .insert_one(doc! {"total": 5})
        .await
        .unwrap();
    let config = Config {
        database: store.database_name().to_owned(),
        ..config().await
    };
    check_refused(&config, &["receipts has documents"]).await;

    database
        .collection::<Document>("receipts")
        .drop()
        .await
        .unwrap();
    store.migrate().await.unwrap();
    assert!(store.survey().await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn a_collection_of_ours_that_became_a_view_is_refused() {
    let store = store().await;
    let database = other_program(&store).await;
    database
        .collection::<Document>("events")
        .drop()
        .await
        .unwrap();
    let view = doc! {"create": "events", "viewOn": "sales", "pipeline": []};
    database.run_command(view).await.unwrap();
    let config = Config {
        database: store.database_name().to_owned(),
        ..config().await
    };
    check_refused(&config, &["events is a view"]).await;
}

/// Reads the claimed names.
async fn claimed(database: &Database) -> Vec<String> {
    let records = database.collection::<Document>("migrations");
    let claim = records.find_one(doc! {"_id": "claim"}).await.unwrap();
    let names = claim.unwrap().get_array("collections").unwrap().clone();
    let mut names: Vec<_> = names
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Starts a mongod on which one command of one application takes two seconds, once.
async fn slow(app: &str, command: &str) -> (Mongod, Config) {
    let mongod = Mongod::start(support::options()).await.unwrap();
    let config = Config {
        mongodb_uri: format!("{}&appName={app}", mongod.uri()),
        ..config().await
    };
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let fail_point = doc! {
        "configureFailPoint": "failCommand",
        "mode": {"times": 1},
        "data": {
            "failCommands": [command],
            "blockConnection": true,
            "blockTimeMS": 2_000,
            "appName": app,
        },
    };
    let admin = client.database("admin");
    admin.run_command(fail_point).await.unwrap();
    (mongod, config)
}

/// Waits until a migration has claimed its names.
async fn until_claimed(database: &Database) {
    eventually("the claim", async || {
        let records = database.collection::<Document>("migrations");
        let claim = records.find_one(doc! {"_id": "claim"}).await.unwrap();
        claim.is_some()
    })
    .await;
}

#[tokio::test]
async fn what_comes_in_while_a_collection_is_taken_is_seen_and_its_options_come_back() {
    let (mongod, config) = slow("takes_slowly", "collMod").await;
    let theirs = Client::with_uri_str(mongod.uri()).await.unwrap();
    let database = theirs.database(&config.database);
    database.create_collection("subscriptions").await.unwrap();
    let subscriptions = database.collection::<Document>("subscriptions");
    let store = Store::connect(&config).await.unwrap();

    let (refusal, ()) = tokio::join!(store.migrate(), async {
        until_claimed(&database).await;
        let customer = doc! {"filter": "theirs", "expiresAt": DateTime::from_millis(1)};
        subscriptions.insert_one(customer).await.unwrap();
    });

    let words = refusal.as_ref().unwrap_err().to_string();
    assert!(!words.contains("Nothing was changed"), "{words}");
    let told = refused(refusal.map(drop));
    assert!(
        told[0].starts_with("subscriptions has documents"),
        "{told:?}"
    );
    assert_eq!(claimed(&database).await, ["migrations"]);
    assert_eq!(subscriptions.count_documents(doc! {}).await.unwrap(), 1);
    subscriptions
        .insert_one(doc! {"filter": "more"})
        .await
        .expect("their own rules apply again");
    let again = refused(store.migrate().await.map(drop));
    assert_eq!(again, ["subscriptions has documents"]);
    let indexes = subscriptions.list_index_names().await.unwrap();
    assert_eq!(indexes, ["_id_"]);
}

/// A `create` of a collection that exists with the same options succeeds.
#[tokio::test]
async fn what_another_program_makes_and_fills_meanwhile_is_not_ours_even_if_it_is_made_alike() {
    let (mongod, config) = slow("makes_slowly", "create").await;
    let theirs = Client::with_uri_str(mongod.uri()).await.unwrap();
    let database = theirs.database(&config.database);
    let store = Store::connect(&config).await.unwrap();

    let (refusal, ()) = tokio::join!(store.migrate(), async {
        until_claimed(&database).await;
        let cart = doc! {"cart": 1, "expiresAt": DateTime::from_millis(1)};
        let receipts = database.collection("receipts");
        receipts.insert_one(cart).await.unwrap();
    });

    let told = refused(refusal.map(drop));
    assert!(told[0].starts_with("receipts has documents"), "{told:?}");
    let made = [
        "events",
        "idempotency",
        "migrations",
        "nodes",
        "subscriptions",
    ];
    assert_eq!(claimed(&database).await, made);
    let again = refused(store.migrate().await.map(drop));
    assert_eq!(again, ["receipts has documents"]);
    let receipts = database.collection::<Document>("receipts");
    assert_eq!(receipts.list_index_names().await.unwrap(), ["_id_"]);
    drop(store);
    mongod.stop().await;
}

/// Changes to a collection while no node runs, and the differences that they make.
const CHANGES: [(&str, &str, &[&str]); 9] = [
    (
        "events",
        "drop",
        &["events is missing", "events: index id_source is missing"],
    ),
    (
        "subscriptions",
        "recreate",
        &[
            "subscriptions: another validator, validationLevel, validationAction, changeStreamPreAndPostImages",
            "subscriptions: index expiresAt is missing",
        ],
    ),
    (
        "subscriptions",
        "images off",
        &["subscriptions: another changeStreamPreAndPostImages"],
    ),
    (
        "events",
        "validator off",
        &["events: another validationLevel"],
    ),
    (
        "events",
        "drop index id_source",
        &["events: index id_source is missing"],
    ),
    (
        "events",
        "drop index storedAt",
        &["events: index storedAt is missing"],
    ),
    (
        "nodes",
        "change expiry",
        &["nodes: index expiresAt has a different expireAfterSeconds"],
    ),
    (
        "events",
        "hide",
        &["events: index ts has a different hidden"],
    ),
    ("positions", "drop", &["positions is missing"]),
];

async fn change(database: &Database, name: &str, what: &str) {
    let collection = database.collection::<Document>(name);
    let index = |change: Document| doc! {"collMod": name, "index": change};
    let command = match what {
        "drop" => return collection.drop().await.unwrap(),
        "recreate" => {
            collection.drop().await.unwrap();
            doc! {"create": name}
        }
        "images off" => doc! {"collMod": name, "changeStreamPreAndPostImages": {"enabled": false}},
        "validator off" => doc! {"collMod": name, "validationLevel": "off"},
        "change expiry" => index(doc! {"name": "expiresAt", "expireAfterSeconds": 86_400}),
        "hide" => index(doc! {"name": "ts", "hidden": true}),
        what => doc! {"dropIndexes": name, "index": what.trim_start_matches("drop index ")},
    };
    database.run_command(command).await.unwrap();
}

#[tokio::test]
async fn what_was_changed_while_no_node_ran_is_named_and_mended_at_the_next_start() {
    let store = store().await;
    let database = other_program(&store).await;
    let shape = async || {
        let mut all = everything(&database).await;
        for one in &mut all {
            one.remove("documents");
            one.remove("info");
        }
        all
    };
    let before = shape().await;
    for (name, what, expected) in CHANGES {
        change(&database, name, what).await;
        let survey = store.survey().await.unwrap();
        let named: Vec<_> = survey.differences.iter().map(ToString::to_string).collect();
        for expected in expected {
            let is_named = named.iter().any(|named| named == expected);
            assert!(is_named, "{name} {what}: {expected} not in {named:?}");
        }
        let refused = store.require_migrated().await.unwrap_err().to_string();
        assert!(refused.contains(expected[0]), "{refused}");

        store.migrate().await.unwrap();

        assert_eq!(shape().await, before, "{name}: {what}");
        store.require_migrated().await.unwrap();
    }
}

/// Somebody may have created the index by hand.
#[tokio::test]
async fn the_index_of_retention_may_have_another_name() {
    let store = store().await;
    let database = other_program(&store).await;
    let config = Config {
        database: store.database_name().to_owned(),
        retention: Duration::from_secs(77),
        ..config().await
    };
    change(&database, "events", "drop index storedAt").await;
    let by_hand = doc! {"name": "by hand", "key": {"storedAt": 1}};
    let create = doc! {"createIndexes": "events", "indexes": [by_hand]};
    database.run_command(create).await.unwrap();
    let node = Store::connect(&config).await.unwrap();
    let expiry = async || {
        let list = database.run_command(doc! {"listIndexes": "events"}).await;
        let indexes = first_batch(&list.unwrap());
        let mut named = indexes
            .iter()
            .filter(|index| index.get_document("key").unwrap() == &doc! {"storedAt": 1});
        let found = named.next().unwrap().clone();
        assert_eq!(named.next(), None);
        assert_eq!(found.get_str("name").unwrap(), "by hand");
        found.get("expireAfterSeconds").cloned()
    };
    assert_eq!(expiry().await, None);
    node.require_migrated().await.unwrap();
    assert_eq!(expiry().await, Some(Bson::Int32(77)));
    store.migrate().await.unwrap();
    let default = i32::try_from(store.retention().as_secs()).unwrap();
    assert_eq!(expiry().await, Some(Bson::Int32(default)));
    assert!(store.survey().await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn what_cannot_be_mended_is_refused_with_the_way_out() {
    let store = store().await;
    let database = other_program(&store).await;
    change(&database, "events", "drop index ts").await;
    let other = doc! {"createIndexes": "events", "indexes": [{"name": "ts", "key": {"ts": -1}}]};
    database.run_command(other).await.unwrap();
    let refused = store.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("index ts has different keys"), "{refused}");
    assert!(refused.contains("db.events.dropIndex(\"ts\")"), "{refused}");
    change(&database, "events", "drop index ts").await;

    change(&database, "events", "drop index id_source").await;
    let twin = doc! {"id": "a", "source": "b"};
    let events = database.collection::<Document>("events");
    events.insert_many([&twin, &twin]).await.unwrap();
    let refused = store.migrate().await.unwrap_err().to_string();
    assert!(
        refused.contains("index id_source is missing: some documents"),
        "{refused}"
    );
    events.delete_one(twin).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.survey().await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn what_a_newer_version_made_is_left_as_it_is() {
    let store = store().await;
    let database = other_program(&store).await;
    let newer = doc! {"_id": "9999_newer", "checksum": "abc", "appliedAt": DateTime::now()};
    let records = database.collection::<Document>("migrations");
    records.insert_one(newer).await.unwrap();
    let wider = doc! {"collMod": "subscriptions", "validator": {"a": Bson::Null}};
    database.run_command(wider).await.unwrap();
    change(&database, "events", "drop index id_source").await;

    store.migrate().await.unwrap();
    store.repair().await.unwrap();

    let list = doc! {"listCollections": 1, "filter": {"name": "subscriptions"}};
    let found = first_batch(&database.run_command(list).await.unwrap());
    let options = found[0].get_document("options").unwrap();
    let validator = options.get_document("validator").unwrap();
    assert_eq!(validator, &doc! {"a": Bson::Null});
    let events = database.collection::<Document>("events");
    let indexes = events.list_index_names().await;
    assert!(indexes.unwrap().contains(&"id_source".to_owned()));
}

/// Whatever the collection of migrations holds, a start ends: with a database that is ready, or with a message.
#[tokio::test]
async fn no_document_in_migrations_keeps_a_start_from_ending() {
    let store = store().await;
    let config = Config {
        database: store.database_name().to_owned(),
        ..config().await
    };
    let database = other_program(&store).await;
    let records = database.collection::<Document>("migrations");
    let far = DateTime::from_millis(DateTime::now().timestamp_millis() + 100_000_000);
    let odd = [
        Bson::Null,
        Bson::Int64(i64::MAX),
        Bson::String("zzz".to_owned()),
        Bson::Array(vec![Bson::Int32(1)]),
        Bson::Document(doc! {}),
        Bson::DateTime(far),
        Bson::DateTime(DateTime::MAX),
        Bson::MaxKey,
    ];
    for (id, field) in [
        ("lease", "until"),
        ("lease", "holder"),
        ("claim", "collections"),
        ("0001_subscriptions", "appliedAt"),
    ] {
        let sound = records.find_one(doc! {"_id": id}).await.unwrap();
        let sound = sound.unwrap_or_else(|| doc! {"_id": id, "holder": "x", "until": far});
        for value in &odd {
            let mut poison = sound.clone();
            poison.insert(field, value.clone());
            let only = doc! {"_id": id};
            let put = records.replace_one(only.clone(), &poison).upsert(true);
            put.await.unwrap();
            change(&database, "events", "drop index id_source").await;
            let node = Store::connect(&config).await.unwrap();
            let migrating = tokio::time::timeout(Duration::from_secs(30), node.migrate());
            let ended = migrating.await;
            assert!(ended.is_ok(), "{poison}");
            records.delete_one(only).await.unwrap();
            if id != "lease" {
                records.insert_one(&sound).await.unwrap();
            }
            store.migrate().await.unwrap();
        }
    }
}
