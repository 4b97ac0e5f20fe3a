//! The oracle: whatever a client does with its handles, each gets what a socket of its own gets.

use bson::doc;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::kit::{open, tell};
use crate::{
    kit::assert_cursors_rise,
    support::{Service, Socket},
};

const STEPS: usize = 120;
const KINDS: [&str; 4] = ["a", "b", "c", "d"];
/// A type that every subscription gets at the end.
const LAST: &str = "last";

/// A handle from its `subscribe` on, and a socket of its own that asked for the same.
struct Pair {
    handle: String,
    socket: Socket,
    unsubscribed: bool,
}

fn random() -> StdRng {
    let given = std::env::var("TIDEGATE_TEST_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TIDEGATE_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn filter(kinds: &[&str]) -> Value {
    let mut kinds = kinds.to_vec();
    kinds.push(LAST);
    json!({"type": {"$in": kinds}})
}

fn some_kinds(random: &mut StdRng) -> Vec<&'static str> {
    let chosen = KINDS.into_iter().filter(|_| random.random_bool(0.5));
    chosen.collect()
}

/// The parts of a message that a handle and a socket of its own must share.
fn told(message: &Value) -> Option<Value> {
    match message["type"].as_str().unwrap() {
        "event" => Some(json!([message["cursor"], message["event"]])),
        "updated" => Some(json!([message["cursor"], message["subscription"]])),
        "gap" => Some(json!([
            message["reason"],
            message["after"],
            message["cursor"]
        ])),
        _ => None,
    }
}

/// Returns the messages of each handle in turn, from a `connected` to its `ended` each.
fn by_handle(messages: &[Value]) -> Vec<(String, Vec<Value>)> {
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut all: Vec<(String, Vec<Value>)> = Vec::new();
    for message in messages {
        let named = message["handle"].as_str().map(str::to_owned);
        let to = message["to"].as_array().into_iter().flatten();
        let to: Vec<String> = to
            .map(|handle| handle.as_str().unwrap().to_owned())
            .chain(named)
            .collect();
        if message["type"] == "connected" {
            assert!(open.iter().all(|(handle, _)| *handle != to[0]), "{message}");
            open.push((to[0].clone(), all.len()));
            all.push((to[0].clone(), Vec::new()));
        }
        for (index, handle) in to.iter().enumerate() {
            assert!(!to[..index].contains(handle), "twice: {message}");
            let (_, at) = open
                .iter()
                .find(|(of, _)| of == handle)
                .unwrap_or_else(|| panic!("{message}"));
            all[*at].1.push(message.clone());
        }
        if message["type"] == "ended" {
            open.retain(|(handle, _)| *handle != to[0]);
        }
    }
    all
}

/// Reads until every one of so many handles has ended or got the last event.
async fn until_the_last(many: &mut Socket, connected: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut open_left: Vec<String> = Vec::new();
    let mut seen = 0;
    while seen < connected || !open_left.is_empty() {
        let message = many.message().await;
        let handle = message["handle"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap() {
            "connected" => {
                seen += 1;
                open_left.push(handle);
            }
            "ended" => open_left.retain(|open| *open != handle),
            "event" if message["event"]["type"] == LAST => {
                let to = message["to"].as_array().unwrap();
                open_left.retain(|open| !to.contains(&json!(open)));
            }
            "refused" => panic!("{message}"),
            _ => {}
        }
        messages.push(message);
    }
    messages
}

/// Checks that each handle got what the socket of its own got.
async fn assert_same(mut left: Vec<(String, Vec<Value>)>, pairs: &mut [Pair]) {
    assert_eq!(left.len(), pairs.len());
    // Of one handle they come in the order of asking; a handle that catches up may begin behind another one.
    for pair in pairs {
        let at = left.iter().position(|(handle, _)| *handle == pair.handle);
        let (handle, record) = left.remove(at.unwrap());
        let got: Vec<Value> = record.iter().filter_map(told).collect();
        let mut own = Vec::new();
        let ended = record.last().filter(|message| message["type"] == "ended");
        while own.len() < got.len() {
            own.extend(told(&pair.socket.message().await));
        }
        assert_eq!(got, own, "{handle}");
        let reason = ended.map(|ended| ended["reason"].as_str().unwrap());
        match reason {
            Some("deleted") => {
                pair.socket.assert_ends(4500, "deleted").await;
            }
            Some("unsubscribed") => assert!(pair.unsubscribed),
            None => {
                // One that catches up until then may be told so behind it.
                let mut last = record.iter().rev();
                let last = last.find(|message| message["type"] != "live").unwrap();
                assert_eq!(last["event"]["type"], LAST, "{last}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handle_gets_what_a_socket_of_its_own_gets() {
    let service = Service::start().await;
    let mut random = random();
    let mut subscriptions = Vec::new();
    for _ in 0..6 {
        subscriptions.push(service.subscribe(filter(&some_kinds(&mut random))).await);
    }
    let mut many = open(&service).await;
    let mut pairs: Vec<Pair> = Vec::new();
    let mut cursors: Vec<String> = vec![];
    let mut next = 0;
    let mut asked = 0;
    for step in 0..STEPS {
        let live = |handle: &str, pairs: &[Pair]| {
            pairs
                .iter()
                .any(|pair| pair.handle == handle && !pair.unsubscribed)
        };
        match random.random_range(0..10) {
            0..4 => {
                let count = random.random_range(1..6);
                let events = (next..next + count).map(|n| {
                    let kind = KINDS[random.random_range(0..KINDS.len())];
                    doc! {"type": kind, "data": {"n": n}}
                });
                let events: Vec<_> = events.collect();
                service
                    .database
                    .collection("events")
                    .insert_many(events)
                    .await
                    .unwrap();
                next += count;
                // A point that both of a pair can name.
                let page = service.get("/events?limit=1").await;
                if let Some(cursor) = page["cursor"].as_str() {
                    cursors.push(cursor.to_owned());
                }
            }
            4..8 if !cursors.is_empty() && asked < 40 => {
                let handle = format!("h{}", random.random_range(0..8));
                if live(&handle, &pairs) {
                    continue;
                }
                let id = &subscriptions[random.random_range(0..subscriptions.len())];
                let after = &cursors[random.random_range(0..cursors.len())];
                asked += 1;
                let socket = service.open(id, &format!("?after={after}")).await;
                tell(&mut many, json!({"type": "subscribe", "handle": handle, "subscription": id, "after": after})).await;
                pairs.push(Pair {
                    handle,
                    socket,
                    unsubscribed: false,
                });
            }
            8 => {
                let id = &subscriptions[random.random_range(0..subscriptions.len())];
                let change = json!({"filter": filter(&some_kinds(&mut random))});
                let path = format!("/subscriptions/{id}");
                assert_eq!(
                    service.send("PATCH", &path, Some(change)).await.0,
                    200,
                    "{step}"
                );
            }
            _ if !pairs.is_empty() => {
                let at = random.random_range(0..pairs.len());
                let pair = &mut pairs[at];
                if !pair.unsubscribed {
                    pair.unsubscribed = true;
                    tell(
                        &mut many,
                        json!({"type": "unsubscribe", "handle": pair.handle}),
                    )
                    .await;
                }
            }
            _ => {}
        }
    }
    let gone = subscriptions.pop().unwrap();
    assert_eq!(
        service
            .send("DELETE", &format!("/subscriptions/{gone}"), None)
            .await
            .0,
        204
    );
    service.publish(LAST, json!({"n": -1})).await;
    let messages = until_the_last(&mut many, pairs.len()).await;
    let shared: Vec<Value> = messages
        .iter()
        .filter(|message| message["type"] == "event" && message.get("replay").is_none())
        .cloned()
        .collect();
    assert_cursors_rise(&shared);
    assert_same(by_handle(&messages), &mut pairs).await;
    service.stop().await;
}
