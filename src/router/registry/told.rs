//! Entries for sessions for many subscriptions, before they are in their outboxes.

use std::collections::HashMap;

use super::session::SessionKey;
use crate::{
    position::Position,
    router::outbox::{Entry, Sender},
};

/// An entry for a session, which is not in its outbox yet.
#[derive(Debug)]
pub(crate) struct Told {
    pub session: SessionKey,
    pub outbox: Sender,
    pub entry: Entry,
}

/// Marks the entries that another one of the same change follows on the same session. Each event is one entry there, so
/// events alone need no look at all.
pub(super) fn mark(told: &mut [Told]) {
    if told.iter().all(|told| told.entry.is_event()) {
        return;
    }
    let mut next: HashMap<SessionKey, Position> = HashMap::new();
    for told in told.iter_mut().rev() {
        if let Some(at) = told.entry.of_change()
            && next.insert(told.session, at) == Some(at)
        {
            told.entry.mark_more();
        }
    }
}
