//! Counters of connections and of their endings. Pure.

use crate::protocol::Ending;

/// The counters of a registry: `opened = open + Σ closed`, always.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionCounters {
    pub opened: u64,
    pub open: u64,
    closed: [u64; Ending::ALL.len()],
}

impl ConnectionCounters {
    /// Counts an opened connection.
    pub(super) fn open(&mut self) {
        self.opened += 1;
        self.open += 1;
    }

    /// Counts an ended connection.
    pub(super) fn close(&mut self, ending: Ending) {
        self.open -= 1;
        self.closed[ending as usize] += 1;
    }

    /// Returns the number of connections that ended for this reason.
    pub(crate) fn closed(&self, ending: Ending) -> u64 {
        self.closed[ending as usize]
    }

    /// Returns the number of connections that ended.
    #[cfg(test)]
    pub(crate) fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }
}
