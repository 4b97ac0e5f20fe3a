//! From a TCP connection to HTTP.
//!
//! hyper serves each connection in a task of its own. axum's own loop is not used because it bounds
//! neither the time nor the size of a request's head.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{config, connection::Wire, http::Cut, telemetry::Metrics};

/// After an accept that failed for want of something (descriptors, memory), so that the loop does
/// not spin until there is some again.
const PAUSE: Duration = Duration::from_millis(50);
/// The smallest buffer that hyper takes.
const LEAST_HEAD_BYTES: usize = 8 * 1024;

/// What each connection is served with.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) routes: Router,
    pub(super) limits: config::Limits,
    pub(super) send_buffer_bytes: usize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) http: TaskTracker,
    /// Cancelled when open connections are to finish their request and close.
    pub(super) closing: CancellationToken,
    /// Cancelled when whatever is left is to end at once.
    pub(super) cut: Cut,
}

/// Accepts until `stop`; the listener is closed then.
pub(super) async fn accept(listener: TcpListener, acceptor: Acceptor, stop: CancellationToken) {
    let acceptor = Arc::new(acceptor);
    let mut shortage = Shortage::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, remote)) => {
                shortage.ended();
                let serving = Arc::clone(&acceptor).serve(tcp, remote);
                acceptor.http.spawn(acceptor.cut.clone().end(serving));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                shortage.felt(&error);
                acceptor.metrics.http_connection_failed("accept");
                sleep(PAUSE).await;
            }
        }
    }
}

/// A time in which connections cannot be accepted, told when it begins and when it ends.
#[derive(Debug, Default)]
struct Shortage(Option<(Instant, u64)>);

impl Shortage {
    /// An attempt failed.
    fn felt(&mut self, error: &io::Error) {
        let Some((_, failures)) = &mut self.0 else {
            tracing::warn!(%error, "no connection can be accepted now; those that wait are taken later");
            self.0 = Some((Instant::now(), 1));
            return;
        };
        *failures += 1;
    }

    /// An attempt succeeded.
    fn ended(&mut self) {
        if let Some((since, failures)) = self.0.take() {
            let lasted_ms = since.elapsed().as_millis();
            tracing::info!(failures, lasted_ms, "connections are accepted again");
        }
    }
}

/// Errors of `accept` that mean only that this client left.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

impl Acceptor {
    async fn serve(self: Arc<Self>, tcp: TcpStream, remote: SocketAddr) {
        if let Err(error) = self.tune(&tcp) {
            tracing::debug!(%error, "a client left at once");
            return;
        }
        let routes = self.routes.clone();
        let wire = Wire::new(tcp);
        let gauge = wire.gauge();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(Arc::clone(&gauge));
            routes.clone().oneshot(request)
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(self.limits.header_bytes.max(LEAST_HEAD_BYTES))
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = self.closing.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            let cause = cause(&error);
            tracing::debug!(%error, cause, %remote, "an HTTP connection ended badly");
            self.metrics.http_connection_failed(cause);
        }
    }

    /// Small frames must not wait for an acknowledgement of the ones before (Nagle).
    fn tune(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        if self.send_buffer_bytes > 0 {
            SockRef::from(tcp).set_send_buffer_size(self.send_buffer_bytes)?;
        }
        Ok(())
    }
}

/// A bounded name for the metric.
fn cause(error: &hyper::Error) -> &'static str {
    if error.is_timeout() {
        "header_timeout"
    } else if error.is_parse_too_large() {
        "head_too_large"
    } else if error.is_parse() {
        "not_http"
    } else if error.is_incomplete_message() {
        "cut_short"
    } else {
        "other"
    }
}
