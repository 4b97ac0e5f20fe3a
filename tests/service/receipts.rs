//! Nodes that know of each other, and their receipts for a delete.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate::config::Config;

use crate::{
    feed::failpoint::Failing,
    kit::connect_many,
    process::Process,
    support::{Service, Socket},
};

fn lively(config: &mut Config) {
    config.node.heartbeat_interval = Duration::from_millis(50);
    // The node does not wait long for clients that read nothing.
    config.socket.close_timeout = Duration::from_millis(500);
}

async fn nodes(service: &Service) -> Vec<Value> {
    let answer = service.get("/nodes").await;
    answer["items"].as_array().unwrap().clone()
}

/// Returns the ids of the living nodes, the oldest first.
async fn ids(service: &Service) -> Vec<String> {
    let nodes = nodes(service).await;
    let ids = nodes.iter().map(|node| node["id"].as_str().unwrap());
    ids.map(ToOwned::to_owned).collect()
}

async fn teardown(service: &Service, id: &str) -> Value {
    service.get(&format!("/subscriptions/{id}/teardown")).await
}

/// Returns the state and the number of closed sockets of a node in an answer.
fn of<'a>(teardown: &'a Value, node: &str) -> (&'a str, i64) {
    let all = teardown["nodes"].as_array().unwrap();
    let found = all.iter().find(|one| one["node"] == node);
    let found = found.unwrap_or_else(|| panic!("{node} is not in {teardown}"));
    (
        found["state"].as_str().unwrap(),
        found["closed"].as_i64().unwrap(),
    )
}

/// Waits until a teardown is complete.
async fn completed(service: &Service, id: &str) -> Value {
    let complete = async || teardown(service, id).await["complete"] == true;
    service.until("the teardown is complete", complete).await;
    teardown(service, id).await
}

async fn delete(service: &Service, id: &str, by_rest: bool) {
    if by_rest {
        let path = format!("/subscriptions/{id}");
        assert_eq!(service.send("DELETE", &path, None).await.0, 204);
    } else {
        let subscriptions = service.database.collection::<Document>("subscriptions");
        let deleted = subscriptions.delete_one(doc! {"_id": id}).await.unwrap();
        assert_eq!(deleted.deleted_count, 1);
    }
}

async fn all_end(sockets: &mut [Socket]) {
    for socket in sockets {
        socket.assert_ends(4500, "deleted").await;
    }
}

async fn receipts(service: &Service) -> u64 {
    let receipts = service.database.collection::<Document>("receipts");
    receipts.count_documents(doc! {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_alive_are_listed_and_one_that_stops_is_not() {
    let one = Service::start_with(lively).await;
    let other = one.sibling().await;
    let id = one.subscribe(json!({})).await;
    let _sockets = connect_many(&one, &id, 3).await;
    let connections = async || {
        let nodes = nodes(&other).await;
        nodes
            .iter()
            .map(|node| node["connections"].as_i64())
            .collect::<Vec<_>>()
    };
    let counted = async || connections().await == [Some(3), Some(0)];
    other.until("the connections are told", counted).await;
    let listed = nodes(&other).await;
    for (node, service) in listed.iter().zip([&one, &other]) {
        assert_eq!(node["address"], service.address.to_string());
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            node["cursor"].is_string() && node["startedAt"].is_string(),
            "{node}"
        );
        assert!(
            node["seenAt"].as_str() >= node["startedAt"].as_str(),
            "{node}"
        );
    }
    let root = one.get("").await;
    assert_eq!(root["links"]["nodes"], "/api/v1/nodes");
    other.stop().await;
    assert_eq!(nodes(&one).await.len(), 1);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_says_how_many_sockets_of_a_deleted_subscription_it_closed() {
    let one = Service::start_with(lively).await;
    let (other, idle) = (one.sibling().await, one.sibling().await);
    let names = ids(&one).await;
    for by_rest in [true, false] {
        let id = one.subscribe(json!({})).await;
        let mut sockets = connect_many(&one, &id, 4).await;
        sockets.extend(connect_many(&other, &id, 2).await);
        delete(&one, &id, by_rest).await;
        all_end(&mut sockets).await;
        drop(sockets);
        for asked in [&one, &other, &idle] {
            let teardown = completed(asked, &id).await;
            assert_eq!(teardown["subscription"], id);
            assert_eq!(teardown["reason"], "deleted");
            assert!(teardown["deletedAt"].is_string(), "{teardown}");
            assert_eq!(of(&teardown, &names[0]), ("closed", 4));
            assert_eq!(of(&teardown, &names[1]), ("closed", 2));
            assert_eq!(of(&teardown, &names[2]), ("none", 0));
        }
    }
    for service in [one, other, idle] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_without_sockets_writes_nothing_and_is_known_all_the_same() {
    let one = Service::start_with(lively).await;
    let other = one.sibling().await;
    let names = ids(&one).await;
    one.database.run_command(doc! {"profile": 2}).await.unwrap();
    for by_rest in [true, false] {
        let id = one.subscribe(json!({})).await;
        // It had a socket once.
        one.connect(&id).await.leave().await;
        let left = async || one.count("tidegate_connections").await == 0;
        one.until("the client has left", left).await;
        delete(&one, &id, by_rest).await;
        for asked in [&one, &other] {
            let teardown = completed(asked, &id).await;
            for name in &names {
                assert_eq!(of(&teardown, name), ("none", 0));
            }
        }
    }
    one.database.run_command(doc! {"profile": 0}).await.unwrap();
    assert_eq!(receipts(&one).await, 0);
    let profile = one.database.collection::<Document>("system.profile");
    let count = async |filter| profile.count_documents(filter).await.unwrap();
    let writes = doc! {"op": {"$in": ["insert", "update", "remove"]}};
    let of_collection = |name: &str| {
        let mut filter = writes.clone();
        filter.insert("ns", format!("{}.{name}", one.database.name()));
        filter
    };
    assert_eq!(count(of_collection("receipts")).await, 0);
    assert!(
        count(of_collection("nodes")).await > 0,
        "writes are seen at all"
    );
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_is_pending_and_one_that_stopped_is_not() {
    let process = Process::serve("export TIDEGATE_NODE__HEARTBEAT_INTERVAL=50ms").await;
    let mut config = process.service.config.clone();
    lively(&mut config);
    let one = Service::on(config.clone()).await;
    let stopped = Service::on(config).await;
    let names = ids(&one).await;
    assert_eq!(names.len(), 3);
    let id = one.subscribe(json!({})).await;
    let mut sockets = vec![one.connect(&id).await];
    let lost = [
        process.service.connect(&id).await,
        stopped.connect(&id).await,
    ];
    stopped.stop().await;
    process.signal("KILL").await;
    assert_eq!(process.end().await, None);
    delete(&one, &id, true).await;
    all_end(&mut sockets).await;
    drop((sockets, lost));
    let closed = async || of(&teardown(&one, &id).await, &names[1]) == ("closed", 1);
    one.until("the receipt is written", closed).await;
    let alone = async || ids(&one).await == [names[1].clone()];
    one.until("the dead are not listed", alone).await;
    let seen = teardown(&one, &id).await;
    assert_eq!(of(&seen, &names[0]), ("pending", 0));
    assert_eq!(of(&seen, &names[2]), ("none", 0));
    assert_eq!(seen["complete"], false);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_just_started_knows_of_earlier_deletes() {
    let one = Service::start_with(lively).await;
    let (with, without) = (
        one.subscribe(json!({})).await,
        one.subscribe(json!({})).await,
    );
    let mut socket = one.connect(&with).await;
    let names = ids(&one).await;
    delete(&one, &with, true).await;
    delete(&one, &without, false).await;
    socket.assert_ends(4500, "deleted").await;
    drop(socket);
    completed(&one, &with).await;
    let before = completed(&one, &without).await;
    let config = one.config.clone();
    one.stop().await;
    let again = Service::on(config).await;
    let there = async || !ids(&again).await.is_empty();
    again.until("its first sign of life is stored", there).await;
    let name = &ids(&again).await[0];
    let later = completed(&again, &without).await;
    assert_eq!(of(&later, &names[0]), ("none", 0));
    assert_eq!(of(&later, name), ("none", 0));
    for field in ["deletedAt", "cursor"] {
        assert_eq!(later[field], before[field]);
    }
    let later = completed(&again, &with).await;
    assert_eq!(of(&later, &names[0]), ("closed", 1));
    assert_eq!(of(&later, name), ("none", 0));
    let (status, problem) = again
        .send("GET", "/subscriptions/never/teardown", None)
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (404, &json!("/problems/subscription-not-found"))
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("since"),
        "{problem}"
    );
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teardown_is_of_the_last_delete_and_there_is_none_while_the_subscription_is_there() {
    let service = Service::start_with(lively).await;
    let name = &ids(&service).await[0];
    let path = "/subscriptions/again/teardown";
    let mut last = String::new();
    for sockets in [2, 3] {
        let put = service
            .send("PUT", "/subscriptions/again", Some(json!({"filter": {}})))
            .await;
        assert_eq!(put.0, 201);
        let mut sockets = connect_many(&service, "again", sockets).await;
        let (status, problem) = service.send("GET", path, None).await;
        assert_eq!(
            (status, &problem["type"]),
            (409, &json!("/problems/not-deleted"))
        );
        delete(&service, "again", true).await;
        let count = i64::try_from(sockets.len()).unwrap();
        all_end(&mut sockets).await;
        drop(sockets);
        let teardown = completed(&service, "again").await;
        assert_eq!(of(&teardown, name), ("closed", count));
        let cursor = teardown["cursor"].as_str().unwrap();
        assert!(*cursor > *last, "{teardown}");
        cursor.clone_into(&mut last);
    }
    let gone = service
        .send("PUT", "/subscriptions/again", Some(json!({"filter": {}})))
        .await;
    assert_eq!(gone.0, 201);
    delete(&service, "again", false).await;
    assert_eq!(of(&completed(&service, "again").await, name), ("none", 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_with_sockets_are_written_together() {
    const COUNT: usize = 200;
    let service = Service::start_with(lively).await;
    let name = &ids(&service).await[0];
    let documents = (0..COUNT).map(|n| doc! {"_id": format!("$many.{n}"), "filter": {}});
    let subscriptions = service.database.collection::<Document>("subscriptions");
    subscriptions.insert_many(documents).await.unwrap();
    let ids: Vec<String> = (0..COUNT).map(|n| format!("$many.{n}")).collect();
    let mut sockets = join_all(ids.iter().map(|id| service.connect(id))).await;
    subscriptions.delete_many(doc! {}).await.unwrap();
    all_end(&mut sockets).await;
    drop(sockets);
    for teardown in join_all(ids.iter().map(|id| completed(&service, id))).await {
        assert_eq!(of(&teardown, name), ("closed", 1));
    }
    assert_eq!(service.count("tidegate_receipts_written_total").await, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_cannot_be_written_yet_is_not_taken_for_none() {
    let failing = Failing::start().await;
    let one = &failing.service;
    let mut config = one.config.clone();
    lively(&mut config);
    let other = Service::on(config).await;
    let names = ids(&other).await;
    let id = one.subscribe(json!({})).await;
    let mut sockets = vec![one.connect(&id).await, other.connect(&id).await];
    let receipts = format!("{}.receipts", one.database.name());
    let refused = doc! {"failCommands": ["update"], "namespace": receipts, "errorCode": 91};
    failing.fail("alwaysOn", refused).await;
    delete(one, &id, false).await;
    all_end(&mut sockets).await;
    drop(sockets);
    let pending = teardown(one, &id).await;
    let passed = async || {
        let all = nodes(one).await;
        all.iter()
            .all(|node| node["cursor"].as_str() > pending["cursor"].as_str())
    };
    one.until("every node has passed the delete", passed).await;
    let condition = async |node: &Service| node.get("/health").await["parts"]["receipts"].clone();
    for node in [one, &other] {
        let behind = async || condition(node).await["status"] == "behind";
        node.until("told", behind).await;
        assert!(condition(node).await["detail"].is_string());
    }
    for asked in [one, &other] {
        let pending = teardown(asked, &id).await;
        assert_eq!(pending["complete"], false);
        for name in &names {
            assert_eq!(of(&pending, name), ("pending", 0));
        }
    }
    failing.heal().await;
    for asked in [one, &other] {
        let teardown = completed(asked, &id).await;
        for name in &names {
            assert_eq!(of(&teardown, name), ("closed", 1));
        }
        let up = async || condition(asked).await["status"] == "up";
        asked.until("well", up).await;
    }
    other.stop().await;
    failing.stop().await;
}
