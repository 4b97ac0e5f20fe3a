//! A change stream over the oplog's history, opened again where it failed.

use std::sync::Arc;

use tokio::time::sleep;

use super::{ATTEMPTS, HistoryContext, Refusal, wait_available};
use crate::{
    feed::{OplogError, OplogReader},
    position::Position,
    router::PastBatch,
    store::jittered,
    telemetry::Part,
};

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
