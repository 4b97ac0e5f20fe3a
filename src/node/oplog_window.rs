//! The oplog's reach into the past, and the acknowledged positions that it soon no longer reaches.

use bson::Timestamp;

use crate::{
    position::Position,
    store::{OplogFill, Store, StoreError},
    telemetry::Metrics,
};

/// Positions in the oldest of this many parts of the oplog are at risk.
const AT_RISK_PARTS: u32 = 5;

/// A measurement of the oplog's window, which warns when more positions are at risk than before.
#[derive(Debug, Default)]
pub(super) struct OplogWindow {
    warned_of: u64,
}

impl OplogWindow {
    /// Measures the window into the metrics. Without the right to, the metric is not a number.
    pub(super) async fn measure(&mut self, store: &Store, metrics: &Metrics) {
        match self.try_measure(store, metrics).await {
            Ok(true) => {}
            Ok(false) => {
                metrics.store.oplog_window.set(f64::NAN);
            }
            Err(error) => tracing::debug!(%error, "cannot measure the oplog's window now"),
        }
    }

    async fn try_measure(&mut self, store: &Store, metrics: &Metrics) -> Result<bool, StoreError> {
        let Some(oldest) = store.oplog_begin().await? else {
            return Ok(false);
        };
        let window = store.ping().await?.time.saturating_sub(oldest.time);
        metrics.store.oplog_window.set(f64::from(window));
        if !store.oplog_fill().await?.is_some_and(OplogFill::is_full) {
            // An oplog with room loses nothing, and the fill of an unreadable one is unknown.
            metrics.positions.at_risk.set(0);
            self.warned_of = 0;
            return Ok(true);
        }
        let soon = Timestamp {
            time: oldest.time.saturating_add(window / AT_RISK_PARTS),
            increment: 0,
        };
        let limit = Position::at(soon).max(Position::at(oldest));
        let (count, example) = store.positions_before(limit).await?;
        metrics
            .positions
            .at_risk
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        if count > self.warned_of {
            tracing::warn!(
                count,
                example,
                oplog_window_seconds = window,
                "acknowledged positions of durable subscriptions are about to leave the oplog: their clients have been \
                 away for long, or the oplog is too small \
                 (see oplogMinRetentionHours)"
            );
        }
        self.warned_of = count;
        Ok(true)
    }
}
