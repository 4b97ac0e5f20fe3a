//! The room that stored credentials of one kind have on a node.

use std::collections::HashMap;

/// Bytes that a document takes beside its own: its places in maps, and the parts of what is read from it.
const BESIDE: usize = 512;
/// The part of the room that the credentials of one tenant may take, as far as they are made over REST.
const SHARES: usize = 16;

/// The room that stored credentials of one kind have on a node, and how much of it is taken. What finds none grants
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    most: usize,
    taken: usize,
    of_tenants: HashMap<Box<str>, usize>,
    /// The documents that have found no room.
    withheld: usize,
}

impl Default for Room {
    /// Returns a room without bounds.
    fn default() -> Self {
        Self::of(usize::MAX)
    }
}

impl Room {
    /// Returns an empty room of so many bytes.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            of_tenants: HashMap::new(),
            withheld: 0,
        }
    }

    /// Returns the same room, empty.
    pub(super) fn emptied(&self) -> Self {
        Self::of(self.most)
    }

    /// Returns the room that a document of this length takes.
    pub(crate) const fn for_document(length: usize) -> usize {
        length.saturating_add(BESIDE)
    }

    /// Whether so many more bytes can be taken.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.taken.saturating_add(bytes) <= self.most
    }

    /// Returns the bytes that one tenant may take over REST, if so many more would be too many.
    pub(crate) fn exceeded_by(&self, tenant: &str, bytes: usize) -> Option<usize> {
        let taken = self.of_tenants.get(tenant).copied().unwrap_or(0);
        let most = self.most / SHARES;
        (taken.saturating_add(bytes) > most).then_some(most)
    }

    /// Whether more is taken than there is.
    pub(super) fn is_exceeded(&self) -> bool {
        self.taken > self.most
    }

    pub(super) fn take(&mut self, tenant: Option<&str>, bytes: usize) {
        self.taken += bytes;
        if let Some(tenant) = tenant {
            *self.of_tenants.entry(tenant.into()).or_default() += bytes;
        }
    }

    pub(super) fn give_back(&mut self, tenant: Option<&str>, bytes: usize) {
        self.taken -= bytes;
        if let Some(tenant) = tenant
            && let Some(taken) = self.of_tenants.get_mut(tenant)
        {
            *taken -= bytes;
            if *taken == 0 {
                self.of_tenants.remove(tenant);
            }
        }
    }

    /// Notes a document that has found no room. The log has the first alone.
    pub(super) fn withhold(&mut self, collection: &str) {
        if self.withheld == 0 {
            let most = self.most;
            tracing::error!(
                collection,
                most,
                "this node has no room for all documents (limits.credentials_bytes): what it does not hold grants nothing"
            );
        }
        self.withheld += 1;
    }

    /// Takes a note back: the document is gone, and nobody missed it.
    pub(super) fn find(&mut self) {
        self.withheld = self.withheld.saturating_sub(1);
    }

    /// Returns the number of documents that have found no room.
    pub(crate) fn withheld(&self) -> usize {
        self.withheld
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_a_tenant_has_a_share() {
        let mut room = Room::of(1_600);
        assert_eq!(room.exceeded_by("a", 100), None);
        assert_eq!(room.exceeded_by("a", 101), Some(100));
        room.take(Some("a"), 60);
        room.take(Some("b"), 60);
        room.take(None, 1_000);
        assert_eq!(room.exceeded_by("a", 41), Some(100));
        assert!(room.has(480) && !room.has(481));
        room.take(None, 481);
        assert!(room.is_exceeded());
        room.give_back(None, 481);
        room.give_back(Some("a"), 60);
        assert!(!room.is_exceeded() && room.of_tenants.len() == 1);
        assert_eq!(room.exceeded_by("a", 100), None);
        assert!(!room.emptied().is_exceeded() && room.emptied().has(1_600));
    }
}
