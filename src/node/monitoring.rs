//! The address for monitoring: metrics and health, without credentials, and nothing else.
//!
//! It has few connections of its own, so that it answers when the node has no slot left for others.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{http::ClientTasks, telemetry::Metrics};

/// Connections at the same time. More are closed at once.
const MOST_CONNECTIONS: usize = 32;
/// Time that a request may take to arrive, and a connection may rest between two.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Pause after an accept that failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// The accept loop of the address for monitoring.
#[derive(Debug)]
pub(super) struct Monitoring {
    pub(super) routes: Router,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clients: ClientTasks,
    /// Cancelled when open connections shall finish their request and close.
    pub(super) closing: CancellationToken,
}

impl Monitoring {
    /// Accepts for ever. Dropping this closes the listener.
    pub(super) async fn accept(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let (tcp, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection for monitoring cannot be accepted");
                    sleep(FAILURE_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                self.metrics.access.limited("monitoring_connections");
                continue;
            };
            let serving = serve(tcp, remote, self.routes.clone(), self.closing.clone());
            self.clients.spawn("monitoring", async move {
                serving.await;
                drop(slot);
            });
        }
    }
}

async fn serve(tcp: TcpStream, remote: SocketAddr, routes: Router, closing: CancellationToken) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        routes.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE);
    let mut serving = http.serve_connection(TokioIo::new(tcp), service);
    let served = tokio::select! {
        served = &mut serving => served,
        () = closing.cancelled() => {
            std::pin::Pin::new(&mut serving).graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %remote, "a connection for monitoring failed");
    }
}
