//! Tidegate beside its peers: one subscription, and events that the driver inserts.

use std::time::Duration;

use anyhow::Result;
use mongodb::{
    bson::{Document, Timestamp, doc},
    options::WriteConcern,
};

use super::node::Node;
use crate::rig::{load::Load, numbers::now_micros, service::Service};

/// The size of an event's `data`, as JSON.
const DATA_BYTES: usize = 200;

pub(crate) struct Tidegate {
    pub(crate) node: Node,
    pub(crate) audience: Audience,
    published: u64,
}

/// The audience of an event.
pub(crate) enum Audience {
    /// All sockets of one subscription.
    All(String),
    /// One socket, on the subscription with the number that the event carries.
    One(Vec<String>),
    /// All sockets, each of which has all of these subscriptions under handles. An event matches those of a group: there
    /// are so many.
    Several(Vec<String>, u32),
}

impl Tidegate {
    pub(crate) async fn start() -> Result<Self> {
        let node = Node::start().await?;
        let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
        Ok(Self::of(node, Audience::All(id)))
    }

    /// Starts a node with this many subscriptions, whose filters are distinct.
    pub(crate) async fn distinct(count: u32) -> Result<Self> {
        let node = Node::start().await?;
        let filter = |n| serde_json::json!({"type": "tick", "data.account": n});
        let ids = node
            .subscribe_many((0..count).map(filter).collect())
            .await?;
        Ok(Self::of(node, Audience::One(ids)))
    }

    /// Starts a node whose sockets have this many handles. An event matches some of them.
    pub(crate) async fn several(handles: u32, matched: u32) -> Result<Self> {
        let node = Node::start().await?;
        let groups = handles / matched;
        let filter = |n| serde_json::json!({"type": "tick", "data.account": n % groups});
        let ids = node
            .subscribe_many((0..handles).map(filter).collect())
            .await?;
        Ok(Self::of(node, Audience::Several(ids, groups)))
    }

    fn of(node: Node, audience: Audience) -> Self {
        Self {
            node,
            audience,
            published: 0,
        }
    }

    fn event(&self, n: u64) -> Document {
        let accounts = match &self.audience {
            Audience::All(_) => 1,
            Audience::One(ids) => ids.len() as u64,
            Audience::Several(_, groups) => u64::from(*groups),
        };
        let account = i64::try_from(n % accounts).unwrap_or(0);
        let sent = now_micros();
        let around = r#"{"account":,"sent":,"fill":""}"#.len();
        let numbers = account.to_string().len() + sent.to_string().len();
        let fill = "x".repeat(DATA_BYTES.saturating_sub(around + numbers));
        stored(n, doc! {"account": account, "sent": sent, "fill": fill})
    }
}

/// Makes an event with every field that the service stores.
pub(crate) fn stored(n: u64, data: Document) -> Document {
    let zero = Timestamp {
        time: 0,
        increment: 0,
    };
    doc! {
        "ts": zero,
        "id": uuid::Uuid::now_v7().to_string(),
        "source": "/bench",
        "type": "tick",
        "time": mongodb::bson::DateTime::now(),
        "subject": n.to_string(),
        "data": data,
        "storedAt": mongodb::bson::DateTime::now(),
    }
}

impl Service for Tidegate {
    const NAME: &'static str = "tidegate";

    async fn connect(&mut self, load: &mut Load, sockets: u32) -> Result<()> {
        let ids = match &self.audience {
            Audience::All(id) => std::slice::from_ref(id),
            Audience::One(ids) => ids,
            Audience::Several(ids, _) => {
                load.open_for_many(&self.node.address, sockets, ids).await?;
                let handles = u64::from(sockets) * ids.len() as u64;
                return load.greeted(handles).await;
            }
        };
        let path = |id: &String| format!("/api/v1/subscriptions/{id}/events");
        let paths = ids.iter().cycle().take(sockets as usize).map(path);
        load.open(&self.node.address, paths.collect()).await?;
        load.greeted(u64::from(sockets)).await
    }

    async fn publish(&mut self, count: u32) -> Result<()> {
        let first = self.published;
        self.published += u64::from(count);
        let events: Vec<Document> = (first..self.published).map(|n| self.event(n)).collect();
        self.node
            .database
            .collection::<Document>("events")
            .insert_many(events)
            .ordered(false)
            .write_concern(WriteConcern::majority())
            .await?;
        Ok(())
    }

    fn set_frame_bytes(&mut self, _bytes: usize) {}

    fn cpu(&self) -> Result<Duration> {
        self.node.cpu()
    }

    fn resident(&self) -> Result<u64> {
        self.node.resident()
    }

    async fn stop(self) -> Result<()> {
        self.node.stop().await
    }
}
