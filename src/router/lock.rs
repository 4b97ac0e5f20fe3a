//! The lock of an outbox. In a file of its own so that a test can put one in its place that a checker
//! watches (`tests/interleavings.rs`).

pub(super) use std::sync::{Mutex, MutexGuard};
