//! The private replica set of three: it survives its members.

use bson::doc;
use mongodb::Client;
use tidegate::mongod::{Cluster, Options};

#[tokio::test]
async fn majority_writes_outlive_a_killed_primary_and_its_return() {
    let mut cluster = Cluster::start(Options::default()).await.expect("a cluster");
    let client = Client::with_uri_str(cluster.uri()).await.expect("a client");
    let things = client.database("test").collection("things");
    things.insert_one(doc! { "a": 1 }).await.expect("a write");
    let primary = cluster.primary().await.expect("a primary");

    cluster.kill(primary).await;
    things
        .insert_one(doc! { "a": 2 })
        .await
        .expect("a write after the election");
    cluster.restart(primary).await.expect("the member again");
    let next = cluster.primary().await.expect("a primary");
    cluster.kill(next).await;
    things
        .insert_one(doc! { "a": 3 })
        .await
        .expect("a write that needs the member that is back");

    assert_eq!(things.count_documents(doc! {}).await.expect("a read"), 3);
    cluster.stop().await;
}

#[tokio::test]
async fn paused_primary_is_replaced() {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster");
    let primary = cluster.primary().await.expect("a primary");

    cluster.pause(primary).expect("a signal");

    while cluster.primary().await.expect("a primary") == primary {}
    cluster.resume(primary).expect("a signal");
    cluster.stop().await;
}
