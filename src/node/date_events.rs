//! Writing down when events of other programs were committed.
//!
//! Every node sees the same events, and each write is made by whichever comes first: the others find it done.

use std::{collections::HashSet, future::pending, time::Duration};

use bson::Bson;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::store::{EventCommit, Store, StoreError, jittered};

/// Events that may wait for this task; of more the feed keeps nothing.
pub(super) const AHEAD: usize = 10_000;
/// Events that are written down together, and how long they wait for each other on average.
const TOGETHER: usize = 1_000;
const GATHERING: Duration = Duration::from_millis(500);
/// How often it looks for events that no node saw, on average, and how long after its start: nodes that start
/// together do not look together.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Writes down what the feed tells, and looks for the rest.
pub(super) async fn run(store: Store, observed: mpsc::Receiver<EventCommit>) {
    let mut dating = Dating {
        store,
        observed,
        left: HashSet::new(),
    };
    dating.follow().await;
}

struct Dating {
    store: Store,
    observed: mpsc::Receiver<EventCommit>,
    /// Events of which the last look could not tell when they were committed: the feed may just be telling.
    left: HashSet<String>,
}

impl Dating {
    async fn follow(&mut self) {
        let mut look = Instant::now() + jittered(FIRST_LOOK);
        let mut events = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                count = self.observed.recv_many(&mut events, TOGETHER) => {
                    if count == 0 {
                        // The feed has ended: whoever watches it ends this node.
                        pending::<()>().await;
                    }
                    self.gather(&mut events).await;
                    self.write(&events).await;
                    events.clear();
                }
                () = sleep_until(look) => {
                    let pause = match self.look().await {
                        Ok(true) => GATHERING,
                        Ok(false) => LOOK_INTERVAL,
                        Err(error) => {
                            tracing::debug!(%error, "cannot look for undated events now");
                            LOOK_INTERVAL
                        }
                    };
                    look = Instant::now() + jittered(pause);
                }
            }
        }
    }

    /// More of them, as far as they come in a moment, and there is room.
    async fn gather(&mut self, events: &mut Vec<EventCommit>) {
        if events.len() >= TOGETHER {
            return;
        }
        sleep(jittered(GATHERING)).await;
        while events.len() < TOGETHER
            && let Ok(event) = self.observed.try_recv()
        {
            events.push(event);
        }
    }

    /// Writes them down, however long the database is away.
    async fn write(&self, events: &[EventCommit]) {
        loop {
            match self.store.date_events(events).await {
                Ok(_) => return,
                Err(error) if error.is_unavailable() => {
                    tracing::debug!(%error, "cannot date events now");
                    self.store.availability().wait_primary().await;
                    sleep(jittered(GATHERING)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot date events");
                    return;
                }
            }
        }
    }

    /// Dates what no node saw: by the oplog, and at the next look by what the event says of itself. True where
    /// there may be more.
    async fn look(&mut self) -> Result<bool, StoreError> {
        let (undated, more) = self.store.undated_events().await?;
        if undated.is_empty() {
            self.left.clear();
            return Ok(false);
        }
        let now = self.store.server_time().await?;
        // What the oplog was asked for once it is not asked for again: it may take too long each time.
        let (asked, new): (Vec<_>, Vec<_>) = undated
            .into_iter()
            .partition(|event| self.left.contains(&name(&event.id)));
        let known = self.store.find_commits(&new, now).await?;
        let exact: HashSet<String> = known.iter().map(|event| name(&event.id)).collect();
        let left = new.iter().map(|event| name(&event.id));
        self.left = left.filter(|name| !exact.contains(name)).collect();
        let dated = self.store.date_events(&known).await?;
        let guessed = self.store.date_by_estimate(asked, now).await?;
        tracing::debug!(
            dated,
            guessed,
            "dated events of other programs that no node had seen"
        );
        Ok(more)
    }
}

fn name(id: &Bson) -> String {
    id.to_string()
}
