//! The composition root: builds, starts and stops everything in order.
//!
//! Knows all and is known by none. [`run`] takes its listener and its stop signal, so that a test
//! hands it port 0 and its own signal.

mod accept;
mod drain;
#[cfg(test)]
mod echo_tests;
#[cfg(test)]
mod fault_tests;
mod horizon;
mod housekeeping;
mod presence;

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    feed::Feed,
    http::{self, AppState},
    positions::positions,
    protocol::Load,
    replay::{Library, replays},
    router::{self, Router, filter_limits},
    store::{Store, StoreError, jittered},
    telemetry::{Health, Metrics},
};

/// How long after the deadline of a stop its last tasks may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Between two attempts to migrate, on average.
const MIGRATION_PAUSE: Duration = Duration::from_millis(500);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs a node on `listener` until `stop`, then stops it in order: no new connections, every
/// connection told (1001), spread over a time, everything flushed and closed, within
/// `shutdown_timeout`.
pub async fn run(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let node = tokio::select! {
        node = Node::start(config) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    let closed = CancellationToken::new();
    let accepting = accept::accept(listener, node.acceptor(), closed.clone());
    tracing::info!("the service is up");
    let draining = async {
        stop.cancelled().await;
        let deadline = Instant::now() + node.state.config.shutdown_timeout;
        node.drain(deadline).await;
        closed.cancel();
        deadline
    };
    let ((), deadline) = tokio::join!(accepting, draining);
    node.stop(deadline).await;
    Ok(())
}

/// The database, reached and migrated. An election on the way is ridden out within `startup_timeout`.
async fn prepared(config: &Config) -> Result<Store, StoreError> {
    let deadline = Instant::now() + config.startup_timeout;
    let store = Store::connect(config).await?;
    loop {
        let ready = if config.migrate {
            store.migrate().await.map(drop)
        } else {
            store.require_migrated().await
        };
        match ready {
            Err(error) if error.is_away() && Instant::now() < deadline => {
                tracing::warn!(%error, "the database cannot be migrated yet");
                // Where it is not back by then, the next attempt says so.
                drop(timeout_at(deadline, store.presence().back()).await);
                sleep(jittered(MIGRATION_PAUSE)).await;
            }
            ready => return ready.map(|()| store),
        }
    }
}

/// Everything that runs.
struct Node {
    state: AppState,
    /// One HTTP connection each; told to finish by `closing`.
    http: TaskTracker,
    closing: CancellationToken,
    feed: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    presence: JoinHandle<()>,
    router_task: JoinHandle<()>,
    replay_task: JoinHandle<()>,
    positions_task: JoinHandle<()>,
    ending: CancellationToken,
}

impl Node {
    /// Connects, migrates, and starts router and feed. Returns before the subscriptions are loaded:
    /// until then the node answers that it is not ready.
    async fn start(config: Config) -> Result<Self, ServerError> {
        let store = prepared(&config).await?;
        let metrics = Arc::new(Metrics::default());
        let health = Health::new(&config.feed);
        let settings = router::Settings {
            deployment: store.deployment(),
            database: config.database.clone(),
            limits: config.limits.clone(),
            socket: config.socket.clone(),
            feed: config.feed.clone(),
        };
        let wording = Arc::new(settings.wording(Load::on(Arc::clone(&metrics.waiting_bytes))));
        let (router, handle, from_feed) =
            Router::new(settings, config.feed.batches_ahead, Arc::clone(&metrics));
        let (positions, keeping) = positions(
            store.clone(),
            &config.feed,
            Arc::clone(&metrics),
            health.clone(),
        );
        let router = router.telling(positions.clone());
        let ending = CancellationToken::new();
        let feed = Feed {
            store: store.clone(),
            router: from_feed,
            settings: config.feed.clone(),
            limits: filter_limits(&config.limits),
            metrics: Arc::clone(&metrics),
            health: health.clone(),
        };
        let (replays, replaying) = replays(Library {
            store: store.clone(),
            router: handle.clone(),
            settings: config.feed.clone(),
            metrics: Arc::clone(&metrics),
            health: health.clone(),
        });
        Ok(Self {
            replay_task: tokio::spawn(replaying),
            positions_task: tokio::spawn(keeping),
            router_task: tokio::spawn(router.run()),
            feed: tokio::spawn(feed.run(ending.clone())),
            presence: tokio::spawn(presence::run(
                store.clone(),
                handle.clone(),
                health.clone(),
                ending.clone(),
            )),
            housekeeping: tokio::spawn(housekeeping::run(
                store.clone(),
                Arc::clone(&metrics),
                ending.clone(),
            )),
            state: AppState {
                store,
                router: handle,
                config: Arc::new(config),
                health,
                metrics,
                replays,
                positions,
                wording,
                tasks: TaskTracker::new(),
                cut: CancellationToken::new(),
            },
            http: TaskTracker::new(),
            closing: CancellationToken::new(),
            ending,
        })
    }

    fn acceptor(&self) -> accept::Acceptor {
        accept::Acceptor {
            routes: http::routes(self.state.clone()),
            limits: self.state.config.limits.clone(),
            send_buffer_bytes: self.state.config.socket.send_buffer_bytes,
            metrics: Arc::clone(&self.state.metrics),
            http: self.http.clone(),
            closing: self.closing.clone(),
            cut: self.state.cut.clone(),
        }
    }

    /// Says that this node is not ready any more, and ends the connections over a time.
    async fn drain(&self, deadline: Instant) {
        self.state.health.stopping();
        let window = self.state.config.drain();
        if window.is_zero() {
            return;
        }
        let draining = drain::drain(&self.state.router, window);
        if timeout_at(deadline, draining).await.is_err() {
            tracing::warn!("the router was too busy to end all connections in time");
        }
    }

    /// The listener is closed already. Requests under way are finished, connections that are left are
    /// told; then what feeds them stops. Whatever is left at the deadline is cut.
    async fn stop(self, deadline: Instant) {
        self.closing.cancel();
        if timeout_at(deadline, self.state.router.stop(usize::MAX))
            .await
            .is_err()
        {
            tracing::warn!("the router was too busy to end its connections in time");
        }
        tracing::info!("stopping");
        self.http.close();
        self.state.tasks.close();
        if timeout_at(deadline, self.served()).await.is_err() {
            self.cut().await;
        }
        self.ending.cancel();
        let parts = async {
            for (part, task) in [
                ("feed", self.feed),
                ("housekeeping", self.housekeeping),
                ("presence", self.presence),
            ] {
                if task.await.is_err() {
                    tracing::error!(part, "ended by a panic");
                }
            }
        };
        // The feed closes its cursor on the way out; it is not worth waiting long for.
        if timeout_at(deadline + CUT_GRACE, parts).await.is_err() {
            tracing::warn!("the feed did not end in time");
        }
        let left = (deadline + CUT_GRACE).saturating_duration_since(Instant::now());
        if !self.state.positions.all_written(left.max(CUT_GRACE)).await {
            tracing::warn!("acknowledged positions could not be written; some will be sent again");
        }
        self.positions_task.abort();
        self.replay_task.abort();
        self.router_task.abort();
        tracing::info!("stopped");
    }

    /// Waits until nobody is served any more.
    async fn served(&self) {
        self.http.wait().await;
        self.state.tasks.wait().await;
    }

    /// Ends what is left at the deadline.
    async fn cut(&self) {
        let left = self.http.len() + self.state.tasks.len();
        tracing::warn!(left, "the deadline has passed; cutting what is left");
        self.state.cut.cancel();
        if timeout(CUT_GRACE, self.served()).await.is_err() {
            let left = self.http.len() + self.state.tasks.len();
            tracing::warn!(left, "requests still wait for the database");
        }
    }
}
