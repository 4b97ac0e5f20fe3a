//! Many nodes start at once on an empty database: migrations are applied once, and all of them serve.

use bson::{Document, doc};
use futures_util::future::try_join_all;

use crate::{rig::node::Node, suite::empty_world};

const NODES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_race_for_the_migrations_and_all_start() {
    let (world, _turn) = empty_world(0).await;

    let starting = (0..NODES).map(|number| world.start_bare_node(number));
    let mut nodes = try_join_all(starting).await.unwrap();

    let migrations = world.database().collection::<Document>("migrations");
    let files = std::fs::read_dir("migrations").unwrap();
    let files = files.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".json")
    });
    let applied = doc! {"_id": {"$regex": "^[0-9]{4}_"}};
    let recorded = migrations.count_documents(applied).await.unwrap();
    assert_eq!(recorded, files.count() as u64);
    let logs: String = nodes.iter().map(Node::log).collect();
    for migration in ["0001_subscriptions", "0002_events", "0003_service"] {
        let line = format!("applied migration=\"{migration}\"");
        assert_eq!(logs.matches(&line).count(), 1, "{migration}:\n{logs}");
    }
    for node in &mut nodes {
        node.stop().await.unwrap();
    }
    world.stop().await.unwrap();
}
