//! Coming back: handles that catch up beside handles that are live.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kit::{event, open, subscribe, tell, until};
use crate::{kit::insert_events, support::Service};

/// The knowledge of a client of its handles, by the rules of the page.
#[derive(Default)]
struct Record {
    /// The highest complete cursor of the socket.
    cursor: String,
    /// The numbers that each handle got, and its own cursor while it catches up.
    handles: BTreeMap<String, (Vec<i64>, Option<String>)>,
}

impl Record {
    /// Takes a message in, and checks that it keeps the rules.
    fn take(&mut self, message: &Value) {
        let cursor = message["cursor"].as_str().unwrap_or_default().to_owned();
        let kind = message["type"].as_str().unwrap();
        let handle = message["handle"].as_str().unwrap_or_default().to_owned();
        let replays = message["replay"] == true || message["replaying"] == true;
        match kind {
            "connected" => {
                let own = replays.then(|| cursor.clone());
                assert!(
                    self.handles.insert(handle, (Vec::new(), own)).is_none(),
                    "{message}"
                );
            }
            "live" => {
                let (_, own) = self.handles.get_mut(&handle).unwrap();
                let own = own.take().expect("it caught up");
                assert!(cursor >= own, "{message} stands at {own}");
            }
            "event" => {
                let (to, number) = event(message);
                for handle in to {
                    let (numbers, own) = self.handles.get_mut(handle).unwrap();
                    assert_eq!(own.is_some(), replays, "{message}");
                    assert!(
                        numbers.last().is_none_or(|last| *last < number),
                        "{message} {numbers:?}"
                    );
                    numbers.push(number);
                    if let Some(own) = own {
                        assert!(*own < cursor);
                        own.clone_from(&cursor);
                    }
                }
            }
            _ => {}
        }
        if !replays {
            assert!(
                kind != "event" || cursor > self.cursor,
                "{message} behind {}",
                self.cursor
            );
            self.cursor = self.cursor.clone().max(cursor);
        }
    }

    fn all_live(&self) -> bool {
        self.handles.values().all(|(_, own)| own.is_none())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_catch_up_do_not_hold_up_those_that_are_live() {
    let service = Service::start().await;
    let all = service
        .subscribe(json!({"type": {"$in": ["a", "b"]}}))
        .await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let mut first = open(&service).await;
    let begun = subscribe(&mut first, "x", &all).await["cursor"].clone();
    insert_events(&service, "a", 0..500).await;
    until(&mut first, |message| message["event"]["data"]["n"] == 499).await;
    let mut record = Record::default();
    let mut socket = open(&service).await;
    record.take(&subscribe(&mut socket, "live", &a).await);
    let items: Vec<_> = (0..8)
        .map(|n| json!({"handle": format!("r{n}"), "subscription": if n % 2 == 0 { &all } else { &a }}))
        .collect();
    tell(
        &mut socket,
        json!({"type": "subscribe", "after": begun, "items": items}),
    )
    .await;
    insert_events(&service, "a", 500..1_000).await;
    insert_events(&service, "b", 1_000..1_010).await;
    let done = |record: &Record| {
        let last = |handle: &str| {
            record
                .handles
                .get(handle)
                .and_then(|(numbers, _)| numbers.last().copied())
        };
        let replayed = (0..8).all(|n| {
            let expected = if n % 2 == 0 { 1_009 } else { 999 };
            last(&format!("r{n}")) == Some(expected)
        });
        last("live") == Some(999) && replayed && record.all_live()
    };
    while !done(&record) {
        record.take(&socket.message().await);
    }
    let expected = |from: i64, to: i64| (from..to).collect::<Vec<_>>();
    assert_eq!(record.handles["live"].0, expected(500, 1_000));
    for n in 0..8 {
        let to = if n % 2 == 0 { 1_010 } else { 1_000 };
        assert_eq!(record.handles[&format!("r{n}")].0, expected(0, to), "r{n}");
    }
    // From here on they share the order.
    service.publish("a", json!({"n": 2_000})).await;
    let message = socket.message().await;
    assert_eq!(event(&message).0.len(), 9, "{message}");
    assert!(message.get("replay").is_none());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_one_message_are_replayed_together_and_an_event_comes_once() {
    let service = Service::start().await;
    let all = service
        .subscribe(json!({"type": {"$in": ["a", "b"]}}))
        .await;
    let (a, b) = (
        service.subscribe(json!({"type": "a"})).await,
        service.subscribe(json!({"type": "b"})).await,
    );
    let mut first = open(&service).await;
    let begun = subscribe(&mut first, "x", &all).await["cursor"].clone();
    for n in 0..100 {
        insert_events(&service, if n % 2 == 0 { "a" } else { "b" }, n..n + 1).await;
    }
    until(&mut first, |message| message["event"]["data"]["n"] == 99).await;
    let mut config = service.config.clone();
    config.feed.window_bytes = 4_000;
    let sibling = Service::on(config).await;
    for node in [&service, &sibling] {
        let mut socket = open(node).await;
        let items = json!([{"handle": "all", "subscription": all}, {"handle": "b", "subscription": b},
            {"handle": "gone", "subscription": "nobody"}, {"handle": "a", "subscription": a},
            {"handle": "own", "filter": {"type": "a", "data.n": {"$lt": 50}}}]);
        tell(
            &mut socket,
            json!({"type": "subscribe", "after": begun, "items": items}),
        )
        .await;
        let mut live = 0;
        let mut heard = Vec::new();
        while live < 4 {
            let message = socket.message().await;
            live += usize::from(message["type"] == "live");
            if message["type"] == "event" {
                assert_eq!(message["replay"], true, "{message}");
                heard.push(message);
            }
        }
        crate::kit::assert_cursors_rise(&heard);
        let heard: Vec<_> = heard.iter().map(event).collect();
        assert_eq!(heard.len(), 100);
        for (n, (to, number)) in (0..).zip(heard) {
            let mut expected = vec!["all"];
            if n % 2 == 0 {
                expected.push("a");
                if n < 50 {
                    expected.push("own");
                }
            } else {
                expected.push("b");
            }
            assert_eq!((to, number), (expected, n));
        }
    }
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_during_a_replay_comes_behind_what_was_before_it() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let stays = service.subscribe(json!({"type": "b"})).await;
    let mut first = open(&service).await;
    let begun = subscribe(&mut first, "x", &id).await["cursor"].clone();
    insert_events(&service, "a", 0..2_000).await;
    until(&mut first, |message| message["event"]["data"]["n"] == 1_999).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "stays", &stays).await;
    tell(
        &mut socket,
        json!({"type": "subscribe", "handle": "h", "subscription": id, "after": begun}),
    )
    .await;
    insert_events(&service, "a", 2_000..2_010).await;
    assert_eq!(
        service
            .send("DELETE", &format!("/subscriptions/{id}"), None)
            .await
            .0,
        204
    );
    let messages = until(&mut socket, |message| message["type"] == "ended").await;
    let numbers = messages.iter().filter(|message| message["type"] == "event");
    let numbers: Vec<i64> = numbers.map(|message| event(message).1).collect();
    assert_eq!(numbers, (0..2_010).collect::<Vec<_>>());
    let ended = messages.last().unwrap();
    assert_eq!(
        (&ended["handle"], &ended["reason"]),
        (&json!("h"), &json!("deleted"))
    );
    service.publish("b", json!({"n": 1})).await;
    assert_eq!(event(&socket.message().await), (vec!["stays"], 1));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_deployment_is_a_gap_and_one_before_the_subscription_too() {
    let service = Service::start().await;
    let mut early = open(&service).await;
    let other = service.subscribe(json!({"type": "b"})).await;
    let before = subscribe(&mut early, "x", &other).await["cursor"].clone();
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    tell(
        &mut socket,
        json!({"type": "subscribe", "handle": "h", "subscription": id, "after": before}),
    )
    .await;
    let messages = until(&mut socket, |message| message["type"] == "live").await;
    let kinds: Vec<_> = messages
        .iter()
        .map(|message| message["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["connected", "gap", "live"]);
    assert_eq!(messages[0]["recovered"], false);
    assert_eq!(messages[1]["reason"], "before_subscription");
    assert_eq!(
        (&messages[1]["to"], &messages[1]["replay"]),
        (&json!(["h"]), &json!(true))
    );
    let foreign = tidegate::position::Cursor::parse(before.as_str().unwrap()).unwrap();
    let foreign = foreign
        .position
        .cursor(tidegate::position::DeploymentId([9; 6]));
    let wish = json!({"type": "subscribe", "handle": "i", "subscription": id, "after": foreign});
    tell(&mut socket, wish.clone()).await;
    let (connected, gap) = (socket.message().await, socket.message().await);
    assert_eq!(
        (&connected["recovered"], &connected["replaying"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        (&gap["reason"], &gap["to"]),
        (&json!("other_deployment"), &json!(["i"]))
    );
    let mut wish = wish;
    wish["handle"] = json!("j");
    wish["onGap"] = json!("end");
    tell(&mut socket, wish).await;
    let messages = until(&mut socket, |message| message["type"] == "ended").await;
    let ended = messages.last().unwrap();
    assert_eq!(
        (&ended["handle"], &ended["reason"], &ended["code"]),
        (&json!("j"), &json!("resync"), &json!(4002))
    );
    assert!(ended["retryAfterMs"].is_u64());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_catches_up_can_be_unsubscribed_and_used_again() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut first = open(&service).await;
    let begun = subscribe(&mut first, "x", &id).await["cursor"].clone();
    insert_events(&service, "a", 0..500).await;
    until(&mut first, |message| message["event"]["data"]["n"] == 499).await;
    let mut socket = open(&service).await;
    // More than may replay at the same time.
    let handles: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    for _ in 0..2 {
        for handle in &handles {
            let wish =
                json!({"type": "subscribe", "handle": handle, "subscription": id, "after": begun});
            tell(&mut socket, wish).await;
            tell(
                &mut socket,
                json!({"type": "unsubscribe", "handle": handle}),
            )
            .await;
        }
    }
    tell(&mut socket, json!({"type": "ping"})).await;
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = 4 * handles.len();
    while left > 0 {
        let message = socket.message().await;
        let kind = message["type"].as_str().unwrap();
        let of = kinds.entry(message["handle"].as_str().unwrap_or_default().to_owned());
        match kind {
            "connected" => assert_eq!(message["replaying"], true, "{message}"),
            // Whether it was live by then or not, its last words say so.
            "ended" => assert_eq!(message["reason"], "unsubscribed", "{message}"),
            "live" | "event" | "pong" => continue,
            _ => panic!("{message}"),
        }
        of.or_default().push(kind.to_owned());
        left -= 1;
    }
    for handle in &handles {
        assert_eq!(
            kinds[handle],
            ["connected", "ended", "connected", "ended"],
            "{handle}"
        );
    }
    service
        .until("no channel is left but one", async || {
            service.count("tidegate_channels").await == 1
        })
        .await;
    service.stop().await;
}
