//! The bytes that wait on this node for all connections together.
//!
//! Bytes that are shared count once, however many connections they wait for, and as long as they wait for any:
//! a [`Reservation`] belongs to the bytes and ends with them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The sum of all reservations. Clones count together. Whoever takes bytes holds the sum to its limit.
#[derive(Clone, Default, Debug)]
pub struct ByteBudget(Arc<AtomicU64>);

impl ByteBudget {
    /// Makes a budget that is counted in `counter`.
    pub fn on(counter: Arc<AtomicU64>) -> Self {
        Self(counter)
    }

    /// Counts bytes until the reservation is dropped.
    pub fn reserve(&self, bytes: usize) -> Reservation {
        let bytes = bytes as u64;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    /// Returns the bytes that are reserved now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that are counted in a [`ByteBudget`].
#[derive(Debug)]
pub struct Reservation {
    budget: ByteBudget,
    bytes: u64,
}

impl Reservation {
    /// Counts more bytes.
    pub fn grow(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        self.budget.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_counts_until_it_is_dropped() {
        let budget = ByteBudget::default();
        let mut one = budget.reserve(1);
        one.grow(2);
        let two = budget.clone().reserve(4);
        assert_eq!(budget.bytes(), 7);
        drop(one);
        assert_eq!(budget.bytes(), 4);
        drop(two);
        assert_eq!(budget.bytes(), 0);
    }
}
