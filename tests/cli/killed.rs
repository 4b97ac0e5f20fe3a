//! Service and database are killed at random moments; the client remembers nothing.

use std::net::SocketAddr;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::{
    node::{address, dev, wait_until_gone},
    support::Socket,
};

const ROUNDS: u32 = 4;
const EVENTS_A_ROUND: i64 = 120;

fn http() -> reqwest::Client {
    // The client needs a TLS provider although it does not use TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

/// Publishes from `next` up to `end`, one after another. Returns the first event that was not answered.
async fn publish(server: String, mut next: i64, end: i64) -> i64 {
    let http = http();
    while next < end {
        // It has an id of its own, so it is stored once however often it is sent.
        let event =
            json!({"id": next.to_string(), "source": "test", "type": "t", "data": {"n": next}});
        let url = format!("{server}/api/v1/events");
        match http.post(url).json(&event).send().await {
            Ok(answer) if answer.status().is_success() => next += 1,
            _ => return next,
        }
    }
    next
}

/// Everything acknowledged and answered survives a kill of both. Repeats are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_positions_survive_kills_of_service_and_database() {
    let mut random = StdRng::seed_from_u64(11);
    let folder = tempfile::tempdir().unwrap();
    let (mut published, mut expected) = (0, 0);
    for round in 1..=ROUNDS {
        let running = dev(folder.path());
        let server = address(&running);
        if round == 1 {
            let url = format!("{server}/api/v1/subscriptions/a");
            let body = json!({"filter": {"type": "t"}, "durable": true});
            let made = http().put(url).json(&body).send().await.unwrap();
            assert_eq!(made.status(), 201);
        }
        let end = i64::from(round) * EVENTS_A_ROUND;
        let publishing = tokio::spawn(publish(server.clone(), published, end));
        let host: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let path = "/api/v1/subscriptions/a/events";
        let mut socket = Socket::open(host, path, None).await.unwrap();
        assert_eq!(socket.message().await["recovered"], true);
        let until = match round {
            ROUNDS => end,
            _ => expected + random.random_range(10..EVENTS_A_ROUND / 2),
        };
        while expected < until {
            let event = socket.message().await;
            let n = event["event"]["data"]["n"].as_i64().unwrap();
            assert!(n <= expected, "{n} came, {expected} is missing");
            expected = expected.max(n + 1);
            if random.random_bool(0.5) {
                let ack = json!({"type": "ack", "cursor": event["cursor"]});
                socket.say(&ack.to_string()).await;
            }
        }
        // `dev` takes its mongod along.
        running.signal("KILL");
        assert_eq!(running.end(), None);
        published = publishing.await.unwrap();
        wait_until_gone(folder.path());
    }
    // The last event may arrive before its publisher's answer, which the kill then cuts.
    let answered = published..=published + 1;
    assert!(answered.contains(&expected), "{expected} of {published}");
}
