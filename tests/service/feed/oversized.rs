//! A change that is too large for a change stream is skipped, and its neighbours are not.

use bson::doc;
use serde_json::json;

use super::{failpoint::Failing, listener::expect, publishers::event, total};

/// Image and change together exceed the 16 MB that a document may have.
const LARGE: usize = 9 << 20;

fn large(letter: &str) -> String {
    letter.repeat(LARGE)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_change_takes_effect_and_the_events_around_it_are_delivered() {
    let failing = Failing::start().await;
    let service = &failing.service;
    let free = doc! {"collMod": "subscriptions", "validator": {}};
    service.database.run_command(free).await.unwrap();
    let id = service.subscribe(json!({"data.even": true})).await;
    let mut socket = service.connect(&id).await;
    // Everything must come in one reply of the server, so that the change spoils the whole reply.
    let before = failing.resumes().await;
    failing.fail("alwaysOn", doc! {"errorCode": 6}).await;
    failing.until_failed(before).await;
    let publish = async || {
        for n in 0..6 {
            failing.events().insert_one(event("one", n)).await.unwrap();
        }
    };
    publish().await;
    let change = doc! {"$set": {"filter": {"data.even": false}, "note": large("a")}};
    let subscriptions = failing.subscriptions();
    let changed = subscriptions.update_one(doc! {"_id": &id}, change).await;
    assert_eq!(changed.unwrap().modified_count, 1);
    publish().await;
    failing.heal().await;

    for n in [0, 2, 4] {
        assert_eq!(socket.event().await["n"], json!(n));
    }
    let updated = expect(&mut socket, "updated").await;
    assert_eq!(
        updated["subscription"]["filter"],
        json!({"data.even": false})
    );
    for n in [1, 3, 5] {
        assert_eq!(socket.event().await["n"], json!(n));
    }
    let oddities = "tidegate_feed_oddities_total{operation=\"oversized\"}";
    assert_eq!(total(service, oddities).await, 1);
    service.assert_books_balance().await;
    failing.stop().await;
}
