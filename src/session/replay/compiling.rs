//! The filters of a replay: each is compiled before it is in force.

use std::sync::Arc;

use bson::RawDocumentBuf;

use super::{Asking, Replay};
use crate::{
    filter::Limits,
    position::Position,
    protocol::{Frame, Message},
    router::compile_off_thread,
    subscription::{CompiledSubscription, Subscription},
};

/// A subscription that is being compiled, on a thread that serves no sockets.
pub(super) struct Compiling {
    pub(super) reading: Asking<Vec<CompiledSubscription>>,
    /// It takes effect at this position; `None`: at the beginning.
    pub(super) at: Option<Position>,
}

impl Compiling {
    pub(super) fn of(document: &RawDocumentBuf, limits: &Limits, at: Option<Position>) -> Self {
        let reading = compile_off_thread(vec![document.clone()], limits.clone());
        let reading = Box::pin(reading);
        Self { reading, at }
    }
}

impl Replay {
    /// Puts a compiled filter into force. Spans of the past in which the subscription was paused are not skipped.
    pub(super) fn compiled(&mut self, read: Vec<CompiledSubscription>) -> Option<Arc<Frame>> {
        let at = self.compiling.take().and_then(|compiling| compiling.at);
        let compiled = read.into_iter().next()?;
        let expiry = compiled.subscription.expires_at;
        self.expiry = expiry;
        let Some(at) = at else {
            self.past_expiry = expiry;
            self.past_filter = compiled.filter().cloned().map(Arc::new);
            self.filter = compiled.into_parts().1.map(Arc::new);
            // If it was invalid at the attach, nothing matches behind that until the document changes, or its policy.
            let stays = self.policy.is_ok() && self.is_told_invalid();
            self.filter = self.filter.take().filter(|_| !stays);
            return None;
        };
        self.done = self.done.max(at);
        let (mut subscription, filter) = compiled.into_parts();
        self.filter = filter.map(Arc::new);
        self.policy = self.policies.of_document(&subscription.document);
        if let Err(unbound) = &self.policy {
            subscription.fault.get_or_insert(unbound.fault());
        }
        self.shown = subscription;
        self.updated(&self.shown, at)
    }

    pub(super) fn updated(&self, subscription: &Subscription, at: Position) -> Option<Arc<Frame>> {
        if !self.dialect.has_messages() {
            return None;
        }
        let cursor = at.cursor(self.context.encoder.deployment);
        let json = if self.adhoc {
            subscription.to_json_without_id()
        } else {
            subscription.to_json()
        };
        let message = Message::updated(&json, &cursor);
        let frame = Frame::notice(&message, self.dialect, at);
        Some(Arc::new(frame.counted(&self.context.encoder.budget)))
    }
}
