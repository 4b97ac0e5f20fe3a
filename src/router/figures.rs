//! The figures of the router's state that metrics show.

use std::time::Instant;

use super::{Router, counters::ConnectionCounters};
use crate::{protocol::Ending, subscription::Status};

/// The figures of the router's state that metrics show.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    counters: ConnectionCounters,
    channels: ConnectionCounters,
    statuses: [u64; Status::ALL.len()],
    scanned: u64,
}

impl Router {
    /// Publishes the figures, if they have changed.
    pub(super) fn publish_figures(&mut self) {
        self.published_at = Instant::now();
        let now = Figures {
            counters: self.registry.counters(),
            channels: self.registry.channel_counters(),
            statuses: self.subscriptions.counts(),
            scanned: self.subscriptions.scanned(),
        };
        if std::mem::replace(&mut self.published, now) == now {
            return;
        }
        let (counters, channels) = (now.counters, now.channels);
        self.metrics.update_figures(|figures| {
            figures.opened = counters.opened;
            figures.open = counters.open;
            let closed = Ending::ALL.into_iter();
            figures.closed.clear();
            figures
                .closed
                .extend(closed.map(|ending| (ending.token(), counters.closed(ending))));
            figures.channels_opened = channels.opened;
            figures.channels = channels.open;
            let closed = Ending::ALL.into_iter();
            figures.channels_closed.clear();
            figures
                .channels_closed
                .extend(closed.map(|ending| (ending.token(), channels.closed(ending))));
            figures.filters_scanned = now.scanned;
            let statuses = Status::ALL.into_iter().zip(now.statuses);
            figures.subscriptions.clear();
            figures
                .subscriptions
                .extend(statuses.map(|(status, count)| (status.as_str(), count)));
        });
    }
}
