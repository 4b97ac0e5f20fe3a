//! What the router tells of durable subscriptions.

use super::Compiled;
use crate::{position::Position, positions::Positions, subscription::SubscriptionId};

/// Where changes of durable subscriptions are told, in the feed's order. Nowhere in tests of the router
/// alone.
#[derive(Debug, Default)]
pub(super) struct Durable(pub(super) Option<Positions>);

impl Durable {
    /// A subscription was made or changed at `at`; `was` says whether it was durable before.
    pub(super) async fn stored(
        &self,
        id: Option<SubscriptionId>,
        was: bool,
        is: bool,
        at: Position,
    ) {
        let (Some(positions), Some(id)) = (&self.0, id) else {
            return;
        };
        match (was, is) {
            (false, true) => positions.begun(id, at).await,
            (true, false) => positions.ended(id, at).await,
            _ => {}
        }
    }

    /// A subscription was deleted at `at`.
    pub(super) async fn deleted(&self, removed: &Compiled, at: Position) {
        if removed.subscription.durable {
            let id = removed.subscription.id();
            let id = id.map(|id| SubscriptionId::from(&*id));
            self.stored(id, true, false, at).await;
        }
    }

    /// The stored positions are gone.
    pub(super) async fn lost(&self) {
        if let Some(positions) = &self.0 {
            positions.lost().await;
        }
    }

    /// These are all subscriptions at `at`.
    pub(super) async fn whole(&self, ids: Vec<SubscriptionId>, at: Position) {
        if let Some(positions) = &self.0 {
            positions.whole(ids, at).await;
        }
    }
}
