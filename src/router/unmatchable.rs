//! Filters that cannot be matched with an event. Each is blamed on its subscription alone.
//!
//! Such a subscription is invalid from that event on until its document changes, on every node that meets the event
//! live. Nothing of this is stored, and replays have no part in it, so that nodes which met the same events agree.

use bson::RawDocument;

use super::{
    PastChange, Router,
    registry::{ChannelEntry, ChannelKey},
    table::Slot,
};
use crate::{
    position::{DeploymentId, Position},
    protocol::{Ending, GapReason},
    subscription::FILTER_PANICKED,
};

/// Returns the fault of a filter that takes too many steps on the event at `position`. It is the same on every node.
fn too_expensive(position: Position, deployment: DeploymentId) -> String {
    let cursor = position.cursor(deployment);
    format!(
        "too expensive: deciding whether it matches the event at {cursor} takes more steps than a filter may take"
    )
}

impl Router {
    /// Announces a gap to subscriptions of which nobody knows whether they match the event, because others took too
    /// much. They are not to blame for that.
    pub(super) async fn pass_over_undecided(&mut self, before: Position) {
        self.delivery.flush(&mut self.registry).await;
        let undecided = std::mem::take(&mut self.delivery.matched.undecided);
        self.metrics
            .delivery
            .filters_undecided
            .inc_by(undecided.len() as u64);
        tracing::warn!(
            filters = undecided.len(),
            position = ?self.position,
            "matching an event was too expensive; some filters were skipped"
        );
        for slot in undecided {
            self.end_on_gap(slot, before);
            self.notify_gap_to(slot, GapReason::OversizedChange, before)
                .await;
        }
    }

    pub(super) async fn blame_too_expensive(&mut self, change: &PastChange, before: Position) {
        let fault = too_expensive(change.position, self.settings.deployment);
        let mut too_expensive = std::mem::take(&mut self.delivery.matched.too_expensive);
        for slot in too_expensive.drain(..) {
            self.blame(slot, fault.clone(), before).await;
        }
    }

    /// Finds the filters that panicked, and delivers the event to all others. If no filter was at fault, nobody gets
    /// the event, and all hear of a gap.
    pub(super) async fn blame_panics(
        &mut self,
        document: &RawDocument,
        change: &PastChange,
        before: Position,
    ) {
        let culprits = self.subscriptions.panicking(document);
        tracing::error!(
            filters = culprits.len(),
            position = ?change.position,
            "matching an event panicked"
        );
        for slot in culprits {
            self.blame(slot, FILTER_PANICKED.to_owned(), before).await;
        }
        let again = self
            .delivery
            .event(document, change, &self.subscriptions, &mut self.registry)
            .await;
        if again.is_err() {
            self.metrics.delivery.events_undecodable.inc();
            self.delivery.flush(&mut self.registry).await;
            self.notify_gap(GapReason::UndecodableChange, before).await;
        }
    }

    /// Makes a subscription invalid at this point of the feed, and tells its channels. They may miss an event after
    /// `after`: channels that cannot be told, or asked not to be, end as at a gap.
    async fn blame(&mut self, slot: Slot, fault: String, after: Position) {
        self.delivery.flush(&mut self.registry).await;
        if !self.subscriptions.blame(slot, fault.into()) {
            return;
        }
        self.metrics.delivery.filters_blamed.inc();
        self.end_on_gap(slot, after);
        self.notify_update(slot).await;
    }

    /// Ends those channels of a subscription that cannot be told of a gap here, or asked not to be.
    pub(super) fn end_on_gap(&mut self, slot: Slot, after: Position) {
        let concerns = |c: &&ChannelEntry| c.gets(self.position) && c.ends_on_gap();
        let deaf = self.registry.of(slot).iter().filter(concerns);
        let deaf: Vec<ChannelKey> = deaf.map(|c| c.key).collect();
        for key in deaf {
            self.registry.end_channel(key, Ending::Resync, after);
        }
    }
}
