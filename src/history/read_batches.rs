//! What a reader has read, kept for the node to remember.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    position::Position,
    router::{Batch, RouterHandle},
};

/// The newest part of what one reader has read, within the bounds of what the node remembers.
#[derive(Debug)]
pub(super) struct Memory {
    /// Everything after this is here.
    from: Position,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    max_bytes: usize,
}

impl Memory {
    pub(super) fn new(from: Position, max_bytes: usize) -> Self {
        Self {
            from,
            batches: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn add(&mut self, batch: &Arc<Batch>) {
        self.bytes += batch.reply.as_bytes().len();
        self.batches.push_back(Arc::clone(batch));
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.reply.as_bytes().len();
            self.from = oldest.position;
        }
    }

    /// Hands it to the router; returns from where on the node remembers everything then.
    pub(super) async fn hand_over(self, router: &RouterHandle) -> Option<Position> {
        let remembered = router.remember(self.from, self.batches.into()).await;
        remembered.ok()
    }
}
