//! A table of many subscriptions at once, made beside the router.

use bson::RawDocumentBuf;

use super::{Room, Slot, Table};
use crate::{
    filter::{self, Filling, Limits, Preparation, Prepared},
    router::Compiled,
    subscription::Subscription,
};

/// A table in the making. What is gathered is matched once it is finished.
#[derive(Debug)]
pub(crate) struct Gathering {
    table: Table,
    filling: Filling<Slot>,
    limits: Limits,
    /// Documents that take the id of another one, which was added before.
    taking_over: Vec<RawDocumentBuf>,
}

impl Gathering {
    /// Nothing yet, and what makes filters ready for it, on another thread if need be.
    pub(crate) fn start(limits: Limits, most: Room) -> (Preparation, Self) {
        let (preparation, filling) = filter::parts();
        let gathering = Self {
            table: Table::with_room(most),
            filling,
            limits,
            taking_over: Vec::new(),
        };
        (preparation, gathering)
    }

    /// Adds a subscription and its filter, if that is to match. Of several under one id, which only a
    /// sharded collection can hold, the first stands.
    pub(crate) fn add(&mut self, compiled: Compiled, filter: Option<Prepared>) {
        let known = self.is_known(&compiled.subscription);
        if !known && !self.table.has_room_for(&compiled, None) {
            if let Some(filter) = filter {
                self.filling.discard(filter);
            }
            self.table.insert(compiled.withheld());
            return;
        }
        match filter {
            Some(filter) if known => self.filling.discard(filter),
            Some(filter) => {
                let slot = self.table.insert(compiled);
                self.filling.insert(slot, filter);
            }
            None if known => {}
            None => drop(self.table.insert(compiled)),
        }
    }

    /// Whether a document gets no slot of its own now; what is to be done about it then is noted.
    fn is_known(&mut self, subscription: &Subscription) -> bool {
        if self.table.is_apart(subscription) {
            self.table.set_apart(subscription);
            return true;
        }
        let held = subscription.id().and_then(|id| self.table.slot(&id));
        let held = held.and_then(|slot| self.table.get(slot));
        if held.is_some_and(|held| held.subscription.key() != subscription.key()) {
            self.taking_over.push(subscription.document.clone());
        }
        held.is_some()
    }

    /// The table. `preparation` is the one that made the filters ready.
    pub(crate) fn finish(self, preparation: Preparation) -> Box<Table> {
        let mut table = self.table;
        table.index = self.filling.finish(preparation);
        for document in self.taking_over {
            table.upsert(Compiled::read(document, &self.limits));
        }
        Box::new(table)
    }
}
