//! A node whose feed is held up gives the same answers, and says that it has not applied them.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::{Value, json};
use tidegate::mongod::Mongod;

use crate::support::{Service, options};

/// The application name that tells the node's requests from the test's, for the fail point.
const NAME: &str = "held";

/// Starts a node on a mongod of its own, because a fail point is for the whole server.
async fn start(applied_timeout: Duration) -> (Mongod, Service) {
    let mongod = Mongod::start(options()).await.unwrap();
    let uri = mongod.uri();
    let service = Service::start_with(|config| {
        config.mongodb_uri = format!("{uri}&appName={NAME}");
        config.limits.applied_timeout = applied_timeout;
        config.feed.retry_max = Duration::from_millis(100);
    })
    .await;
    (mongod, service)
}

/// Makes every change stream of the node fail, and waits until it has noticed.
async fn hold(service: &Service) {
    let data = doc! {"failCommands": ["aggregate", "getMore"], "errorCode": 11600, "appName": NAME};
    fail_point(service, doc! {"mode": "alwaysOn", "data": data}).await;
    let held = async || service.get("/health").await["parts"]["feed"]["status"] == "cut";
    service.until("the feed is held", held).await;
}

async fn release(service: &Service) {
    fail_point(service, doc! {"mode": "off"}).await;
}

async fn fail_point(service: &Service, settings: Document) {
    let mut command = doc! {"configureFailPoint": "failCommand"};
    command.extend(settings);
    let admin = service.database.client().database("admin");
    admin.run_command(command).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_not_applied_yet_is_answered_as_ever_and_says_so() {
    let (mongod, service) = start(Duration::from_millis(200)).await;
    let subscription = json!({"filter": {"type": "a"}});
    let renamed = json!({"name": "renamed"});
    let event = json!({"id": "1", "type": "a", "data": {"n": 1}});
    let writes = [
        ("PUT", "/subscriptions/mine", Some(&subscription), 201),
        ("PATCH", "/subscriptions/mine", Some(&renamed), 200),
        ("PUT", "/subscriptions/mine", Some(&subscription), 200),
        ("DELETE", "/subscriptions/mine", None, 204),
        ("POST", "/subscriptions", Some(&subscription), 201),
        ("POST", "/events", Some(&event), 202),
    ];
    for (method, path, body, status) in writes {
        assert_eq!(
            write(&service, method, path, body).await,
            (status, None),
            "{method} {path}"
        );
    }
    let deleted = service
        .database
        .collection::<Document>("events")
        .delete_many(doc! {})
        .await;
    assert_eq!(deleted.unwrap().deleted_count, 1);
    hold(&service).await;
    for (method, path, body, status) in writes {
        let said = Some("false".to_owned());
        assert_eq!(
            write(&service, method, path, body).await,
            (status, said),
            "{method} {path}"
        );
    }
    release(&service).await;
    service.stop().await;
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_changes_nothing_waits_for_no_feed() {
    // A request that waited would wait until the test fails.
    let (mongod, service) = start(Duration::from_hours(1)).await;
    let subscription = json!({"name": "same", "filter": {"type": "a"}});
    let path = "/subscriptions/mine";
    assert_eq!(
        write(&service, "PUT", path, Some(&subscription)).await,
        (201, None)
    );
    hold(&service).await;
    assert_eq!(
        write(&service, "PUT", path, Some(&subscription)).await,
        (200, None)
    );
    let same = json!({"name": "same", "filter": {"type": "a"}});
    assert_eq!(
        write(&service, "PATCH", path, Some(&same)).await,
        (200, None)
    );
    assert_eq!(
        write(&service, "DELETE", "/subscriptions/none", None).await,
        (404, None)
    );
    assert_eq!(service.get(path).await["revision"], 1);
    release(&service).await;
    service.stop().await;
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_while_the_feed_was_held_comes_in_order() {
    let (mongod, service) = start(Duration::from_millis(200)).await;
    let id = service.subscribe(json!({"type": "a"})).await;
    let mut socket = service.connect(&id).await;
    hold(&service).await;
    let path = format!("/subscriptions/{id}");
    service.publish("a", json!({"n": 1})).await;
    let other = json!({"filter": {"type": "b"}});
    assert_eq!(write(&service, "PATCH", &path, Some(&other)).await.0, 200);
    service.publish("a", json!({"n": 2})).await;
    service.publish("b", json!({"n": 3})).await;
    assert_eq!(write(&service, "DELETE", &path, None).await.0, 204);
    release(&service).await;
    assert_eq!(socket.event().await, json!({"n": 1}));
    let updated = socket.message().await;
    assert_eq!(updated["subscription"]["filter"], json!({"type": "b"}));
    assert_eq!(socket.event().await, json!({"n": 3}));
    socket.assert_ends(4500, "deleted").await;
    service.stop().await;
    mongod.stop().await;
}

/// Sends a write. Returns its status and the value of `Tidegate-Applied`.
async fn write(
    service: &Service,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Option<String>) {
    let mut request = service
        .http
        .request(method.parse().unwrap(), service.url(path));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let applied = answer.headers().get("tidegate-applied");
    let applied = applied.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), applied)
}
