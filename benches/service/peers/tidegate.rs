//! Tidegate beside its peers: one subscription, and events that the driver inserts.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mongodb::{
    bson::{Document, Timestamp, doc},
    options::WriteConcern,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tidegate::client::Client;

use super::{
    credentials::{self, client_with},
    node::Node,
};
use crate::rig::{load::Load, numbers::now_micros, service::Service};

/// The size of an event's `data`, as JSON.
const DATA_BYTES: usize = 200;

pub(crate) struct Tidegate {
    pub(crate) node: Node,
    pub(crate) audience: Audience,
    /// The keys that sockets present, in turn. None where the node asks for none.
    keys: Vec<SecretString>,
    /// The number of tenants that events are of, in turn. 0: of none.
    tenants: u32,
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
        let id = node.subscribe(json!({"type": "tick"})).await?;
        Ok(Self::of(node, Audience::All(id)))
    }

    /// Starts a node with this many subscriptions, whose filters are distinct.
    pub(crate) async fn distinct(count: u32) -> Result<Self> {
        let node = Node::start().await?;
        let filters = (0..count).map(distinct_filter).collect();
        let ids = node.subscribe_many(filters).await?;
        Ok(Self::of(node, Audience::One(ids)))
    }

    /// Starts a node whose sockets have this many handles. An event matches some of them.
    pub(crate) async fn several(handles: u32, matched: u32) -> Result<Self> {
        let node = Node::start().await?;
        let groups = handles / matched;
        let filter = |n| json!({"type": "tick", "data.account": n % groups});
        let ids = node
            .subscribe_many((0..handles).map(filter).collect())
            .await?;
        Ok(Self::of(node, Audience::Several(ids, groups)))
    }

    /// Takes a node that asks for nothing. Its events are of these tenants all the same, so that they are as long as those
    /// of a node that [asks](Self::of_tenants).
    pub(crate) async fn open(node: Node, population: &Population) -> Result<Self> {
        let ids = node.subscribe_many(population.filters()).await?;
        Ok(Self {
            tenants: population.tenants,
            ..Self::of(node, population.audience(ids))
        })
    }

    /// Takes a node that asks for credentials. Each subscription is bound to its tenant by a policy, and each socket
    /// presents a key of the tenant.
    pub(crate) async fn of_tenants(node: Node, population: &Population) -> Result<Self> {
        credentials::store_policy(&node.client).await?;
        let holders = (0..population.keys).map(|key| tenant(key % population.tenants));
        let keys = credentials::make_keys(&node.client, &holders.collect::<Vec<_>>()).await?;
        let filters = population.filters();
        let stride = population.tenants as usize;
        let mut ids = vec![String::new(); filters.len()];
        for (first, key) in keys.iter().enumerate().take(stride.min(filters.len())) {
            let client = client_with(&node.client, key);
            let own = filters.iter().skip(first).step_by(stride).cloned();
            let made = Node::subscribe_as(&client, own.collect()).await?;
            for (place, id) in ids.iter_mut().skip(first).step_by(stride).zip(made) {
                *place = id;
            }
        }
        Ok(Self {
            keys,
            tenants: population.tenants,
            ..Self::of(node, population.audience(ids))
        })
    }

    fn of(node: Node, audience: Audience) -> Self {
        Self {
            node,
            audience,
            keys: Vec::new(),
            tenants: 0,
            published: 0,
        }
    }

    /// Returns the keys that sockets present.
    pub(crate) fn keys(&self) -> &[SecretString] {
        &self.keys
    }

    /// Returns a subscription by its number, and a client of its tenant.
    pub(crate) fn client_of(&self, number: u32) -> Result<(Client, &str)> {
        let place = number as usize;
        let id = match &self.audience {
            Audience::All(id) => Some(id),
            Audience::One(ids) | Audience::Several(ids, _) => ids.get(place),
        };
        let key = self.keys.get(place % self.keys.len().max(1));
        let client = match key {
            Some(key) => client_with(&self.node.client, key),
            None => self.node.client.clone(),
        };
        Ok((client, id.context("a subscription")?))
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
        let mut event = stored(n, doc! {"account": account, "sent": sent, "fill": fill});
        if let Some(of) = n.checked_rem(self.tenants.into()) {
            event.insert("tenant", tenant(u32::try_from(of).unwrap_or(0)));
        }
        event
    }
}

/// The subscriptions of a node, and the tenants and keys that they have.
pub(crate) struct Population {
    /// `None`: one for all sockets.
    pub(crate) distinct: Option<u32>,
    pub(crate) tenants: u32,
    /// The number of keys, at least one for each tenant.
    pub(crate) keys: u32,
}

impl Population {
    fn filters(&self) -> Vec<Value> {
        match self.distinct {
            None => vec![json!({"type": "tick"})],
            Some(count) => (0..count).map(distinct_filter).collect(),
        }
    }

    fn audience(&self, mut ids: Vec<String>) -> Audience {
        match self.distinct {
            None => Audience::All(ids.swap_remove(0)),
            Some(_) => Audience::One(ids),
        }
    }
}

fn distinct_filter(account: u32) -> Value {
    json!({"type": "tick", "data.account": account})
}

/// Returns the name of a tenant.
pub(crate) fn tenant(number: u32) -> String {
    format!("tenant-{number}")
}

/// Returns the path of a subscription's events.
pub(crate) fn events_of(id: &str) -> String {
    format!("/api/v1/subscriptions/{id}/events")
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
        let count = sockets as usize;
        let paths = ids.iter().cycle().take(count).map(|id| events_of(id));
        if self.keys.is_empty() {
            load.open(&self.node.address, paths.collect()).await?;
        } else {
            let keys = self.keys.iter().cycle().cloned().map(Some);
            let all = paths.zip(keys).collect();
            load.open_all(&self.node.address, all).await?;
        }
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
