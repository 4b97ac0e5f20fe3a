//! What the router tells of durable subscriptions.

use super::table::Entry;
use crate::{
    position::Position,
    positions::{Owner, Positions},
};

/// Where changes of durable subscriptions are told, in the feed's order. Nowhere in tests of the router
/// alone.
#[derive(Debug, Default)]
pub(super) struct Durable(pub(super) Option<Positions>);

impl Durable {
    /// A subscription was made or changed at `at`; `before` is what it was. Another document that takes an id
    /// over goes on where the one before was: its clients stay, and acknowledge as before.
    pub(super) async fn stored(&self, is: &Entry, before: Option<&Entry>, at: Position) {
        let (Some(positions), Some(owner)) = (&self.0, is.owner()) else {
            return;
        };
        let was = before.is_some_and(|before| before.subscription.durable);
        match (was, is.subscription.durable) {
            (false, true) => {
                let since = before.map_or(owner.since, |before| before.since);
                positions.begun(Owner { since, ..owner }, at).await;
            }
            (true, false) => positions.ended(owner.id, at).await,
            _ => {}
        }
    }

    /// A subscription was deleted at `at`.
    pub(super) async fn deleted(&self, removed: &Entry, at: Position) {
        if removed.subscription.durable
            && let (Some(positions), Some(owner)) = (&self.0, removed.owner())
        {
            positions.ended(owner.id, at).await;
        }
    }

    /// The stored positions are gone.
    pub(super) async fn lost(&self) {
        if let Some(positions) = &self.0 {
            positions.lost().await;
        }
    }

    /// These are all subscriptions at `at`.
    pub(super) async fn whole(&self, owners: Vec<Owner>, at: Position) {
        if let Some(positions) = &self.0 {
            positions.whole(owners, at).await;
        }
    }
}
