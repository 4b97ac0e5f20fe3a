//! Replay from the archive, the collection of events, of what the oplog no longer has.

use std::time::{Duration, Instant};

use bson::{Document, Timestamp, doc};
use mongodb::Client;
use serde_json::{Value, json};
use tidegate::{config::Config, mongod::Mongod, store::Store};

use crate::{
    durable::support::{ack, durable, next, publish, read, until_stored},
    support::{Service, Socket, database_name, options},
};

/// A mongod of the test's own.
pub(crate) struct Database {
    pub(crate) mongod: Mongod,
    client: Client,
    pub(crate) config: Config,
}

impl Database {
    pub(crate) async fn start() -> Self {
        let mut options = options();
        options.oplog_size_mb = 8;
        options.arguments = vec!["--syncdelay".to_owned(), "1".to_owned()];
        let mongod = Mongod::start(options).await.unwrap();
        let config = Config {
            mongodb_uri: mongod.uri(),
            database: database_name(),
            ..Config::default()
        };
        Self {
            client: Client::with_uri_str(mongod.uri()).await.unwrap(),
            mongod,
            config,
        }
    }

    /// Writes enough to overrun the oplog.
    pub(crate) async fn lose_history(&self) {
        let store = Store::connect(&self.config).await.unwrap();
        let lost = self.fill().await;
        while store.oplog_begin().await.unwrap().unwrap() <= lost {
            self.fill().await;
        }
    }

    /// Inserts one large document. Returns the time.
    async fn fill(&self) -> Timestamp {
        let large = self
            .client
            .database("large")
            .collection::<Document>("large");
        let zero = Timestamp {
            time: 0,
            increment: 0,
        };
        let document = doc! {"ts": zero, "x": "x".repeat(900_000)};
        let id = large.insert_one(document).await.unwrap().inserted_id;
        let stored = large.find_one(doc! {"_id": id}).await.unwrap().unwrap();
        stored.get_timestamp("ts").unwrap()
    }
}

/// Reads up to the event with this number. No gap may come, and cursors must not fall.
async fn read_until(socket: &mut Socket, last: i64) -> Vec<i64> {
    let mut read = Vec::new();
    let mut before = String::new();
    while read.last() != Some(&last) {
        let (n, cursor) = next(socket).await;
        assert!(cursor >= before, "the cursor of {n} falls");
        before = cursor;
        read.push(n);
    }
    read
}

/// Asserts that everything from `first` on came in order. Earlier events may have come again.
fn assert_complete(read: &[i64], first: i64) {
    let new: Vec<i64> = read.iter().copied().filter(|n| *n >= first).collect();
    let last = read.last().copied().unwrap();
    assert_eq!(new, (first..=last).collect::<Vec<_>>(), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_oplog_events_come_from_the_collection() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let id = durable(&service).await;
    publish(&service, 0..2_500).await;
    let mut socket = service.connect(&id).await;
    let (_, third) = read(&mut socket, 3).await;
    ack(&mut socket, &third).await;
    until_stored(&service, &id, &third).await;
    drop(socket);
    service.stop().await;
    database.lose_history().await;

    let service = Service::on(database.config.clone()).await;
    let mut socket = service.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    assert_eq!(connected["cursor"], third);
    publish(&service, 2_500..2_510).await;
    assert_complete(&read_until(&mut socket, 2_509).await, 3);
    assert!(service.metric("tidegate_replay_pages_total").await >= 3.0);

    // The cursor of such an event can be resumed from.
    drop(socket);
    let mut socket = service.open(&id, "").await;
    socket.message().await;
    let (_, early) = read(&mut socket, 1_000).await;
    let mut socket = service.open(&id, &format!("?after={early}")).await;
    assert_eq!(socket.message().await["recovered"], true);
    let rest = read_until(&mut socket, 2_509).await;
    assert!(rest.contains(&1_000), "{rest:?}");
    service.stop().await;
    database.mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_subscription_that_was_away_for_long_gets_no_false_gap() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let id = durable(&service).await;
    service.stop().await;
    database.lose_history().await;

    let service = Service::on(database.config.clone()).await;
    let at_risk = async || service.metric("tidegate_positions_at_risk").await > 0.0;
    service.until("it is counted", at_risk).await;
    let shown = service.get(&format!("/subscriptions/{id}")).await;
    assert_eq!(shown["lossInSeconds"], 0, "{shown}");
    let mut socket = service.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    publish(&service, 0..1).await;
    assert_eq!(next(&mut socket).await.0, 0);
    assert!(service.metric("tidegate_replay_pages_total").await >= 1.0);
    service.stop().await;
    database.mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_tells_of_events_of_others_that_carry_no_time() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let id = durable(&service).await;
    publish(&service, 0..2).await;
    let events = service.database.collection::<Document>("events");
    events
        .insert_one(doc! {"type": "tick", "data": {"n": -1}})
        .await
        .unwrap();
    service.stop().await;
    database.lose_history().await;

    let service = Service::on(database.config.clone()).await;
    let mut deaf = service.open(&id, "?onGap=close").await;
    assert_eq!(deaf.message().await["recovered"], false);
    deaf.assert_ends(4002, "resync").await;

    let mut socket = service.open(&id, "").await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], false, "{connected}");
    assert_eq!(read(&mut socket, 2).await.0, [0, 1]);
    let gap = socket.message().await;
    assert_eq!(
        (&gap["type"], &gap["reason"]),
        (&json!("gap"), &json!("history_lost"))
    );
    assert_eq!(gap["after"], connected["cursor"]);
    publish(&service, 2..3).await;
    loop {
        let message: Value = socket.message().await;
        assert!(message["cursor"].as_str() >= gap["cursor"].as_str());
        if message["event"]["data"]["n"] == 2 {
            break;
        }
    }
    service.stop().await;
    database.mongod.stop().await;
}

/// An event of a transaction has its place in the archive by its insert, and in the feed by its commit.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_slow_transaction_comes_though_it_was_inserted_long_before_the_cursor() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let id = durable(&service).await;
    let events = service.database.collection::<Document>("events");
    let mut session = service.database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let zero = Timestamp {
        time: 0,
        increment: 0,
    };
    let slow = doc! {"ts": zero, "id": "slow", "source": "/slow", "type": "tick", "data": {"n": 1}};
    events.insert_one(slow).session(&mut session).await.unwrap();
    let begun = Instant::now();
    let passed = async || begun.elapsed() > Duration::from_secs(14);
    service.until("the transaction is slow", passed).await;
    let mut socket = service.connect(&id).await;
    publish(&service, 0..1).await;
    let (_, first) = read(&mut socket, 1).await;
    ack(&mut socket, &first).await;
    until_stored(&service, &id, &first).await;
    drop(socket);
    service.stop().await;
    session.commit_transaction().await.unwrap();
    database.lose_history().await;

    let service = Service::on(database.config.clone()).await;
    let mut socket = service.open(&id, "").await;
    assert_eq!(socket.message().await["recovered"], true);
    publish(&service, 2..3).await;
    let read = read_until(&mut socket, 2).await;
    assert!(read.contains(&1), "{read:?}");
    service.stop().await;
    database.mongod.stop().await;
}

/// The change stream says that the history is lost. The next one goes on where the archive ends.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_seam_nothing_is_lost_and_nothing_comes_twice() {
    let database = Database::start().await;
    let mut config = database.config.clone();
    // There is no backlog.
    config.feed.window_bytes = 0;
    let service = Service::on(config).await;
    let id = durable(&service).await;
    publish(&service, 0..1_500).await;
    let mut socket = service.connect(&id).await;
    let (_, cursor) = read(&mut socket, 5).await;
    drop(socket);
    let admin = database.client.database("admin");
    let lost = doc! {"appName": "tidegate", "failCommands": ["aggregate"], "errorCode": 286};
    let fail = doc! {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": lost};
    admin.run_command(fail).await.unwrap();

    let mut socket = service.open(&id, &format!("?after={cursor}")).await;
    assert_eq!(socket.message().await["recovered"], true);
    publish(&service, 1_500..1_700).await;
    assert_complete(&read_until(&mut socket, 1_699).await, 5);
    assert!(service.metric("tidegate_replay_pages_total").await >= 2.0);
    service.stop().await;
    database.mongod.stop().await;
}

/// Clients that return together are served together. What one has lost does not concern the others.
#[tokio::test(flavor = "multi_thread")]
async fn one_lost_cursor_does_not_take_the_others_with_it() {
    let database = Database::start().await;
    let service = Service::on(database.config.clone()).await;
    let old = durable(&service).await;
    database.lose_history().await;
    let new = durable(&service).await;
    publish(&service, 0..3).await;
    let mut socket = service.connect(&new).await;
    let (_, first) = read(&mut socket, 1).await;
    drop(socket);
    service.stop().await;

    let service = Service::on(database.config.clone()).await;
    let after = format!("?after={first}");
    let (mut lost, mut kept) = tokio::join!(service.open(&old, ""), service.open(&new, &after));
    assert_eq!(kept.message().await["recovered"], true);
    // From the archive the first would come again.
    assert_eq!(read(&mut kept, 2).await.0, [1, 2]);
    assert_eq!(lost.message().await["recovered"], true);
    assert_eq!(read(&mut lost, 3).await.0, [0, 1, 2]);
    service.stop().await;
    database.mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_retention_is_told_as_a_gap() {
    let database = Database::start().await;
    // Of another program, and without a date: nothing says when it was made.
    let subscriptions = database.client.database(&database.config.database);
    let subscriptions = subscriptions.collection::<Document>("subscriptions");
    subscriptions
        .insert_one(doc! {"_id": "old", "filter": {"type": "tick"}})
        .await
        .unwrap();
    database.lose_history().await;
    let config = Config {
        adopt: vec!["subscriptions".to_owned()],
        ..database.config.clone()
    };
    let service = Service::on(config).await;
    publish(&service, 0..2).await;
    let query = "?since=2020-01-01T00:00:00Z";
    let mut socket = service.open("old", query).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], false, "{connected}");
    let gap = socket.message().await;
    assert_eq!(
        (&gap["type"], &gap["reason"], &gap["after"]),
        (&json!("gap"), &json!("history_lost"), &connected["cursor"])
    );
    assert!(gap["cursor"].as_str() > connected["cursor"].as_str());
    assert_complete(&read_until(&mut socket, 1).await, 0);

    let mut closing = service.open("old", &format!("{query}&onGap=close")).await;
    assert_eq!(closing.message().await["recovered"], false);
    closing.assert_ends(4002, "resync").await;
    service.stop().await;
    database.mongod.stop().await;
}
