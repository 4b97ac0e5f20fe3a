//! The private mongod: that it starts, that it stops with its owner, that its data stays.

mod support;

use bson::doc;
use mongodb::Client;
use tidegate::mongod::{Mongod, Options};

#[tokio::test]
async fn shared_server_takes_writes() {
    let mongod = support::shared_mongod().await;
    let client = Client::with_uri_str(mongod.uri()).await.expect("a client");
    let things = client
        .database(&support::database_name())
        .collection("things");

    things.insert_one(doc! { "a": 1 }).await.expect("a write");

    assert_eq!(things.count_documents(doc! {}).await.expect("a read"), 1);
}

#[tokio::test]
async fn stop_leaves_no_process_and_no_temporary_folder() {
    let mongod = Mongod::start(Options::default()).await.expect("a mongod");
    let (id, dir) = (
        mongod.id().expect("a process"),
        mongod.data_dir().to_owned(),
    );
    assert!(is_alive(id) && dir.exists());

    mongod.stop().await;

    assert!(!is_alive(id) && !dir.exists());
}

fn is_alive(id: u32) -> bool {
    std::path::Path::new("/proc").join(id.to_string()).exists()
}
