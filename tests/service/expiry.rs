//! Subscriptions that expire: delivery is exact, and the document is deleted.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt as _;
use serde_json::json;

use super::support::Service;

fn soon(milliseconds: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + milliseconds)
}

/// Reads the wall times at which numbered events were committed, from the server's own log.
async fn commits(service: &Service) -> Vec<(i64, DateTime)> {
    let client = service.database.client();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let namespace = format!("{}.events", service.database.name());
    let find = oplog.find(doc! {"op": "i", "ns": namespace}).await.unwrap();
    let entries: Vec<Document> = find.try_collect().await.unwrap();
    let read = |entry: &Document| {
        let number = entry.get_document("o").unwrap().get_i64("_id").unwrap();
        (number, *entry.get_datetime("wall").unwrap())
    };
    entries.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_until_the_expiry_is_delivered_and_nothing_after_it() {
    let service = Service::start().await;
    let sibling = service.sibling().await;
    let expires_at = soon(1_500);
    let stored = service.database.collection::<Document>("subscriptions");
    let document = doc! {"_id": "short", "filter": {}, "expiresAt": expires_at};
    stored.insert_one(document).await.unwrap();
    let events = service.database.collection::<Document>("events");
    let publishing = tokio::spawn(async move {
        for number in 0_i64.. {
            events
                .insert_one(doc! {"_id": number, "data": number})
                .await
                .unwrap();
        }
    });
    let mut sockets = Vec::new();
    for node in [&service, &sibling, &service] {
        let after = if sockets.len() == 2 {
            "?since=1970-01-01T00:00:00Z"
        } else {
            ""
        };
        let mut socket = node.open("short", after).await;
        assert_eq!(socket.message().await["type"], "connected");
        sockets.push(socket);
    }
    let mut delivered = Vec::new();
    for socket in &mut sockets {
        let (messages, _) = socket.rest().await;
        let ended = messages.last().unwrap();
        assert_eq!(ended["reason"], "expired", "{ended}");
        let events = messages.iter().filter(|message| message["type"] == "event");
        let numbers: Vec<i64> = events
            .map(|event| event["event"]["data"].as_i64().unwrap())
            .collect();
        delivered.push(numbers);
    }
    publishing.abort();
    let commits = commits(&service).await;
    let until = commits.iter().filter(|(_, wall)| *wall <= expires_at);
    let last = until.map(|(number, _)| *number).max().unwrap();
    for numbers in &delivered {
        assert_eq!(numbers.last(), Some(&last));
        let first = numbers[0];
        assert_eq!(*numbers, (first..=last).collect::<Vec<_>>());
    }
    service.assert_books_balance().await;
    sibling.stop().await;
    service.stop().await;
}

/// A change of the date takes effect at its place among the events, however often it changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_prolonged_stays() {
    let service = Service::start().await;
    let expires_at =
        humantime::format_rfc3339(std::time::SystemTime::now() + Duration::from_secs(3));
    let body = json!({"filter": {}, "expiresAt": expires_at.to_string()});
    let made = service.post("/subscriptions", body).await;
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    let other = json!({"filter": {}, "expiresAt": expires_at.to_string()});
    let other = service.post("/subscriptions", other).await;
    let mut prolonged = service.connect(made["id"].as_str().unwrap()).await;
    let mut short = service.connect(other["id"].as_str().unwrap()).await;
    let (status, _) = service
        .send("PATCH", &path, Some(json!({"expiresAt": null})))
        .await;
    assert_eq!(status, 200);
    short.assert_ends(4501, "expired").await;
    assert_eq!(prolonged.message().await["type"], "updated");
    service.publish("a", json!({"n": 1})).await;
    assert_eq!(prolonged.event().await, json!({"n": 1}));
    assert_eq!(service.status(&path).await, 200);
    service.stop().await;
}
