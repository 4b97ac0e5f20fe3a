//! Notices to channels: that their subscription has changed, or that events may be missing.

use super::{Router, registry::ChannelKey, table::Slot};
use crate::{
    position::Position,
    protocol::{Dialect, Ending, Frame, GapReason, Message},
};

impl Router {
    /// Sends `updated` to every connection of a subscription. The connections of those who do not see it any more end.
    pub(super) async fn notify_update(&mut self, slot: Slot) {
        self.end_out_of_sight(slot);
        if self.registry.of(slot).is_empty() {
            return;
        }
        let Some(entry) = self.subscriptions.get(slot) else {
            return;
        };
        let json = if entry.adhoc {
            entry.subscription.to_json_without_id()
        } else {
            entry.subscription.to_json()
        };
        let bytes = entry.subscription.document.as_bytes().len();
        self.registry.copied(slot, bytes);
        if entry.withheld {
            // From here on, events are missing for them on this node.
            self.end_on_gap(slot, self.position);
        }
        let (position, deployment) = (self.position, self.settings.deployment);
        let frame = |from: Position, dialect: Dialect| {
            let position = position.max(from);
            let cursor = position.cursor(deployment);
            let message = Message::updated(&json, &cursor);
            Some(Frame::notice(&message, dialect, position))
        };
        self.delivery
            .notice(slot, &mut self.registry, position, frame)
            .await;
    }

    /// Tells every channel that events after `after` may be missing. Channels that cannot be told, or asked not to
    /// be, end as `resync`.
    pub(super) async fn notify_gap(&mut self, reason: GapReason, after: Position) {
        let deaf: Vec<ChannelKey> = self
            .registry
            .channels()
            .filter(|c| c.ends_on_gap() && c.from() <= self.position)
            .map(|c| c.key)
            .collect();
        for key in deaf {
            self.registry.end_channel(key, Ending::Resync, after);
        }
        let slots: Vec<Slot> = self.registry.subscriptions().collect();
        for slot in slots {
            self.notify_gap_to(slot, reason, after).await;
        }
    }

    /// Tells the channels of one subscription the same, if they can be told.
    pub(super) async fn notify_gap_to(&mut self, slot: Slot, reason: GapReason, after: Position) {
        let (position, deployment) = (self.position, self.settings.deployment);
        let frame = |from: Position, dialect: Dialect| {
            // A channel that starts after this misses nothing.
            (from <= position).then(|| {
                let cursor = position.cursor(deployment);
                let after = after.max(from).cursor(deployment);
                let message = Message::gap(reason, Some(&after), &cursor);
                Frame::notice(&message, dialect, position)
            })
        };
        self.delivery
            .notice(slot, &mut self.registry, after, frame)
            .await;
    }
}
