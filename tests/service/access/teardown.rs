//! Teardowns: who is shown what became of a deleted subscription.

use bson::{Document, doc};
use serde_json::{Value, json};

use super::{connect, make, send, start, subscribe};
use crate::support::Service;

async fn teardown(service: &Service, key: &str, id: &str) -> (u16, Value) {
    send(
        service,
        key,
        "GET",
        &format!("/subscriptions/{id}/teardown"),
        None,
    )
    .await
}

async fn key_of(service: &Service, admin: &str, tenant: &str, scopes: &[&str]) -> String {
    let body = json!({"scopes": scopes, "tenant": tenant});
    make(service, admin, body).await.1
}

const UNKNOWN: &str = "sub_01990000000070000000000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_shown_to_those_who_saw_the_subscription() {
    let (service, admin) = start().await;
    let sibling = service.sibling().await;
    let scopes = ["subscriptions:own", "events:read"];
    let acme = key_of(&service, &admin, "acme", &scopes).await;
    let reader = key_of(&service, &admin, "acme", &["subscriptions:read"]).await;
    let colleague = key_of(&service, &admin, "acme", &scopes).await;
    let other = key_of(&service, &admin, "other", &["subscriptions:write"]).await;
    let id = subscribe(&service, &acme).await;
    let mut sockets = [
        connect(&service, &admin, &id).await,
        connect(&sibling, &admin, &id).await,
    ];
    assert_eq!(teardown(&service, &acme, &id).await.0, 409);
    assert_eq!(teardown(&service, &other, &id).await.0, 404);
    let path = format!("/subscriptions/{id}");
    assert_eq!(send(&service, &acme, "DELETE", &path, None).await.0, 204);
    for socket in &mut sockets {
        socket.assert_ends(4500, "deleted").await;
    }
    drop(sockets);
    for asked in [&service, &sibling] {
        for key in [&acme, &reader, &admin] {
            let complete = async || teardown(asked, key, &id).await.1["complete"] == true;
            asked.until("the teardown is complete", complete).await;
            let (_, shown) = teardown(asked, key, &id).await;
            for node in shown["nodes"].as_array().unwrap() {
                assert_eq!(
                    (&node["state"], &node["closed"]),
                    (&json!("closed"), &json!(1))
                );
                assert_eq!(node["host"].is_string(), key == &admin, "{shown}");
                assert_eq!(node["address"].is_string(), key == &admin, "{shown}");
            }
        }
        for key in [&colleague, &other] {
            let hidden = teardown(asked, key, &id).await;
            let unknown = teardown(asked, key, UNKNOWN).await;
            assert_eq!(hidden.0, 404);
            let same = hidden.1.to_string().replace(&id, UNKNOWN);
            assert_eq!(same, unknown.1.to_string());
        }
    }
    let receipts = service.database.collection::<Document>("receipts");
    let of_acme = receipts.count_documents(doc! {"subscription": &id, "tenant": "acme"});
    assert_eq!(of_acme.await.unwrap(), 2);
    service.stop().await;
    sibling.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_the_oplog_alone_tells_is_for_operators() {
    let (service, admin) = start().await;
    let acme = key_of(&service, &admin, "acme", &["subscriptions:write"]).await;
    let id = subscribe(&service, &acme).await;
    let path = format!("/subscriptions/{id}");
    assert_eq!(send(&service, &acme, "DELETE", &path, None).await.0, 204);
    assert_eq!(teardown(&service, &acme, &id).await.0, 200);
    let late = service.sibling().await;
    let (status, shown) = teardown(&late, &admin, &id).await;
    assert_eq!(status, 200, "{shown}");
    let hidden = teardown(&late, &acme, &id).await;
    assert_eq!(hidden.0, 404, "{}", hidden.1);
    let unknown = teardown(&late, &acme, UNKNOWN).await;
    let same = hidden.1.to_string().replace(&id, UNKNOWN);
    assert_eq!(same, unknown.1.to_string());
    service.stop().await;
    late.stop().await;
}
