//! One oplog reader: a change stream over the oplog's history, opened again where it failed, and the batches that it keeps
//! to extend this node's backlog by them.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::sleep;

use super::{ATTEMPTS, HistoryContext, Refusal, ReplayRequest, wait_available};
use crate::{
    feed::{OplogError, OplogReader},
    position::Position,
    router::{PastBatch, RouterHandle},
    store::jittered,
    telemetry::Part,
};

/// A change stream over the history, as one reader sees it.
pub(super) struct OplogStream {
    context: HistoryContext,
    reader: OplogReader,
    first: Option<Arc<PastBatch>>,
    /// The stream shows everything after this.
    pub(super) from: Position,
    position: Position,
}

impl OplogStream {
    /// Opens the stream and reads its first reply: only then does the server tell that history is lost.
    pub(super) async fn begin(context: HistoryContext, from: Position) -> Result<Self, Refusal> {
        let (reader, first) = open(&context, from).await?;
        let position = first.position;
        Ok(Self {
            context,
            reader,
            first: Some(Arc::new(first)),
            from,
            position,
        })
    }

    /// Returns the next batch; `None` when the backlog holds what comes next, or the stream failed for good.
    pub(super) async fn next(&mut self) -> Option<Arc<PastBatch>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.position >= self.context.router.progress().position {
            return None;
        }
        let batch = if let Ok(batch) = self.reader.next().await {
            batch
        } else {
            let (reader, batch) = open(&self.context, self.position).await.ok()?;
            self.reader = reader;
            batch
        };
        self.position = self.position.max(batch.position);
        Some(Arc::new(batch))
    }
}

async fn open(
    context: &HistoryContext,
    from: Position,
) -> Result<(OplogReader, PastBatch), Refusal> {
    let mut pause = context.settings.retry_min;
    for _ in 0..ATTEMPTS {
        context.metrics.replay.streams.inc();
        let opened = async {
            let mut reader = OplogReader::open(&context.store, from, &context.settings).await?;
            let first = reader.next().await?;
            Ok((reader, first))
        };
        match opened.await {
            Ok(opened) => {
                context.health.report(Part::Replay, "up", None);
                return Ok(opened);
            }
            Err(OplogError::Lost) => return Err(Refusal::Lost),
            Err(OplogError::Failed) => {
                context.health.report(Part::Replay, "failing", None);
                wait_available(&context.store, context.settings.replay_wait).await;
                sleep(jittered(pause)).await;
            }
        }
        pause = (pause * 2).min(context.settings.retry_max);
    }
    Err(Refusal::Busy)
}

/// Opens a stream for as many of a group, in the order of their positions, as the oplog still has; returns the index
/// of the first of them. A client whose position is lost does not take the others with it.
pub(super) async fn begin(
    context: &HistoryContext,
    group: &[ReplayRequest],
) -> Result<(OplogStream, usize), Refusal> {
    let (mut lost, mut first) = (0, 0);
    let mut best = None;
    // Everything before `lost` is known to be lost; `best` begins where `first` is.
    while best.is_none() || lost < first {
        let (from, at) = if lost == 0 && best.is_none() {
            (group.first(), 0)
        } else if best.is_none() {
            (group.last(), group.len() - 1)
        } else {
            let middle = usize::midpoint(lost, first);
            (group.get(middle), middle)
        };
        let Some(request) = from else {
            return Err(Refusal::Lost);
        };
        match OplogStream::begin(context.clone(), request.from).await {
            Ok(stream) => (best, first) = (Some(stream), at),
            Err(Refusal::Lost) => lost = at + 1,
            Err(Refusal::Busy) => return Err(Refusal::Busy),
        }
        if lost >= group.len() {
            return Err(Refusal::Lost);
        }
    }
    best.map(|stream| (stream, first)).ok_or(Refusal::Lost)
}

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
