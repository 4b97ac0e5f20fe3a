//! The collections of this service.
//!
//! Each file owns the form of one collection's documents, and all reads and writes of it. It knows
//! nothing of how the collection is made: that is for the migrations.

pub(super) mod audit;
pub(in crate::store) mod document_limits;
pub(super) mod documents;
pub(super) mod events;
pub(super) mod idempotency;
pub(super) mod keys;
pub(super) mod nodes;
pub(super) mod policies;
pub(super) mod positions;
pub(super) mod receipts;
pub(super) mod revocations;
pub(super) mod subscriptions;
pub(super) mod tickets;
pub(super) mod uses;
