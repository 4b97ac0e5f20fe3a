//! The connection to the database.
//!
//! It owns connecting and the first checks, the deadline of every call, the database's availability and
//! clock, the deployment's identity, and the errors. It knows no collection except the one that records
//! the deployment.

pub(super) mod availability;
pub(super) mod clock;
pub(super) mod connect;
pub(super) mod deadline;
pub(super) mod deployment;
mod driver_error;
pub(super) mod error;
pub(super) mod read;
pub(super) mod refusal;
pub(super) mod startup;
