//! The collections of this service: the reads and writes of each, and the form of its documents.

pub(super) mod document_limits;
pub(super) mod events;
pub(super) mod idempotency;
pub(super) mod nodes;
pub(super) mod positions;
pub(super) mod receipts;
pub(super) mod subscriptions;
