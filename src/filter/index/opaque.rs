//! Conditions that a program does not spell out, each kept once however many filters share it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::ast::Clause;
use super::slab::Slab;

/// Shared conditions under ids.
#[derive(Clone, Debug)]
pub(super) struct Opaques {
    clauses: Slab<SharedClause>,
    ids: HashMap<Arc<Clause>, u32>,
}

#[derive(Clone, Debug)]
struct SharedClause {
    clause: Arc<Clause>,
    uses: u32,
}

impl Opaques {
    /// Makes an empty set.
    pub(super) fn new() -> Self {
        Self {
            clauses: Slab::new(),
            ids: HashMap::new(),
        }
    }

    /// Counts a use of a condition, and returns its id.
    pub(super) fn acquire(&mut self, clause: &Clause) -> u32 {
        if let Some(&id) = self.ids.get(clause) {
            if let Some(shared) = self.clauses.get_mut(id) {
                shared.uses += 1;
            }
            return id;
        }
        let clause = Arc::new(clause.clone());
        let shared = SharedClause {
            clause: Arc::clone(&clause),
            uses: 1,
        };
        let id = self.clauses.insert(shared);
        self.ids.insert(clause, id);
        id
    }

    /// Ends a use, and drops the condition if that was the last one.
    pub(super) fn release(&mut self, id: u32) {
        let Some(shared) = self.clauses.get_mut(id) else {
            return;
        };
        shared.uses -= 1;
        if shared.uses == 0
            && let Some(shared) = self.clauses.remove(id)
        {
            self.ids.remove(&shared.clause);
        }
    }

    /// Returns the condition under an id.
    pub(super) fn get(&self, id: u32) -> Option<&Clause> {
        self.clauses.get(id).map(|shared| &*shared.clause)
    }

    /// Returns the number of conditions.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.clauses.len()
    }
}
