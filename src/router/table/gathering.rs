//! A table of many subscriptions at once, made beside the router.

use super::{Slot, Table};
use crate::{
    filter::{self, Filling, Preparation, Prepared},
    router::Compiled,
};

/// A table in the making. What is gathered is matched once it is finished.
#[derive(Debug)]
pub(crate) struct Gathering {
    table: Table,
    filling: Filling<Slot>,
}

impl Gathering {
    /// Nothing yet, and what makes filters ready for it, on another thread if need be.
    pub(crate) fn start() -> (Preparation, Self) {
        let (preparation, filling) = filter::parts();
        let table = Table::default();
        (preparation, Self { table, filling })
    }

    /// Adds a subscription and its filter, if that is to match. Of several under one id, which only a
    /// sharded collection can hold, the first stands.
    pub(crate) fn add(&mut self, compiled: Compiled, filter: Option<Prepared>) {
        let known = if let Some(id) = compiled.subscription.id() {
            self.table.slot(id).is_some()
        } else {
            self.table.add_nameless(&compiled);
            true
        };
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

    /// The table. `preparation` is the one that made the filters ready.
    pub(crate) fn finish(self, preparation: Preparation) -> Box<Table> {
        let mut table = self.table;
        table.index = self.filling.finish(preparation);
        Box::new(table)
    }
}
