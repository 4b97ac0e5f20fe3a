//! Writes to a document that another program keeps changing.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::{Client, Database, options::WriteConcern};
use reqwest::Method;
use serde_json::json;
use tidegate::mongod::Cluster;
use tokio::{task::AbortHandle, time::interval};

use super::{
    request, send,
    support::{Service, options, shared_mongod},
    with_json,
};

const PATH: &str = "/subscriptions/a";

/// A program that keeps changing the document until it is dropped.
struct Writer(AbortHandle);

impl Writer {
    async fn start(uri: &str, database: &str, every: Duration) -> Self {
        let client = Client::with_uri_str(uri).await.unwrap();
        let subscriptions = client
            .database(database)
            .collection::<Document>("subscriptions");
        let work = async move {
            let mut turns = interval(every);
            loop {
                turns.tick().await;
                subscriptions
                    .update_one(doc! {"_id": "a"}, doc! {"$inc": {"theirs": 1}})
                    .write_concern(WriteConcern::nodes(1))
                    .await
                    .unwrap();
            }
        };
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes both secondaries follow a second late.
async fn delay_secondaries(database: &Database, primary: usize) {
    let admin = database.client().database("admin");
    let answer = admin.run_command(doc! {"replSetGetConfig": 1}).await;
    let mut config = answer.unwrap().get_document("config").unwrap().clone();
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    for (number, member) in config
        .get_array_mut("members")
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        if let (true, Bson::Document(member)) = (number != primary, member) {
            member.insert("priority", 0);
            member.insert("secondaryDelaySecs", 1_i64);
        }
    }
    admin
        .run_command(doc! {"replSetReconfig": config})
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_goes_through_where_others_write_faster_than_the_majority_follows() {
    let cluster = Cluster::start(options()).await.unwrap();
    let service = Service::start_with(|config| config.mongodb_uri = cluster.uri()).await;
    let body = json!({"filter": {"a": 1}});
    let put = || with_json(&service, Method::PUT, PATH, &body);
    assert_eq!(send(put()).await.status, 201);
    delay_secondaries(&service.database, cluster.primary().await.unwrap()).await;
    let every = Duration::from_millis(100);
    let writer = Writer::start(&cluster.uri(), &service.config.database, every).await;

    let patch = with_json(&service, Method::PATCH, PATH, &json!({"name": "n"}));
    let patched = send(patch).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let replaced = send(put()).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(replaced.json()["name"], json!(null));
    let delete = request(&service, Method::DELETE, PATH).header("if-match", "*");
    let deleted = send(delete).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let again = send(request(&service, Method::DELETE, PATH)).await;
    assert_eq!(again.status, 404, "{again:?}");
    drop(writer);
    service.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_others_overtake_each_time_is_given_up_with_503() {
    let service = Service::start_with(|config| {
        config.mongodb_uri += "&appName=overtaken";
        config.limits.database_timeout = Duration::from_secs(2);
    })
    .await;
    let body = json!({"filter": {"a": 1}});
    let put = with_json(&service, Method::PUT, PATH, &body);
    assert_eq!(send(put).await.status, 201);
    let uri = shared_mongod().await.uri();
    let slow = doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": {"failCommands": ["findAndModify"], "appName": "overtaken",
            "blockConnection": true, "blockTimeMS": 100},
    };
    let admin = service.database.client().database("admin");
    admin.run_command(slow).await.unwrap();
    let every = Duration::from_millis(5);
    let writer = Writer::start(&uri, &service.config.database, every).await;
    for given_up in [
        with_json(&service, Method::PATCH, PATH, &json!({"name": "n"})),
        with_json(&service, Method::PUT, PATH, &json!({"filter": {"b": 1}})),
        request(&service, Method::DELETE, PATH).header("if-match", "*"),
    ] {
        let answer = send(given_up).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.problem("contended").is_empty());
        assert_eq!(answer.header("retry-after"), "1");
    }
    drop(writer);
    let over = doc! {"configureFailPoint": "failCommand", "mode": "off"};
    admin.run_command(over).await.unwrap();
    service.stop().await;
}
