//! A slow stop: connections end over a while, and everything else goes on meanwhile.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    kit::connect_many,
    process::Process,
    raw::{Raw, upgrade_request},
    support::{DEADLINE, Events, Service, Socket},
};

const SOCKETS: usize = 100;

/// Starts a node that takes `window` to end its connections.
async fn start(window: Duration) -> Service {
    Service::start_with(|config| {
        config.shutdown_timeout = DEADLINE;
        config.socket.drain = window;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_one_after_the_other_and_are_told_when_to_come_back() {
    const WINDOW: Duration = Duration::from_secs(2);
    let service = start(WINDOW).await;
    let id = service.subscribe(json!({})).await;
    let mut sockets = connect_many(&service, &id, SOCKETS).await;
    service.begin_stop();
    let told = sockets
        .iter_mut()
        .map(|socket| socket.assert_ends(1001, "shutdown"));
    let mut seen = BTreeSet::new();
    let counting = async {
        loop {
            seen.insert(service.count("tidegate_connections").await);
        }
    };
    // Behind the last end nobody answers any more.
    let told = tokio::select! {
        biased;
        told = join_all(told) => told,
        () = counting => unreachable!("it counts for ever"),
    };
    assert!(seen.len() > 3, "not all at once: {seen:?}");
    let pauses: BTreeSet<u64> = told
        .iter()
        .map(|ended| ended["retryAfterMs"].as_u64().expect("a pause"))
        .collect();
    assert!(pauses.len() > SOCKETS / 2, "spread: {pauses:?}");
    assert!(u128::from(*pauses.last().unwrap()) <= WINDOW.as_millis());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_is_not_ready_takes_no_connection_and_serves_all_else() {
    // The drain takes many ticks, so the following requests are sent while connections are open.
    let service = start(DEADLINE / 2).await;
    let id = service.subscribe(json!({})).await;
    let mut sockets = connect_many(&service, &id, SOCKETS * 5).await;
    let mut last = sockets.split_off(SOCKETS * 4);
    let (events, connected) = Events::connect(&service, &id).await;
    drop(events);
    let cursor = connected.id;
    service.begin_stop();
    let not_ready = async || service.status("/ready").await == 503;
    service.until("not ready", not_ready).await;
    assert_eq!(service.status("/live").await, 200);
    let mut raw = Raw::dial(service.address).await;
    raw.send(upgrade_request(&id, "").as_bytes()).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    // A status would end a browser's `EventSource` for good.
    let refused = Events::refused(&service, &id, &cursor, "shutdown").await;
    assert_eq!(refused.data["code"], 1001);
    // Clients that are still connected get live events.
    service.publish("meanwhile", json!(1)).await;
    let open = service.count("tidegate_connections").await;
    assert!(open > 0, "the window is not over");
    // Once the clients have left, the node waits for nothing.
    drop(sockets);
    let heard = join_all(last.iter_mut().map(first_type)).await;
    assert!(heard.iter().any(|kind| kind == "event"), "{heard:?}");
    drop(last);
    service.stop().await;
}

async fn first_type(socket: &mut Socket) -> String {
    socket.message().await["type"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_the_drain() {
    let settings = "export TIDEGATE_SHUTDOWN_TIMEOUT=2h TIDEGATE_SOCKET__DRAIN=1h";
    let process = Process::serve(settings).await;
    let id = process.service.subscribe(json!({})).await;
    let mut sockets = connect_many(&process.service, &id, SOCKETS * 2).await;
    process.signal("TERM").await;
    let service = &process.service;
    let not_ready = async || service.status("/ready").await == 503;
    service.until("not ready", not_ready).await;
    process.signal("TERM").await;
    assert_eq!(process.end().await, Some(143));
    let mut cut = 0;
    for socket in &mut sockets {
        let told = matches!(socket.frame().await, Some(Ok(message)) if message.is_text());
        cut += usize::from(!told);
    }
    assert!(cut > 0, "the drain was not over");
}
