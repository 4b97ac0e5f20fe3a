//! How far the client of a durable subscription is.

use serde_json::json;

use crate::{
    http::edge::{AppState, problem::Problem},
    position::Position,
};

/// What a durable subscription shows besides its document.
pub(super) struct Progress {
    position: Option<String>,
    lag_seconds: Option<u32>,
    loss_in_seconds: Option<u32>,
}

impl Progress {
    /// Asks for the acknowledged position, and for how far back the oplog reaches.
    pub(super) async fn of(state: &AppState, id: &str) -> Result<Self, Problem> {
        let acknowledged = state.positions().resume(id).await?;
        let oldest = state.store.oplog_begin().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the oplog's window cannot be measured now");
            None
        });
        let fill = state.store.oplog_fill().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "how full the oplog is cannot be measured now");
            None
        });
        let seconds = |position: Position| position.cluster_time().time;
        let ours = acknowledged.filter(|cursor| cursor.deployment == state.router().deployment());
        let applied = seconds(state.router().progress().position);
        Ok(Self {
            position: acknowledged.map(|cursor| cursor.position.cursor(cursor.deployment)),
            lag_seconds: ours.map(|cursor| applied.saturating_sub(seconds(cursor.position))),
            // Nothing goes before the oplog is full, and then its oldest second every second. Where nobody may
            // ask how full it is, nothing is known.
            loss_in_seconds: ours.zip(oldest).zip(fill).map(|((cursor, oldest), fill)| {
                let spare = fill.spare_seconds(applied.saturating_sub(oldest.time));
                let covered = seconds(cursor.position).checked_sub(oldest.time);
                covered.map_or(0, |covered| covered.saturating_add(spare))
            }),
        })
    }

    /// The subscription's JSON object with these fields.
    pub(super) fn joined(&self, subscription: &str) -> String {
        let mut text = subscription
            .strip_suffix('}')
            .unwrap_or_default()
            .to_owned();
        let fields = json!({
            "position": self.position,
            "lagSeconds": self.lag_seconds,
            "lossInSeconds": self.loss_in_seconds,
        });
        text.push(',');
        text.push_str(fields.to_string().trim_start_matches('{'));
        text
    }
}
