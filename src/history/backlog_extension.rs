//! Batches that an oplog reader keeps, to extend this node's backlog by them.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    position::Position,
    router::{PastBatch, RouterHandle},
};

/// The newest batches of one reader, within the bounds of the backlog.
#[derive(Debug)]
pub(super) struct BacklogExtension {
    /// Everything after this is here.
    from: Position,
    batches: VecDeque<Arc<PastBatch>>,
    bytes: usize,
    max_bytes: usize,
}

impl BacklogExtension {
    pub(super) fn new(from: Position, max_bytes: usize) -> Self {
        Self {
            from,
            batches: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn add(&mut self, batch: &Arc<PastBatch>) {
        self.bytes += batch.reply.as_bytes().len();
        self.batches.push_back(Arc::clone(batch));
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.reply.as_bytes().len();
            self.from = oldest.position;
        }
    }

    /// Hands the batches to the router; returns the start of the backlog then.
    pub(super) async fn hand_over(self, router: &RouterHandle) -> Option<Position> {
        let start = router.extend_backlog(self.from, self.batches.into());
        start.await.ok()
    }
}
