//! Conditions that a program does not spell out, each kept once however many filters share it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::ast::Clause;
use super::slab::Slab;

/// Shared conditions under numbers.
#[derive(Clone, Debug)]
pub(super) struct Opaques {
    clauses: Slab<Shared>,
    ids: HashMap<Arc<Clause>, u32>,
}

#[derive(Clone, Debug)]
struct Shared {
    clause: Arc<Clause>,
    uses: u32,
}

impl Opaques {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            clauses: Slab::new(),
            ids: HashMap::new(),
        }
    }

    /// Counts a use of a condition and gives its number.
    pub(super) fn acquire(&mut self, clause: &Clause) -> u32 {
        if let Some(&id) = self.ids.get(clause) {
            if let Some(shared) = self.clauses.get_mut(id) {
                shared.uses += 1;
            }
            return id;
        }
        let clause = Arc::new(clause.clone());
        let shared = Shared {
            clause: Arc::clone(&clause),
            uses: 1,
        };
        let id = self.clauses.insert(shared);
        self.ids.insert(clause, id);
        id
    }

    /// Ends a use, and drops the condition if that was the last.
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

    /// The condition under a number.
    pub(super) fn get(&self, id: u32) -> Option<&Clause> {
        self.clauses.get(id).map(|shared| &*shared.clause)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.clauses.len()
    }
}
