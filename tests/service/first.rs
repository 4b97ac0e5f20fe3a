//! First light.

use crate::support::Service;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn first_light() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    service.publish("a", json!({"n": 1})).await;
    service.publish("b", json!({"n": 2})).await;
    service.publish("a", json!({"n": 3})).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    assert_eq!(socket.event().await, json!({"n": 3}));
    let (status, _) = service
        .send("DELETE", &format!("/subscriptions/{id}"), None)
        .await;
    assert_eq!(status, 204);
    socket.assert_ends(4500, "deleted").await;
    service.assert_books_balance().await;

    service.stop().await;
}
