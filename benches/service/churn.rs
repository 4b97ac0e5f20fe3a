//! Creating and deleting subscriptions by REST, beside bare writes of the same documents.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
    options::WriteConcern,
};
use reqwest::Method;
use serde_json::json;

use crate::{
    peers::node::Node,
    publish::per_second,
    rig::{
        stream as changes,
        table::{Goal, Row, median},
    },
};

const AT_ONCE: usize = 64;
const COUNT: u64 = 3_000;
const WINDOWS: usize = 3;

pub(crate) async fn run() -> Result<Vec<Row>> {
    let node = Node::start().await?;
    let bare = node.bare_database()?;
    let open = changes::raw_of(&bare, "subscriptions", None).await?;
    let open = tokio::spawn(changes::read_on(open));
    let concern = WriteConcern::majority();
    let options = mongodb::options::CollectionOptions::builder()
        .write_concern(concern)
        .build();
    let collection = bare.collection_with_options::<Document>("subscriptions", options);
    let (mut ours, mut theirs) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..WINDOWS {
        let (created, deleted) = by_rest(&node).await?;
        ours.0.push(created);
        ours.1.push(deleted);
        let (created, deleted) = by_driver(&collection).await?;
        theirs.0.push(created);
        theirs.1.push(deleted);
    }
    open.abort();
    node.stop().await?;
    let row = |unit, ours, name, theirs| Row {
        case: format!("subscriptions by REST, {AT_ONCE} at a time"),
        unit,
        ours: median(ours),
        beside: Some((name, median(theirs))),
        goal: Some(Goal::AtLeast(0.8)),
    };
    Ok(vec![
        row("creates/s", ours.0, "bare insert_one", theirs.0),
        row("deletes/s", ours.1, "bare delete_one", theirs.1),
    ])
}

async fn by_rest(Node { client, .. }: &Node) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let ids: Vec<String> = stream::iter(0..COUNT)
        .map(async |n| {
            let body = json!({"name": "churn", "filter": {"type": "tick", "data.account": n}});
            let request = client.request(Method::POST, &["subscriptions"]).json(&body);
            let made = client.call(request).await?.body;
            let id = made["id"].as_str().map(str::to_owned);
            anyhow::Context::context(id, "an id")
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let created = per_second(COUNT, begun);
    let begun = Instant::now();
    stream::iter(ids)
        .map(async |id| {
            client
                .call(client.request(Method::DELETE, &["subscriptions", &id]))
                .await
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok((created, per_second(COUNT, begun)))
}

async fn by_driver(subscriptions: &Collection<Document>) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let id = |n: u64| format!("sub_{n:032}");
    stream::iter(0..COUNT)
        .map(async |n| {
            let (now, account) = (DateTime::now(), i64::try_from(n).unwrap_or(0));
            let document = doc! {"_id": id(n), "name": "churn",
            "filter": {"type": "tick", "data.account": account},
            "createdAt": now, "updatedAt": now, "revision": 1};
            subscriptions.insert_one(document).await
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    let created = per_second(COUNT, begun);
    let begun = Instant::now();
    stream::iter(0..COUNT)
        .map(async |n| subscriptions.delete_one(doc! {"_id": id(n)}).await)
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok((created, per_second(COUNT, begun)))
}
