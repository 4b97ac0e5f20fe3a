//! Building a table of many subscriptions at once, beside the router.

use std::sync::Arc;

use super::{Capacity, Entry, Slot, Table};
use crate::{
    access::Policies,
    filter::{self, CompiledFilter, FilterCompiler, IndexBuilder, Limits},
    subscription::{CompiledSubscription, Subscription},
};

/// A table that is being built. Events can be matched once it is finished.
#[derive(Debug)]
pub(crate) struct TableBuilder {
    table: Table,
    index: IndexBuilder<Slot>,
    limits: Limits,
    policies: Arc<Policies>,
    /// Slots whose document took the id of another one, whose filter had been added before.
    taken_over: Vec<Slot>,
}

impl TableBuilder {
    /// Returns an empty builder, and the compiler of its filters, which may run on another thread.
    pub(crate) fn start(
        limits: Limits,
        most: Capacity,
        policies: Arc<Policies>,
    ) -> (FilterCompiler, Self) {
        let (compiler, index) = filter::index_builder();
        let gathering = Self {
            table: Table::with_capacity(most).counting(policies.apply()),
            index,
            limits,
            policies,
            taken_over: Vec::new(),
        };
        (compiler, gathering)
    }

    /// Adds a subscription and its filter, if it has an active one. Of several under one id, which only a sharded
    /// collection can hold, the first one counts.
    pub(crate) fn add(&mut self, subscription: Subscription, filter: Option<CompiledFilter>) {
        let matched = self.take_new(Entry::new(subscription)).and_then(|new| {
            let whole = !new.withheld;
            let slot = self.table.insert(new);
            whole.then_some(slot)
        });
        match (matched, filter) {
            (Some(slot), Some(filter)) => self.index.insert(slot, filter),
            (None, Some(filter)) => self.index.discard(filter),
            (_, None) => {}
        }
    }

    /// Returns the document if it gets a slot of its own.
    fn take_new(&mut self, entry: Entry) -> Option<Entry> {
        if self.table.is_unaddressable(&entry.subscription) {
            self.table.set_aside(&entry);
            return None;
        }
        let slot = (entry.subscription.id()).and_then(|id| self.table.slot(&id));
        let entry = self.table.fitted(entry, slot);
        let Some(slot) = slot else {
            return Some(entry);
        };
        let held = self.table.get(slot)?;
        if held.subscription.key() != entry.subscription.key() {
            self.table.replace(slot, entry);
            self.taken_over.push(slot);
        }
        None
    }

    /// Returns the table. `compiler` is the one that compiled its filters.
    pub(crate) fn finish(self, compiler: FilterCompiler) -> Box<Table> {
        let mut table = self.table;
        table.index = self.index.finish(compiler);
        for slot in self.taken_over {
            table.index.remove(slot);
            let document = table
                .get(slot)
                .map(|held| held.subscription.document.clone());
            let compile = |document| {
                CompiledSubscription::compile(document, &self.limits).narrowed(&self.policies)
            };
            let subscription = document.map(compile);
            let filter = subscription.and_then(|subscription| subscription.into_parts().1);
            table.enter(slot, filter);
        }
        Box::new(table)
    }
}
