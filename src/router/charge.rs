//! The memory account of a batch. Its bytes are charged to what waits on this node, or to the backlog, never to both.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::budget::{ByteBudget, Reservation};

/// The account to which a batch is charged at the moment. All who share the batch share the charge.
#[derive(Default, Debug)]
pub(super) struct BatchCharge(Mutex<Charged>);

#[derive(Default, Debug)]
enum Charged {
    #[default]
    Nobody,
    Waiting(#[expect(dead_code, reason = "its drop is what counts")] Reservation),
    Backlog(Reservation),
}

impl BatchCharge {
    /// Charges `bytes` to what waits, unless they are charged already.
    pub(super) fn to_waiting(&self, waiting: &ByteBudget, bytes: usize) {
        let mut charged = self.lock();
        if matches!(*charged, Charged::Nobody) {
            *charged = Charged::Waiting(waiting.reserve(bytes));
        }
    }

    /// Charges `bytes` to the backlog alone.
    pub(super) fn to_backlog(&self, backlog: &ByteBudget, bytes: usize) {
        *self.lock() = Charged::Backlog(backlog.reserve(bytes));
    }

    /// Releases whoever is charged.
    pub(super) fn release(&self) {
        *self.lock() = Charged::Nobody;
    }

    /// Charges more to the backlog, if that is charged.
    pub(super) fn grow(&self, bytes: usize) {
        if bytes > 0
            && let Charged::Backlog(reservation) = &mut *self.lock()
        {
            reservation.grow(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Charged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
