//! The machinery of a measurement: sockets that count, windows of time, cores, the kernel's figures, and the table that
//! comes out. It knows no case and no peer.

pub(crate) mod kernel;
pub(crate) mod load;
pub(crate) mod numbers;
pub(crate) mod pin;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod window;
