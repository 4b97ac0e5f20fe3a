//! The time from the first of many deletes to the last closed socket.

use std::time::Instant;

use anyhow::Result;
use futures_util::StreamExt as _;
use mongodb::bson::{Document, doc};
use tidegate::client::Received;

use crate::{
    peers::node::Node,
    rig::{
        socket,
        table::{Goal, Row},
    },
};

const SUBSCRIPTIONS: u32 = 2_000;

pub(crate) async fn run() -> Result<Vec<Row>> {
    let node = Node::start().await?;
    let mut sockets = tokio::task::JoinSet::new();
    let mut ids = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        let id = node.subscribe(serde_json::json!({"type": "never"})).await?;
        let mut socket = socket::connect(&node.client, &id).await?;
        ids.push(id);
        sockets.spawn(async move { while !matches!(socket.next().await, Received::Lost(_)) {} });
    }
    let subscriptions = node.database.collection::<Document>("subscriptions");
    let begun = Instant::now();
    let mut deletes = futures_util::stream::iter(ids)
        .map(|id| {
            let subscriptions = subscriptions.clone();
            async move { subscriptions.delete_one(doc! {"_id": id}).await }
        })
        .buffer_unordered(64);
    while let Some(deleted) = deletes.next().await {
        deleted?;
    }
    let bare = begun.elapsed();
    while sockets.join_next().await.is_some() {}
    let closed = begun.elapsed();
    node.stop().await?;
    Ok(vec![Row {
        case: format!("deletes of {SUBSCRIPTIONS} subscriptions, a socket on each, 64 at a time"),
        unit: "s from the first delete to the last socket closed",
        ours: closed.as_secs_f64(),
        beside: Some(("the last bare delete acknowledged", bare.as_secs_f64())),
        goal: Some(Goal::AtMost(1.1)),
    }])
}
