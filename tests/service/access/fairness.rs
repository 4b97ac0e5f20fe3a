//! Fairness: a tenant that asks for much takes nothing from another.

use bson::{Document, doc};
use futures_util::{TryStreamExt as _, future::join_all};
use serde_json::json;

use super::{make, start_with};
use crate::support::{Service, shared_mongod};

/// Starts a node that has so few connections to the database that one request publishes at a time.
async fn start() -> (Service, String) {
    let uri = shared_mongod().await.uri();
    start_with(|config| config.mongodb_uri = format!("{uri}&maxPoolSize=2")).await
}

/// Returns the bytes of the bodies that the node holds.
async fn held(service: &Service, admin: &str) -> u64 {
    let metrics = format!("http://{}/metrics", service.address);
    let request = service.http.get(metrics).bearer_auth(admin);
    let text = request.send().await.unwrap().text().await.unwrap();
    let name = "tidegate_http_held_bytes{of=\"bodies\"} ";
    let held = text.lines().find_map(|line| line.strip_prefix(name));
    held.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_floods_publishing_does_not_keep_others_from_their_turn() {
    let (service, admin) = start().await;
    let of = |tenant: &str| json!({"scopes": ["events:publish"], "tenant": tenant});
    let (_, busy) = make(&service, &admin, of("busy")).await;
    let (_, other) = make(&service, &admin, of("other")).await;
    let event = |n: usize| json!({"id": n.to_string(), "type": "a"}).to_string();
    let publish = async |key: String, n: usize| {
        let request = service.http.post(service.url("/events")).bearer_auth(&key);
        let request = request.header("content-type", "application/json");
        let answer = request.body(event(n)).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    };

    // The first event has to wait for one with the same id, which a program has not committed.
    let events = service.database.collection::<Document>("events");
    let mut session = service.database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let same = doc! {"id": "0", "source": "/tenants/busy", "type": "a"};
    events.insert_one(same).session(&mut session).await.unwrap();
    let bytes = event(0).len() as u64;
    let mut first = Box::pin(publish(busy.clone(), 0));
    let mut more = Box::pin(join_all((1..6).map(|n| publish(busy.clone(), n))));
    let mut its = Box::pin(publish(other, 6));
    let watch = async {
        let at_the_database = async || held(&service, &admin).await > bytes;
        service
            .until("the first is at the database", at_the_database)
            .await;
        held(&service, &admin).await
    };
    let with_first = tokio::select! {
        with_first = watch => with_first,
        () = &mut first => panic!("it did not wait"),
    };
    let waiting = async |count: u64| {
        let wait = async || held(&service, &admin).await == with_first + count * bytes;
        service.until("the others wait", wait).await;
    };
    tokio::select! {
        () = waiting(5) => {}
        _ = &mut more => panic!("they did not wait"),
    }
    tokio::select! {
        () = waiting(6) => {}
        () = &mut its => panic!("it did not wait"),
        _ = &mut more => panic!("they did not wait"),
    }
    session.abort_transaction().await.unwrap();
    tokio::join!(first, more, its);

    let find = events.find(doc! {}).sort(doc! {"ts": 1});
    let stored: Vec<Document> = find.await.unwrap().try_collect().await.unwrap();
    let tenants: Vec<_> = stored
        .iter()
        .map(|e| e.get_str("tenant").unwrap())
        .collect();
    assert_eq!(
        tenants,
        ["busy", "busy", "other", "busy", "busy", "busy", "busy"]
    );
    service.stop().await;
}
