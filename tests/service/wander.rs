//! A client that is cut off again and again, reconnects to any node, and misses nothing.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    kit,
    support::{Events, Service, Socket},
};

/// Matching events per publisher. As many do not match.
const EVENTS: u32 = 400;

/// The publisher's number and the event's.
type Name = (u64, u64);

/// Starts two nodes. The second has almost no backlog, so its replays come from the oplog.
async fn two_nodes() -> [Service; 2] {
    let first = Service::start().await;
    let mut config = first.config.clone();
    config.feed.window_bytes = 4_000;
    [first, Service::on(config).await]
}

/// Publishes matching and other events in turn, a few at a time.
async fn publish(node: &Service, publisher: u64, mut random: StdRng) {
    let mut n = 0;
    while n < EVENTS {
        let count = random.random_range(1..8).min(EVENTS - n);
        let batch: Vec<Value> = (n..n + count)
            .flat_map(|n| ["tick", "tock"].map(|kind| (n, kind)))
            .map(|(n, kind)| json!({"type": kind, "data": {"p": publisher, "n": n}}))
            .collect();
        node.post("/events", json!(batch)).await;
        n += count;
    }
}

fn name(event: &Value) -> Name {
    let field = |field: &str| event["data"][field].as_u64().unwrap();
    assert_eq!(event["type"], "tick", "{event}");
    (field("p"), field("n"))
}

/// A connection in either form.
enum Client {
    Socket(Socket),
    Events(Events),
}

impl Client {
    /// Connects after a cursor.
    async fn open(node: &Service, id: &str, sse: bool, after: &str) -> Self {
        let (client, connected) = if sse {
            let mut events = Events::open(node, id, "", Some(after)).await;
            let connected = events.next().await.unwrap().data;
            (Self::Events(events), connected)
        } else {
            let mut socket = node.open(id, &format!("?after={after}")).await;
            let connected = socket.message().await;
            (Self::Socket(socket), connected)
        };
        assert_eq!(connected["type"], "connected", "{connected}");
        assert_eq!(connected["recovered"], true, "{connected}");
        client
    }

    /// Waits for the next event. Returns its cursor too.
    async fn next(&mut self) -> (Name, String) {
        let message = match self {
            Self::Socket(socket) => socket.message().await,
            Self::Events(events) => {
                let event = events.next().await.unwrap();
                assert_eq!(event.id, event.data["cursor"]);
                event.data
            }
        };
        assert_eq!(message["type"], "event", "{message}");
        let cursor = message["cursor"].as_str().unwrap().to_owned();
        (name(&message["event"]), cursor)
    }

    async fn leave(self) {
        if let Self::Socket(socket) = self {
            socket.leave().await;
        }
    }
}

/// Reads everything over one uninterrupted connection: the truth.
async fn stay(mut socket: Socket) -> Vec<Name> {
    let mut all = Vec::new();
    while all.len() < 2 * EVENTS as usize {
        all.push(name(&socket.message().await["event"]));
    }
    all
}

/// Reads everything after a cursor over many short connections. Returns the number of connections too.
async fn wander(
    nodes: &[Service; 2],
    id: &str,
    sse: bool,
    mut after: String,
    mut random: StdRng,
) -> (Vec<Name>, u32) {
    let mut all = Vec::new();
    let mut rounds = 0;
    while all.len() < 2 * EVENTS as usize {
        rounds += 1;
        let node = &nodes[random.random_range(0..2)];
        let mut client = Client::open(node, id, sse, &after).await;
        for _ in 0..random.random_range(0..30) {
            if all.len() == 2 * EVENTS as usize {
                break;
            }
            let (name, cursor) = client.next().await;
            assert!(after < cursor, "the cursor of {name:?} does not rise");
            all.push(name);
            after = cursor;
        }
        if random.random() {
            client.leave().await;
        }
    }
    (all, rounds)
}

async fn check(sse: bool) {
    let mut random = kit::random();
    let nodes = two_nodes().await;
    let id = nodes[0].subscribe(json!({"type": "tick"})).await;
    let mut socket = nodes[0].open(&id, "").await;
    let begin = socket.message().await["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let [one, two, three] = [(); 3].map(|()| StdRng::from_rng(&mut random));
    let ((), (), truth, (seen, rounds)) = tokio::join!(
        publish(&nodes[0], 1, one),
        publish(&nodes[1], 2, two),
        stay(socket),
        wander(&nodes, &id, sse, begin, three),
    );

    assert_eq!(seen, truth);
    for publisher in [1, 2] {
        let own = truth.iter().filter(|name| name.0 == publisher);
        let own: Vec<u64> = own.map(|name| name.1).collect();
        assert_eq!(own, (0..u64::from(EVENTS)).collect::<Vec<_>>());
    }
    assert!(rounds > 20, "{rounds}");
    let streams = nodes[1].count("tidegate_replay_streams_total").await;
    assert!(streams > 0, "the database's history was never used");
    for node in nodes {
        node.assert_books_balance().await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sockets_it_gets_exactly_what_matched_in_order() {
    Box::pin(check(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_server_sent_events_it_gets_exactly_what_matched_in_order() {
    Box::pin(check(true)).await;
}
