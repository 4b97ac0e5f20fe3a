//! The socket breaks behind every single message in turn, and the client comes back to another node.

use serde_json::{Value, json};

use super::{
    kit::{open, subscribe, tell},
    model::Model,
};
use crate::{
    kit::insert_events,
    support::{Service, Socket},
};

/// Handles, what their subscriptions match, and whether they begin in the past.
const HANDLES: [(&str, &[&str], bool); 4] = [
    ("both", &["a", "b"], false),
    ("a", &["a"], false),
    ("past", &["a", "b"], true),
    ("again", &["b"], true),
];

/// Publishes two events of each kind with the next numbers.
async fn publish(service: &Service, next: &mut i32, published: &mut Vec<(&'static str, i64)>) {
    for kind in ["a", "b"] {
        insert_events(service, kind, *next..*next + 2).await;
        for n in *next..*next + 2 {
            published.push((kind, i64::from(n)));
        }
        *next += 2;
    }
}

/// Reads so many events of a socket; returns the cursor of the last.
async fn hear(socket: &mut Socket, events: usize, mut standing: String) -> String {
    for _ in 0..events {
        let event = socket.message().await;
        assert_eq!(event["type"], "event", "{event}");
        event["cursor"].as_str().unwrap().clone_into(&mut standing);
    }
    standing
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_anywhere_comes_back_to_all_of_it_once() {
    let first = Service::start().await;
    let mut config = first.config.clone();
    // Its replays come from the oplog.
    config.feed.window_bytes = 4_000;
    let second = Service::on(config).await;
    let mut ids = Vec::new();
    for (_, kinds, _) in HANDLES {
        ids.push(first.subscribe(json!({"type": {"$in": kinds}})).await);
    }
    let mut next = 0;
    let mut cut = 0;
    let mut probe = open(&first).await;
    let connected = subscribe(&mut probe, "probe", &ids[0]).await;
    let mut standing = connected["cursor"].as_str().unwrap().to_owned();
    let mut owed = 0;
    // Until a cut lies behind everything that came.
    loop {
        let begun = hear(&mut probe, owed, standing).await;
        let mut published = Vec::new();
        publish(&first, &mut next, &mut published).await;
        let here = hear(&mut probe, published.len(), begun.clone()).await;
        let before = published.len();
        let mut model = Model::default();
        let mut socket = open(&first).await;
        for (from_past, after) in [(false, &here), (true, &begun)] {
            let of_these = HANDLES
                .iter()
                .zip(&ids)
                .filter(|((.., past), _)| *past == from_past);
            let items: Vec<Value> = of_these
                .map(|((name, ..), id)| {
                    model.asks(name, id, after);
                    json!({"handle": name, "subscription": id})
                })
                .collect();
            tell(
                &mut socket,
                json!({"type": "subscribe", "after": after, "items": items}),
            )
            .await;
        }
        publish(&first, &mut next, &mut published).await;
        let expected = |name: &str, published: &[(&str, i64)]| -> Vec<i64> {
            let (_, kinds, past) = HANDLES.iter().find(|(known, ..)| *known == name).unwrap();
            let from = if *past { 0 } else { before };
            let matching = published[from..]
                .iter()
                .filter(|(kind, _)| kinds.contains(kind));
            matching.map(|(_, n)| *n).collect()
        };
        let has_all = |model: &Model, published: &[(&str, i64)]| {
            model
                .handles
                .iter()
                .all(|(name, handle)| handle.numbers.len() >= expected(name, published).len())
        };
        let mut read = 0;
        while read < cut && !has_all(&model, &published) {
            model.take(&socket.message().await);
            read += 1;
        }
        let was_last = read < cut;
        drop(socket);
        publish(&first, &mut next, &mut published).await;
        let mut socket = open(&second).await;
        model.come_back(&mut socket).await;
        publish(&first, &mut next, &mut published).await;
        while !has_all(&model, &published) {
            model.take(&socket.message().await);
        }
        for (name, handle) in &model.handles {
            assert_eq!(
                handle.numbers,
                expected(name, &published),
                "{name}, cut behind {cut}"
            );
        }
        (standing, owed) = (here, published.len() - before);
        if was_last {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "{cut}");
    first.stop().await;
    second.stop().await;
}
