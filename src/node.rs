//! A running node: builds, starts and stops everything in order.
//!
//! It knows all other modules, and none knows it. [`run`] takes its listener and its stop signal, so that a
//! test can pass port 0 and a signal of its own.

mod accept;
mod admission;
mod date_events;
mod drain;
#[cfg(test)]
mod echo_tests;
mod expire;
#[cfg(debug_assertions)]
mod fault_injection;
#[cfg(test)]
mod fault_tests;
mod heartbeat;
mod maintenance;
mod malformed_head;
mod monitoring;
mod oplog_window;
mod record_uses;
mod supervise;
mod tls;
mod watchdog;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    accept::Acceptor,
    heartbeat::NodeHeartbeat,
    monitoring::Monitoring,
    record_uses::UseRecorder,
    supervise::{Stage, Supervisor},
    tls::Certificate,
};
pub use self::{supervise::TaskFault, tls::CertificateError};
use crate::{
    config::{Auth, Config, ConfigError},
    feed::Feed,
    filter,
    history::{HistoryContext, history},
    http::{self, AppState, ClientTasks, Uses},
    identity::{self, Issuers, Keeper},
    positions::positions,
    receipts::{delete_history, receipts},
    router::{self, Capacity, FromFeed, Router, RouterHandle},
    session::NodeContext,
    store::{EventCommit, NodeInfo, Store, StoreError, jittered},
    telemetry::{Health, Metrics},
};

/// Time after the deadline of a stop that its last tasks get to notice it.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Average pause between two attempts to migrate.
const MIGRATION_PAUSE: Duration = Duration::from_millis(500);

/// The reason why a node cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A setting names something that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address for monitoring cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The fault.
        #[source]
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A task that the node needs has ended.
    #[error(transparent)]
    Task(#[from] TaskFault),
}

/// Runs a node on `listener` until `stop`. Then stops it in order, within `shutdown_timeout`: tells every
/// connection (1001), spread over a time, accepts no new ones, flushes and closes.
///
/// The node answers from the first moment on, at first only that it is starting. If one of its tasks ends
/// too early, the node ends at once, and so do its connections.
pub async fn run(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let address = listener.local_addr().unwrap_or(config.listen);
    let supervisor = Supervisor::default();
    let accepting = supervisor.stage();
    let metrics = Arc::new(Metrics::default());
    let mut tls = None;
    if config.tls.is_on() {
        let (certificate, handshakes) = Certificate::read(&config.tls, Arc::clone(&metrics))?;
        accepting.spawn("certificate", certificate.follow());
        tls = Some(handshakes);
    }
    metrics.access.insecure.set(config.needs_insecure().into());
    let health = Health::new(&config.feed, metrics.feed.lag.clone());
    let monitored = match config.metrics_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let acceptor = Arc::new(Acceptor::new(&config, metrics, tls));
    let (issuers, keepers) = trust(&config, &acceptor).await?;
    if let Some(listener) = monitored {
        let monitoring = Monitoring {
            routes: http::monitoring(Arc::clone(&acceptor.metrics), health.clone()),
            metrics: Arc::clone(&acceptor.metrics),
            clients: acceptor.clients.clone(),
            closing: acceptor.closing.clone(),
        };
        accepting.spawn("monitoring", monitoring.accept(listener));
    }
    // A task of its own, so that it runs on the same threads as the connections.
    accepting.spawn("accept", Arc::clone(&acceptor).accept(listener));
    let clients = acceptor.clients.clone();
    let living = async {
        // Boxed: the future is large, and freed when the start is done.
        let starting = Box::pin(Node::start(
            config,
            address,
            &supervisor,
            acceptor,
            accepting,
            health,
            issuers,
        ));
        let Some(node) = stop.run_until_cancelled(starting).await else {
            return Ok(());
        };
        let node = node?;
        node.keep_issuers(keepers);
        tracing::info!("the service is up");
        stop.cancelled().await;
        node.stop().await;
        Ok(())
    };
    let ended = tokio::select! {
        biased;
        fault = supervisor.fault() => Err(fault.into()),
        lived = living => lived,
    };
    clients.abort();
    ended
}

/// Listens on the address for monitoring.
async fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| NodeError::Listen { address, error })
}

/// Opens the issuers of tokens, where callers have to prove themselves.
async fn trust(
    config: &Config,
    acceptor: &Acceptor,
) -> Result<(Issuers, Vec<Keeper>), ConfigError> {
    match config.auth {
        Auth::None => Ok(Default::default()),
        Auth::Required => identity::open(&config.issuers, &acceptor.metrics).await,
    }
}

/// Connects to the database and migrates it. Rides out an election meanwhile, within `startup_timeout`.
async fn connect_and_migrate(config: &Config) -> Result<Store, StoreError> {
    let deadline = Instant::now() + config.startup_timeout;
    let store = Store::connect(config).await?;
    loop {
        let ready = if config.migrate {
            store.migrate().await.map(drop)
        } else {
            store.require_migrated().await
        };
        match ready {
            Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                tracing::warn!(%error, "the database cannot be migrated yet");
                // If no primary is back by then, the next attempt reports it.
                drop(timeout_at(deadline, store.availability().wait_primary()).await);
                sleep(jittered(MIGRATION_PAUSE)).await;
            }
            ready => return ready.map(|()| store),
        }
    }
}

/// Everything that runs, in the order in which it ends.
struct Node {
    state: AppState,
    accepting: Stage,
    acceptor: Arc<Acceptor>,
    /// Tasks that only connections need.
    feeding: Stage,
    /// Tasks that others ask and write to until the end.
    core: Stage,
    shutdown_timeout: Duration,
}

impl Node {
    /// Connects, migrates, and starts router and feed. Returns before the subscriptions are loaded. Until they
    /// are, the node answers that it is not ready.
    async fn start(
        config: Config,
        address: SocketAddr,
        supervisor: &Supervisor,
        acceptor: Arc<Acceptor>,
        accepting: Stage,
        health: Health,
        issuers: Issuers,
    ) -> Result<Self, NodeError> {
        let store = connect_and_migrate(&config).await?;
        let (feeding, core) = (supervisor.stage(), supervisor.stage());
        let metrics = Arc::clone(&acceptor.metrics);
        store.count_unreadable_in(&metrics);
        let settings = router_settings(&store, &config);
        let encoder = settings.encoder(&metrics);
        let (mut router, handle, from_feed) =
            Router::new(settings, config.feed.batches_ahead, Arc::clone(&metrics));
        let (positions, writing_positions) = positions(
            store.clone(),
            router.observe(),
            &config.feed,
            Arc::clone(&metrics),
            health.clone(),
        );
        let info = Arc::new(info(address, &config));
        let (receipts, writing_receipts) = receipts(
            store.clone(),
            info.id.clone(),
            router.observe(),
            &config,
            Arc::clone(&metrics),
            health.clone(),
        );
        let heartbeat = NodeHeartbeat {
            info: Arc::clone(&info),
            store: store.clone(),
            router: handle.clone(),
            receipts: receipts.clone(),
            metrics: Arc::clone(&metrics),
            leaving: acceptor.leaving.clone(),
        };
        core.spawn("receipts", writing_receipts);
        let (delete_history, reading_deletes) = delete_history(
            store.clone(),
            handle.clone(),
            receipts.clone(),
            config.feed.clone(),
        );
        heartbeat.write_first(config.startup_timeout).await?;
        let (undated, observed) = mpsc::channel(date_events::MOST_WAITING);
        let watching = (Arc::clone(&metrics), health.clone());
        let feed = feed(store.clone(), from_feed, undated, &config, watching);
        let (history, reading_history) = history(history_context(&feed, &handle, config.auth));
        let context = Arc::new(NodeContext {
            router: handle.clone(),
            drain: config.drain(),
            limits: config.limits,
            socket: config.socket,
            feed: config.feed,
            metrics: Arc::clone(&metrics),
            history,
            positions,
            encoder,
        });
        feeding.spawn("expiry", expire::run(store.clone(), handle.expiring()));
        feeding.spawn("date_events", date_events::run(store.clone(), observed));
        let uses = record_uses(&feeding, &store, &handle, &metrics);
        core.spawn("replays", reading_history);
        core.spawn("positions", writing_positions);
        core.spawn("delete_history", reading_deletes);
        core.spawn("router", router.run());
        feeding.spawn("heartbeat", heartbeat.run());
        feeding.spawn("feed", feed.run());
        let watchdog = watchdog::run(store.clone(), handle, health.clone());
        feeding.spawn("watchdog", watchdog);
        feeding.spawn("maintenance", maintenance::run(store.clone(), metrics));
        let bounds = http::Bounds::new(
            &context.limits,
            &config.quotas,
            store.connections(),
            &context.metrics,
        );
        let state = AppState::from(http::Shared {
            store,
            health,
            proof: http::Proof::new(config.auth),
            issuers,
            bounds,
            description: http::description(context.limits.clone()),
            context,
            receipts,
            delete_history,
            uses,
            browser: config.browser,
            tickets: config.tickets,
            node: info,
            tasks: acceptor.clients.clone(),
        });
        acceptor.started(http::routes(state.clone(), &acceptor.layers));
        Ok(Self {
            state,
            accepting,
            acceptor,
            feeding,
            core,
            shutdown_timeout: config.shutdown_timeout,
        })
    }

    /// Starts the tasks that keep the keys of issuers.
    fn keep_issuers(&self, keepers: Vec<Keeper>) {
        for keeper in keepers {
            let router = self.state.context.router.clone();
            self.feeding.spawn("issuer_keys", keeper.run(router));
        }
    }

    /// Ends the connections over a time, closes the listener, and finishes requests under way. Then stops the tasks
    /// that feed them. Aborts what is left at the deadline.
    async fn stop(self) {
        let deadline = Instant::now() + self.shutdown_timeout;
        self.drain(deadline).await;
        self.accepting.end().await;
        self.acceptor.closing.cancel();
        if timeout_at(deadline, self.state.context.router.stop(usize::MAX))
            .await
            .is_err()
        {
            tracing::warn!("the router was too busy to end its connections in time");
        }
        tracing::info!("stopping");
        if timeout_at(deadline, self.state.tasks.ended())
            .await
            .is_err()
        {
            abort(&self.state.tasks).await;
        }
        // The feed closes its cursor on the way out, which is not worth a long wait.
        if timeout_at(deadline + ABORT_GRACE, self.feeding.end())
            .await
            .is_err()
        {
            tracing::warn!("the feed did not end in time");
        }
        let left = (deadline + ABORT_GRACE).saturating_duration_since(Instant::now());
        if !self
            .state
            .context
            .positions
            .all_written(left.max(ABORT_GRACE))
            .await
        {
            tracing::warn!("acknowledged positions could not be written; some will be sent again");
        }
        if !self.state.receipts.all_written(left.max(ABORT_GRACE)).await {
            tracing::warn!("receipts of teardowns could not be written");
        }
        announce_stop(&self.state, left.max(ABORT_GRACE)).await;
        if timeout(ABORT_GRACE, self.core.end()).await.is_err() {
            tracing::warn!("the last tasks did not end in time");
        }
        tracing::info!("stopped");
    }

    /// Reports that this node is no longer ready, and ends the connections over a time.
    async fn drain(&self, deadline: Instant) {
        self.state.health.stopping();
        self.acceptor.leaving.cancel();
        let window = self.state.context.drain;
        if window.is_zero() {
            return;
        }
        let draining = drain::drain(&self.state.context.router, window);
        if timeout_at(deadline, draining).await.is_err() {
            tracing::warn!("the router was too busy to end all connections in time");
        }
    }
}

/// Aborts the client tasks that are left at the deadline.
async fn abort(clients: &ClientTasks) {
    let left = clients.len();
    tracing::warn!(left, "the deadline has passed; aborting what is left");
    clients.abort();
    if timeout(ABORT_GRACE, clients.ended()).await.is_err() {
        let left = clients.len();
        tracing::warn!(left, "some connections do not end");
    }
}

fn info(address: SocketAddr, config: &Config) -> NodeInfo {
    NodeInfo::new(address.to_string(), config.node.heartbeat_interval)
}

/// Starts the task that records the last uses of keys. Returns the record.
fn record_uses(
    feeding: &Stage,
    store: &Store,
    router: &RouterHandle,
    metrics: &Arc<Metrics>,
) -> Arc<Uses> {
    let recorder = UseRecorder::new(store.clone(), router.clone(), Arc::clone(metrics));
    let uses = recorder.uses();
    feeding.spawn("uses", recorder.run());
    uses
}

/// Gives readers of the history the same means as the feed.
fn history_context(feed: &Feed, router: &RouterHandle, auth: Auth) -> HistoryContext {
    HistoryContext {
        store: feed.store.clone(),
        router: router.clone(),
        settings: feed.settings.clone(),
        metrics: Arc::clone(&feed.metrics),
        health: feed.health.clone(),
        guarded: auth == Auth::Required,
    }
}

fn feed(
    store: Store,
    router: mpsc::Sender<FromFeed>,
    undated: mpsc::Sender<EventCommit>,
    config: &Config,
    (metrics, health): (Arc<Metrics>, Health),
) -> Feed {
    Feed {
        store,
        router,
        undated,
        settings: config.feed.clone(),
        limits: filter::Limits::from(&config.limits),
        capacity: Capacity::from(&config.limits),
        narrows: config.auth == Auth::Required,
        credentials_bytes: config.limits.credentials_bytes,
        metrics,
        health,
    }
}

fn router_settings(store: &Store, config: &Config) -> router::Settings {
    router::Settings {
        deployment: store.deployment(),
        database: config.database.clone(),
        narrows: config.auth == Auth::Required,
        limits: config.limits.clone(),
        quotas: config.quotas.clone(),
        socket: config.socket.clone(),
        feed: config.feed.clone(),
    }
}

/// Tells the other nodes that no socket of this node is left, if that is so.
async fn announce_stop(state: &AppState, patience: Duration) {
    if !state.tasks.is_empty() {
        return;
    }
    let writing = state.store.write_node_stopped(&state.node);
    match timeout(patience, writing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot tell the other nodes of this stop"),
        Err(_) => tracing::warn!("could not tell the other nodes of this stop in time"),
    }
}
