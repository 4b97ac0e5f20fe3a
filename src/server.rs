//! The composition root: builds, starts and stops everything in order.
//!
//! Knows all and is known by none. [`run`] takes its listener and its stop signal, so that a test
//! hands it port 0 and its own signal.

mod accept;
mod drain;
#[cfg(test)]
mod echo_tests;
mod expiry;
#[cfg(test)]
mod fault_tests;
mod horizon;
mod housekeeping;
mod presence;
mod signs;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use self::signs::Signs;
use crate::{
    config::Config,
    connection::Host,
    feed::{Feed, recall},
    http::{self, AppState, Cut},
    positions::positions,
    receipts::receipts,
    replay::{Library, replays},
    router::{self, Router, filter_limits},
    store::{NodeCard, Store, StoreError, jittered},
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
    let address = listener.local_addr().unwrap_or(config.listen);
    let node = tokio::select! {
        node = Node::start(config, address) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    let closed = CancellationToken::new();
    // In a task, so that it runs where the connections do.
    let accepting = accept::accept(listener, node.acceptor(), closed.clone());
    let accepting = AbortOnDropHandle::new(tokio::spawn(accepting));
    let accepting = async {
        if let Err(Ok(panic)) = accepting.await.map_err(JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    };
    tracing::info!("the service is up");
    let draining = async {
        stop.cancelled().await;
        let deadline = Instant::now() + node.state.host.config.shutdown_timeout;
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
    /// Cancelled when this node begins to stop, before anything ends.
    leaving: CancellationToken,
    feed: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    expiry: JoinHandle<()>,
    presence: JoinHandle<()>,
    router_task: JoinHandle<()>,
    replay_task: JoinHandle<()>,
    positions_task: JoinHandle<()>,
    receipts_task: JoinHandle<()>,
    recall_task: JoinHandle<()>,
    signs: JoinHandle<()>,
    ending: CancellationToken,
}

impl Node {
    /// Connects, migrates, and starts router and feed. Returns before the subscriptions are loaded:
    /// until then the node answers that it is not ready.
    async fn start(config: Config, address: SocketAddr) -> Result<Self, ServerError> {
        let store = prepared(&config).await?;
        let metrics = Arc::new(Metrics::default());
        let health = Health::new(&config.feed, metrics.lag.clone());
        let settings = router_settings(&store, &config);
        let wording = settings.wording(&metrics);
        let (router, handle, from_feed) =
            Router::new(settings, config.feed.batches_ahead, Arc::clone(&metrics));
        let (positions, keeping) = positions(
            store.clone(),
            &config.feed,
            Arc::clone(&metrics),
            health.clone(),
        );
        let interval = config.node.heartbeat_interval;
        let card = Arc::new(NodeCard::new(address.to_string(), interval));
        let (receipts, writing) = receipts(
            store.clone(),
            card.id.clone(),
            &config,
            Arc::clone(&metrics),
            health.clone(),
        );
        let router = router
            .telling(positions.clone())
            .reporting(receipts.clone());
        let leaving = CancellationToken::new();
        let signs = Signs {
            card: Arc::clone(&card),
            store: store.clone(),
            router: handle.clone(),
            receipts: receipts.clone(),
            metrics: Arc::clone(&metrics),
            leaving: leaving.clone(),
        };
        let receipts_task = tokio::spawn(writing);
        let (recall, recalling) = recall(
            store.clone(),
            handle.clone(),
            receipts.clone(),
            config.feed.clone(),
        );
        signs.first(config.startup_timeout).await?;
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
        let host = Arc::new(Host {
            router: handle.clone(),
            config,
            metrics: Arc::clone(&metrics),
            replays,
            positions,
            wording,
        });
        let expiry = expiry::run(store.clone(), handle.expiring(), ending.clone());
        let presence = presence::run(store.clone(), handle, health.clone(), ending.clone());
        let housekeeping = housekeeping::run(store.clone(), metrics, ending.clone());
        Ok(Self {
            replay_task: tokio::spawn(replaying),
            positions_task: tokio::spawn(keeping),
            receipts_task,
            recall_task: tokio::spawn(recalling),
            signs: tokio::spawn(signs.run(ending.clone())),
            router_task: tokio::spawn(router.run()),
            feed: tokio::spawn(feed.run(ending.clone())),
            presence: tokio::spawn(presence),
            housekeeping: tokio::spawn(housekeeping),
            expiry: tokio::spawn(expiry),
            state: AppState {
                store,
                health,
                host,
                receipts,
                recall,
                description: http::Description::default(),
                node: card,
                tasks: TaskTracker::new(),
                cut: Cut::default(),
            },
            http: TaskTracker::new(),
            closing: CancellationToken::new(),
            leaving,
            ending,
        })
    }

    fn acceptor(&self) -> accept::Acceptor {
        accept::Acceptor {
            routes: http::routes(self.state.clone()),
            limits: self.state.host.config.limits.clone(),
            send_buffer_bytes: self.state.host.config.socket.send_buffer_bytes,
            metrics: Arc::clone(&self.state.host.metrics),
            http: self.http.clone(),
            closing: self.closing.clone(),
            cut: self.state.cut.clone(),
        }
    }

    /// Says that this node is not ready any more, and ends the connections over a time.
    async fn drain(&self, deadline: Instant) {
        self.state.health.stopping();
        self.leaving.cancel();
        let window = self.state.host.config.drain();
        if window.is_zero() {
            return;
        }
        let draining = drain::drain(&self.state.host.router, window);
        if timeout_at(deadline, draining).await.is_err() {
            tracing::warn!("the router was too busy to end all connections in time");
        }
    }

    /// The listener is closed already. Requests under way are finished, connections that are left are
    /// told; then what feeds them stops. Whatever is left at the deadline is cut.
    async fn stop(self, deadline: Instant) {
        self.closing.cancel();
        if timeout_at(deadline, self.state.host.router.stop(usize::MAX))
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
                ("expiry", self.expiry),
                ("presence", self.presence),
                ("signs", self.signs),
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
        if !self
            .state
            .host
            .positions
            .all_written(left.max(CUT_GRACE))
            .await
        {
            tracing::warn!("acknowledged positions could not be written; some will be sent again");
        }
        if !self.state.receipts.all_written(left.max(CUT_GRACE)).await {
            tracing::warn!("receipts of teardowns could not be written");
        }
        say_goodbye(&self.state, left.max(CUT_GRACE)).await;
        self.receipts_task.abort();
        self.recall_task.abort();
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
        self.state.cut.now();
        if timeout(CUT_GRACE, self.served()).await.is_err() {
            let left = self.http.len() + self.state.tasks.len();
            tracing::warn!(left, "requests still wait for the database");
        }
    }
}

fn router_settings(store: &Store, config: &Config) -> router::Settings {
    router::Settings {
        deployment: store.deployment(),
        database: config.database.clone(),
        limits: config.limits.clone(),
        socket: config.socket.clone(),
        feed: config.feed.clone(),
    }
}

/// Tells the others that no socket of this node is left, where that is so.
async fn say_goodbye(state: &AppState, patience: Duration) {
    if !state.tasks.is_empty() {
        return;
    }
    let farewell = state.store.node_stopped(&state.node);
    match timeout(patience, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the others are not told of this stop"),
        Err(_) => tracing::warn!("the others are not told of this stop in time"),
    }
}
