//! Positions survive the kill of a node and of the database, at random moments.

use bson::doc;
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use tidegate::{
    config::Config,
    mongod::{Mongod, Options},
};

use super::support::{ack, durable, next, position, publish};
use crate::{
    kit,
    process::Process,
    support::{Service, Socket, database_name},
};

/// Events per round.
const EVENTS: i64 = 30;

/// A client that remembers nothing but what it must have in the end.
struct Client<R> {
    random: R,
    /// The first event that it has not seen.
    expected: i64,
}

impl<R: Rng> Client<R> {
    /// Reads some of the events before `published`, and acknowledges some of those.
    async fn read(&mut self, socket: &mut Socket, published: i64) {
        let left = published - self.expected;
        for _ in 0..self.random.random_range(0..=left) {
            self.read_one(socket).await;
        }
    }

    async fn read_one(&mut self, socket: &mut Socket) {
        let (n, cursor) = next(socket).await;
        assert!(
            n <= self.expected,
            "{} is missing before {n}",
            self.expected
        );
        self.expected = self.expected.max(n + 1);
        if self.random.random_bool(0.7) {
            ack(socket, &cursor).await;
        }
    }

    async fn read_rest(&mut self, service: &Service, id: &str, published: i64) {
        let mut socket = service.connect(id).await;
        while self.expected < published {
            self.read_one(&mut socket).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_no_position_and_no_event() {
    let mut random = kit::random();
    let mut process = Process::serve("").await;
    let config = process.service.config.clone();
    let id = durable(&process.service).await;
    let mut client = Client {
        random: StdRng::from_rng(&mut random),
        expected: 0,
    };
    let mut published = 0;
    for _ in 0..6 {
        let mut socket = process.service.connect(&id).await;
        let events =
            (published..published + EVENTS).map(|n| doc! {"type": "tick", "data": {"n": n}});
        let collection = process.service.database.collection("events");
        collection.insert_many(events).await.unwrap();
        published += EVENTS;
        client.read(&mut socket, published).await;
        let before = position(&process.service, &id).await;
        process.signal("KILL").await;
        assert_eq!(process.end().await, None);
        process = Process::on(config.clone(), "").await;
        let after = position(&process.service, &id).await;
        assert!(after >= before, "{after} < {before}");
    }
    client.read_rest(&process.service, &id, published).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_loses_no_position_and_no_event() {
    let mut random = kit::random();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        data_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let mut mongod = Mongod::start(options.clone()).await.unwrap();
    let config = Config {
        mongodb_uri: mongod.uri(),
        database: database_name(),
        ..Config::default()
    };
    let service = Service::on(config).await;
    let id = durable(&service).await;
    let mut client = Client {
        random: StdRng::from_rng(&mut random),
        expected: 0,
    };
    let mut published = 0;
    let mut socket = service.connect(&id).await;
    for _ in 0..5 {
        publish(&service, published..published + EVENTS).await;
        published += EVENTS;
        client.read(&mut socket, published).await;
        let before = position(&service, &id).await;
        // It is killed, perhaps in the middle of a write of positions.
        drop(mongod);
        if random.random() {
            client.read(&mut socket, published).await;
        }
        mongod = Mongod::start(options.clone()).await.unwrap();
        service
            .until("the database is back", async || {
                service.status("/events?limit=1").await == 200
            })
            .await;
        let after = position(&service, &id).await;
        assert!(after >= before, "{after} < {before}");
        // The socket has survived. Half of the time a new one goes on.
        if random.random() {
            socket = service.connect(&id).await;
        }
    }
    client.read_rest(&service, &id, published).await;
    service.assert_books_balance().await;
    service.stop().await;
    mongod.stop().await;
}
