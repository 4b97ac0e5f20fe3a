//! Dating the events of other programs: writing the time of their commit into them.
//!
//! Every node sees the same events. The first one to write does the work, and the others find it done.

use std::{collections::HashSet, future::pending, time::Duration};

use bson::Bson;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::store::{EventCommit, Store, StoreError, jittered};

/// Events that may wait for this task. The feed drops further ones, for a later look.
pub(super) const MOST_WAITING: usize = 10_000;
/// Events that are dated together.
const BATCH_EVENTS: usize = 1_000;
/// Average time that an event waits for others.
const BATCH_DELAY: Duration = Duration::from_millis(500);
/// Average time between two looks for events that no node saw.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// Average time from the start to the first look. It is random, so that nodes that start together do not look
/// together.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Dates the events that the feed reports, and looks for others.
pub(super) async fn run(store: Store, observed: mpsc::Receiver<EventCommit>) {
    let mut dater = EventDater {
        store,
        observed,
        left: HashSet::new(),
    };
    dater.follow().await;
}

struct EventDater {
    store: Store,
    observed: mpsc::Receiver<EventCommit>,
    /// Events whose commit the last look did not find. The feed may be about to report them.
    left: HashSet<String>,
}

impl EventDater {
    async fn follow(&mut self) {
        let mut look = Instant::now() + jittered(FIRST_LOOK);
        let mut events = Vec::with_capacity(BATCH_EVENTS);
        loop {
            tokio::select! {
                count = self.observed.recv_many(&mut events, BATCH_EVENTS) => {
                    if count == 0 {
                        // The feed has ended, so the supervisor ends this node.
                        pending::<()>().await;
                    }
                    self.gather(&mut events).await;
                    self.write(&events).await;
                    events.clear();
                }
                () = sleep_until(look) => {
                    let pause = match self.look().await {
                        Ok(true) => BATCH_DELAY,
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

    /// Gathers more events for a moment, as far as there is room.
    async fn gather(&mut self, events: &mut Vec<EventCommit>) {
        if events.len() >= BATCH_EVENTS {
            return;
        }
        sleep(jittered(BATCH_DELAY)).await;
        while events.len() < BATCH_EVENTS
            && let Ok(event) = self.observed.try_recv()
        {
            events.push(event);
        }
    }

    /// Dates the events, however long the database is unavailable.
    async fn write(&self, events: &[EventCommit]) {
        loop {
            match self.store.date_events(events).await {
                Ok(_) => return,
                Err(error) if error.is_unavailable() => {
                    tracing::debug!(%error, "cannot date events now");
                    self.store.availability().wait_primary().await;
                    sleep(jittered(BATCH_DELAY)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot date events");
                    return;
                }
            }
        }
    }

    /// Dates events that no node saw: by the oplog, and at the next look by what they say of themselves. Returns
    /// true if there may be more.
    async fn look(&mut self) -> Result<bool, StoreError> {
        let (undated, more) = self.store.undated_events().await?;
        if undated.is_empty() {
            self.left.clear();
            return Ok(false);
        }
        let now = self.store.server_time().await?;
        // Search the oplog only once for each event: it may take too long each time.
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
