//! How many connections there were, and how they ended. Pure.

use crate::protocol::Ending;

/// The counters of a registry: `opened = open + Σ closed`, always.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionCounters {
    /// Connections that were opened since the start.
    pub opened: u64,
    /// Connections that are open.
    pub open: u64,
    closed: [u64; Ending::ALL.len()],
}

impl ConnectionCounters {
    /// Counts a connection in.
    pub(super) fn open(&mut self) {
        self.opened += 1;
        self.open += 1;
    }

    /// Counts a connection out.
    pub(super) fn close(&mut self, ending: Ending) {
        self.open -= 1;
        self.closed[ending as usize] += 1;
    }

    /// Connections that ended for this reason.
    pub(crate) fn closed(&self, ending: Ending) -> u64 {
        self.closed[ending as usize]
    }

    /// Connections that ended.
    #[cfg(test)]
    pub(crate) fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }
}
