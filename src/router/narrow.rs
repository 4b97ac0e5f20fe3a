//! Narrowing what subscriptions receive by their policies.
//!
//! A subscription is narrowed by the policy of its binding, whoever attaches, as the router knows that policy at this
//! place in the feed. Its filter in the index is `policy AND filter`, so an event that the policy forbids matches nothing.

use super::{
    Router,
    compile::compile_off_thread,
    table::{Entry, Slot},
};
use crate::{
    access::{PolicyChange, is_under},
    filter::{self, Filter},
    protocol::Ending,
};

/// The subscriptions that are narrowed anew at once. Their documents are copied meanwhile.
const GROUP: usize = 1_024;

impl Router {
    /// Narrows the filter of what is stored now. If nobody can say how, the subscription is invalid.
    pub(super) fn narrowed(&self, entry: &mut Entry, filter: Option<Filter>) -> Option<Filter> {
        if entry.error().is_some() {
            return None;
        }
        let policies = self.credentials.policies();
        match policies.narrow(&entry.subscription.document, filter) {
            Ok(filter) => filter,
            Err(unbound) => {
                entry.subscription.fault = Some(unbound.fault());
                None
            }
        }
    }

    /// Narrows all subscriptions under a policy that has changed, away from this thread, while the feed waits. If the policy
    /// is gone, their channels end.
    pub(super) async fn narrow_anew(&mut self, change: &PolicyChange) {
        let name = change.name.as_deref();
        let slots = self
            .subscriptions
            .slots_where(|document| is_under(document, name));
        tracing::info!(
            policy = name,
            subscriptions = slots.len(),
            "a policy has changed"
        );
        for group in slots.chunks(GROUP) {
            self.narrow_group(group, change.deleted).await;
        }
    }

    async fn narrow_group(&mut self, slots: &[Slot], deleted: bool) {
        let entries = slots
            .iter()
            .filter_map(|slot| self.subscriptions.get(*slot));
        let documents = entries.map(|entry| entry.subscription.document.clone());
        let limits = filter::Limits::from(&self.settings.limits);
        let compiled = compile_off_thread(documents.collect(), limits).await;
        let policies = self.credentials.policies();
        for (slot, compiled) in slots.iter().zip(compiled) {
            let compiled = compiled.narrowed(&policies);
            let is_invalid = compiled.error().is_some();
            self.subscriptions.narrow(*slot, compiled);
            if deleted && is_invalid {
                self.registry
                    .end_channels_of(*slot, Ending::Forbidden, self.position);
            } else {
                self.notify_update(*slot).await;
            }
        }
    }
}
