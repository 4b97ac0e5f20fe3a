//! Disconnects at random moments, with acknowledgements and no memory in the client.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::support::{ack, durable, next};
use crate::support::Service;

const EVENTS: i64 = 600;

async fn publish_all(service: &Service) {
    for n in 0..EVENTS {
        service.publish("tick", json!({"n": n})).await;
    }
}

/// Repeats are allowed, losses are not: whatever was acknowledged, the next connection, on any node, goes on with the
/// next event or an earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn disconnects_at_random_points_lose_nothing() {
    let mut random = StdRng::seed_from_u64(4);
    let first = Service::start().await;
    let second = first.sibling().await;
    let id = durable(&first).await;
    let publishing = publish_all(&first);
    let consuming = async {
        let mut expected = 0;
        let mut rounds = 0;
        while expected < EVENTS {
            rounds += 1;
            let node = if random.random() { &first } else { &second };
            let mut socket = node.connect(&id).await;
            for _ in 0..random.random_range(0..40) {
                let (n, cursor) = next(&mut socket).await;
                assert!(
                    n <= expected,
                    "round {rounds}: {n} came, {expected} is missing"
                );
                expected = expected.max(n + 1);
                if random.random_bool(0.7) {
                    ack(&mut socket, &cursor).await;
                }
                if expected == EVENTS {
                    break;
                }
            }
            if random.random() {
                socket.leave().await;
            }
        }
        rounds
    };
    let ((), rounds) = tokio::join!(publishing, consuming);
    assert!(rounds > 15, "{rounds}");
    first.stop().await;
    second.stop().await;
}
