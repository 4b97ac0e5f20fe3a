//! The two sides of a comparison: two nodes on one mongod, each with a database of its own.

use anyhow::Result;
use tidegate::mongod::Mongod;

use crate::{
    peers::{
        node::{self, Node},
        tidegate::{Population, Tidegate},
    },
    rig::service::Service as _,
};

/// A node that asks for nothing, and one that asks for credentials. Both have the same subscriptions and events.
pub(super) struct Sides {
    pub(super) none: Tidegate,
    pub(super) required: Tidegate,
    mongod: Mongod,
}

impl Sides {
    pub(super) async fn start(population: &Population) -> Result<Self> {
        Self::with(population, &[]).await
    }

    /// Starts them with more settings (variables) for the node that asks for credentials.
    pub(super) async fn with(population: &Population, settings: &[(&str, &str)]) -> Result<Self> {
        let mongod = node::mongod().await?;
        let uri = mongod.uri();
        let none = Node::of_database(&uri, "none", &[]).await?;
        let required = Node::guarded(&uri, "required", settings).await?;
        Ok(Self {
            none: Tidegate::open(none, population).await?,
            required: Tidegate::of_tenants(required, population).await?,
            mongod,
        })
    }

    /// Measures both in so many rounds, each beginning with the other one. Returns the figures of the side that asks for
    /// nothing, and those of the side that asks for credentials.
    pub(super) async fn measure<T>(
        &mut self,
        rounds: usize,
        measure: impl AsyncFn(&mut Tidegate) -> Result<T>,
    ) -> Result<[Vec<T>; 2]> {
        let (mut none, mut required) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            if round.is_multiple_of(2) {
                none.push(measure(&mut self.none).await?);
                required.push(measure(&mut self.required).await?);
            } else {
                required.push(measure(&mut self.required).await?);
                none.push(measure(&mut self.none).await?);
            }
        }
        Ok([none, required])
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.none.stop().await?;
        self.required.stop().await?;
        self.mongod.stop().await;
        Ok(())
    }
}
