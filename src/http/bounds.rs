//! What all requests of a node may take together.

use super::{aside::Turns, budget::Budget};
use crate::config::Limits;

/// Bytes and turns that requests share.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of bodies that are being read, and of what is made of them.
    pub(crate) bodies: Budget,
    /// Large bodies that are read at once.
    pub(crate) reading: Turns,
    /// Filters of requests that are compiled, tried and shown at once.
    pub(crate) filtering: Turns,
}

impl Bounds {
    /// As configured.
    pub fn new(limits: &Limits) -> Self {
        Self {
            bodies: Budget::new(limits.reading_bytes, "bodies"),
            reading: Turns::new(limits.readings, "large bodies"),
            filtering: Turns::new(limits.filterings, "filters"),
        }
    }
}
