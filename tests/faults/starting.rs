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

    let logs: String = nodes.iter().map(Node::log).collect();
    let names = migrations();
    for name in &names {
        let line = format!("applied migration=\"{name}\"");
        assert_eq!(logs.matches(&line).count(), 1, "{name}:\n{logs}");
    }
    let recorded = world.database().collection::<Document>("migrations");
    let applied = doc! {"_id": {"$in": &names}};
    let applied = recorded.count_documents(applied).await.unwrap();
    assert_eq!(applied, names.len() as u64);
    for node in &mut nodes {
        node.stop().await.unwrap();
    }
    world.stop().await.unwrap();
}

/// Returns the names of the files in `migrations/`.
fn migrations() -> Vec<String> {
    let files = std::fs::read_dir("migrations").unwrap();
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let name = file.unwrap().file_name().into_string().unwrap();
        Some(name.strip_suffix(".json")?.to_owned())
    };
    files.filter_map(name).collect()
}
