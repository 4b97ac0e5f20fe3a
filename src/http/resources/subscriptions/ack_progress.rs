//! The progress of the client of a durable subscription.

use serde_json::json;

use crate::{
    http::edge::{AppState, problem::Problem},
    position::Position,
};

/// The acknowledged position of a durable subscription, and its distance from now and from loss.
pub(super) struct AckProgress {
    position: Option<String>,
    lag_seconds: Option<u32>,
    loss_in_seconds: Option<u32>,
}

impl AckProgress {
    /// Reads the acknowledged position, and how far back the oplog reaches.
    pub(super) async fn of(state: &AppState, id: &str) -> Result<Self, Problem> {
        let acknowledged = state.positions().resume(id).await?;
        let oldest = state.store.oplog_begin().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the oplog's window cannot be measured");
            None
        });
        let fill = state.store.oplog_fill().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the fill of the oplog cannot be measured");
            None
        });
        let seconds = |position: Position| position.cluster_time().time;
        let ours = acknowledged.filter(|cursor| cursor.deployment == state.router().deployment());
        let applied = seconds(state.router().progress().position);
        Ok(Self {
            position: acknowledged.map(|cursor| cursor.position.cursor(cursor.deployment)),
            lag_seconds: ours.map(|cursor| applied.saturating_sub(seconds(cursor.position))),
            // Until the oplog is full, nothing is lost; after that, its oldest second is lost every second. If the
            // service may not ask for the fill, nothing is known.
            loss_in_seconds: ours.zip(oldest).zip(fill).map(|((cursor, oldest), fill)| {
                let spare = fill.spare_seconds(applied.saturating_sub(oldest.time));
                let covered = seconds(cursor.position).checked_sub(oldest.time);
                covered.map_or(0, |covered| covered.saturating_add(spare))
            }),
        })
    }

    /// Adds these fields to the JSON object of the subscription.
    pub(super) fn add_to(&self, subscription: &str) -> String {
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
