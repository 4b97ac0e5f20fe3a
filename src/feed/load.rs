//! Loading all subscriptions.

use bson::RawDocument;

use super::{Interrupted, Reading, pause::Pause, place::Place};
use crate::{
    position::Position,
    protocol::GapReason,
    router::{Compiled, FromFeed, Reload},
    store::Snapshot,
};

/// Why all subscriptions are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// For the first time.
    Start,
    /// Another collection was put in the place of theirs.
    Replaced,
    /// Changes are missing.
    HistoryLost,
}

impl Load {
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Replaced => "renamed_onto",
            Self::HistoryLost => "history_lost",
        }
    }
}

impl Reading<'_> {
    /// Loads all subscriptions at one point in time. `Some` if the router is gone.
    pub(super) async fn load(
        &self,
        load: Load,
        place: &mut Place,
        pause: &mut Pause,
    ) -> Option<Interrupted> {
        if load == Load::HistoryLost {
            // Losing it again and again must not become a race.
            pause.wait().await;
        }
        let snapshot = self.snapshot(place.position, pause).await;
        let (time, cause) = (snapshot.time, load.cause());
        let subscriptions = snapshot.contents.len();
        tracing::info!(subscriptions, ?time, cause, "subscriptions are loaded");
        self.feed.metrics.feed_reloaded(cause);
        match load {
            // Nothing is missing: the stream goes on from where it is.
            Load::Replaced => place.loaded_ahead(time),
            Load::Start | Load::HistoryLost => place.start_at(time),
        }
        let reload = Reload {
            subscriptions: snapshot.contents,
            position: place.position,
            missed: (load == Load::HistoryLost).then_some(GapReason::HistoryLost),
        };
        let sent = self.feed.router.send(FromFeed::Reload(reload)).await;
        sent.is_err().then_some(Interrupted::RouterGone)
    }

    /// All subscriptions, at a time not before `position`: another member of the set may be behind
    /// the one that the stream was read from.
    async fn snapshot(&self, position: Position, pause: &mut Pause) -> Snapshot<Vec<Compiled>> {
        loop {
            let add = |all: &mut Vec<Compiled>, document: &RawDocument| {
                all.push(Compiled::read(document.to_owned(), &self.feed.limits));
            };
            match self.feed.store.load_subscriptions(Vec::new, add).await {
                Ok(snapshot) if snapshot.time >= position.cluster_time() => return snapshot,
                Ok(_) => tracing::debug!("the subscriptions are not as new as the feed yet"),
                Err(error) => {
                    tracing::warn!(%error, "the subscriptions cannot be loaded yet");
                    self.cut();
                }
            }
            pause.wait().await;
        }
    }
}
