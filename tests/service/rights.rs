//! Rights that are withdrawn from a running node, and given back.

use bson::{Document, doc};
use serde_json::json;
use tidegate::config::Config;

use crate::support::{Guarded, Service, database_name};

fn roles(database: &str) -> Vec<Document> {
    let role = |role: &str| doc! {"role": role, "db": database};
    vec![role("readWrite"), role("dbAdmin")]
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_rights_are_told_and_given_back_all_goes_on() {
    let guarded = Guarded::start().await;
    let admin = guarded.admin();
    let database = database_name();
    let user = doc! {"createUser": "service", "pwd": "p", "roles": roles(&database)};
    admin.run_command(user).await.unwrap();
    let config = Config {
        mongodb_uri: guarded.uri("service", "p"),
        database: database.clone(),
        ..Config::default()
    };
    let service = Service::on(config).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    let events = admin.client().database(&database).collection("events");

    let withdraw = doc! {"revokeRolesFromUser": "service", "roles": roles(&database)};
    admin.run_command(withdraw).await.unwrap();
    let path = format!("/subscriptions/{id}");
    service
        .until("refused", async || service.status(&path).await == 503)
        .await;
    let (status, problem) = service.send("GET", &path, None).await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("/problems/database-forbids"))
    );
    let parts = async || service.send("GET", "/health", None).await.1["parts"].clone();
    service
        .until("told", async || {
            let parts = parts().await;
            parts["database"]["status"] == "forbids" && parts["feed"]["status"] == "cut"
        })
        .await;
    let detail = parts().await["database"]["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("not authorized"),
        "{detail}"
    );
    events
        .insert_one(doc! {"type": "a", "data": "meanwhile"})
        .await
        .unwrap();

    let give = doc! {"grantRolesToUser": "service", "roles": roles(&database)};
    admin.run_command(give).await.unwrap();
    assert_eq!(socket.event().await, json!("meanwhile"));
    assert_eq!(service.status(&path).await, 200);
    service
        .until("well", async || parts().await["database"]["status"] == "up")
        .await;
    service.assert_books_balance().await;
    service.stop().await;
}
