//! The list of connections.

use serde_json::{Value, json};

use crate::support::{Service, Socket};

async fn listed(service: &Service, id: &str) -> Vec<Value> {
    let answer = service
        .get(&format!("/subscriptions/{id}/connections"))
        .await;
    answer["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_from_the_first_to_the_last_message() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    assert_eq!(listed(&service, &id).await, Vec::<Value>::new());
    let mut first = service.open(&id, "").await;
    let connected = first.message().await;
    let path = format!("/api/v1/subscriptions/{id}/events");
    let second = Socket::open(service.address, &path, Some("cloudevents.json")).await;
    let items = listed(&service, &id).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["connectionId"], connected["connectionId"]);
    assert_eq!(items[0]["protocol"], "tidegate.v1");
    assert_eq!(items[1]["protocol"], "cloudevents.json");
    for item in &items {
        let remote = item["remote"].as_str().unwrap();
        assert!(remote.starts_with("127.0.0.1:"), "{item}");
        assert!(
            item["connectedAt"].as_str().unwrap().ends_with('Z'),
            "{item}"
        );
        assert_eq!(
            (&item["waiting"], &item["replaying"]),
            (&json!(0), &json!(false))
        );
    }
    first.leave().await;
    drop(second);
    service
        .until("nobody is connected", async || {
            listed(&service, &id).await.is_empty()
        })
        .await;
    assert_eq!(
        service.status("/subscriptions/nobody/connections").await,
        404
    );
}
