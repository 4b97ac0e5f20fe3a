//! The composition root: builds, starts and stops everything in order.
//!
//! Knows all and is known by none. [`run`] takes its listener and its stop signal, so that a test
//! hands it port 0 and its own signal.

mod accept;
mod horizon;
mod housekeeping;
mod presence;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::presence::Presence;
use crate::{
    config::Config,
    feed::{Feed, recall},
    http::{self, AppState},
    positions::positions,
    receipts::receipts,
    replay::{Library, replays},
    router::{self, Router, RouterHandle, filter_limits},
    store::{NodeCard, Store, StoreError},
    telemetry::{Health, Metrics},
};

/// How long after the deadline of a stop its last tasks may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listener has no address.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
}

impl ServerError {
    /// What the process exits with: 69 where the database is not reachable or not usable, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(_) => 69,
            Self::Listener(_) => 1,
        }
    }
}

/// Runs a node on `listener` until `stop`, then stops it in order: no new connections, every
/// connection told (1001), everything flushed and closed, within `shutdown_timeout`.
pub async fn run(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let address = listener.local_addr()?;
    let node = tokio::select! {
        node = Node::start(config, address) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    let accepting = accept::accept(listener, node.acceptor(), stop.clone());
    tracing::info!("the service is up");
    accepting.await;
    node.stop().await;
    Ok(())
}

/// Everything that runs.
struct Node {
    state: AppState,
    /// One HTTP connection each; told to finish by `closing`.
    http: TaskTracker,
    closing: CancellationToken,
    feed: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    router_task: JoinHandle<()>,
    replay_task: JoinHandle<()>,
    positions_task: JoinHandle<()>,
    receipts_task: JoinHandle<()>,
    recall_task: JoinHandle<()>,
    presence: JoinHandle<()>,
    ending: CancellationToken,
}

impl Node {
    /// Connects, migrates, and starts router and feed. Returns before the subscriptions are loaded:
    /// until then the node answers that it is not ready.
    async fn start(config: Config, address: SocketAddr) -> Result<Self, ServerError> {
        let store = Store::connect(&config).await?;
        if config.migrate {
            store.migrate().await?;
        } else {
            store.require_migrated().await?;
        }
        let metrics = Arc::new(Metrics::default());
        let health = Health::new(config.feed.ready_lag);
        let settings = router_settings(&store, &config);
        let wording = Arc::new(settings.wording());
        let (router, handle, from_feed) =
            Router::new(settings, config.feed.batches_ahead, Arc::clone(&metrics));
        let (positions, keeping) = positions(store.clone(), &config.feed, Arc::clone(&metrics));
        let interval = config.node.heartbeat_interval;
        let card = Arc::new(NodeCard::new(address.to_string(), interval));
        let (receipts, writing) = receipts(
            store.clone(),
            card.id.clone(),
            &config,
            Arc::clone(&metrics),
        );
        let router = router
            .telling(positions.clone())
            .reporting(receipts.clone());
        let closing = CancellationToken::new();
        let presence = Presence {
            card: Arc::clone(&card),
            store: store.clone(),
            router: handle.clone(),
            receipts: receipts.clone(),
            metrics: Arc::clone(&metrics),
            closing: closing.clone(),
        };
        let receipts_task = tokio::spawn(writing);
        let (recall, recalling) = recall(
            store.clone(),
            handle.clone(),
            receipts.clone(),
            config.feed.clone(),
        );
        // Nobody is served by a node that the others have never heard of.
        presence.beat().await?;
        tracing::info!(
            node = card.id,
            host = card.host,
            address = card.address,
            "this node"
        );
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
        });
        Ok(Self {
            replay_task: tokio::spawn(replaying),
            positions_task: tokio::spawn(keeping),
            receipts_task,
            recall_task: tokio::spawn(recalling),
            presence: tokio::spawn(presence.run(ending.clone())),
            router_task: tokio::spawn(router.run()),
            feed: tokio::spawn(feed.run(ending.clone())),
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
                receipts,
                recall,
                description: http::Description::default(),
                node: card,
                wording,
                tasks: TaskTracker::new(),
                cut: CancellationToken::new(),
            },
            http: TaskTracker::new(),
            closing,
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

    /// The listener is closed already. Requests under way are finished, connections are told; then
    /// what feeds them stops. Whatever is left at the deadline is cut.
    async fn stop(self) {
        let deadline = Instant::now() + self.state.config.shutdown_timeout;
        self.state.health.stopping();
        self.closing.cancel();
        let router: RouterHandle = self.state.router.clone();
        let told = timeout_at(deadline, router.stop())
            .await
            .unwrap_or_default();
        tracing::info!(connections = told, "stopping");
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
        if !self.state.receipts.all_written(left.max(CUT_GRACE)).await {
            tracing::warn!("receipts of teardowns could not be written");
        }
        say_goodbye(&self.state, left.max(CUT_GRACE)).await;
        self.receipts_task.abort();
        self.positions_task.abort();
        self.replay_task.abort();
        self.recall_task.abort();
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
