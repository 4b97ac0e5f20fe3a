//! What all requests of a node may take together.

use std::sync::Arc;

use super::{budget::Budget, offload::Turns};
use crate::{config::Limits, telemetry::Metrics};

/// Bytes and turns that requests share.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Bytes of bodies that are being read, and of what is made of them.
    pub(crate) bodies: Budget,
    /// Bytes of answers from their making until they are sent.
    pub(crate) answers: Budget,
    /// Large bodies that are read at once.
    pub(crate) reading: Turns,
    /// Filters of requests that are compiled, tried and shown at once.
    pub(crate) filtering: Turns,
    /// Searches of the stored events at once.
    pub(crate) searching: Turns,
    /// Pages that an index gives, read at once: each holds a reply of the server for a moment.
    pub(crate) paging: Turns,
}

/// Pages read at once where no search is needed.
const PAGES: usize = 4;

impl Bounds {
    /// As configured; what is held and refused is counted here.
    pub(crate) fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Self {
        Self {
            bodies: Budget::new(limits.reading_bytes, "bodies", metrics),
            answers: Budget::new(limits.answering_bytes, "answers", metrics),
            reading: Turns::new(limits.readings, "large bodies"),
            filtering: Turns::new(limits.filterings, "filters"),
            searching: Turns::new(limits.searches, "searches of events"),
            paging: Turns::new(PAGES, "pages"),
        }
    }
}
