//! The accept loop: from a TCP connection to HTTP.
//!
//! hyper serves each connection in a task of its own. axum's loop is not used, because it bounds neither
//! the time nor the size of a request's head.

use std::{
    convert::Infallible,
    error::Error as _,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, StatusCode, header},
};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{admission::Admission, malformed_head, tls::Handshakes};
use crate::{
    access::ClientCertificate,
    carrier::{GaugedTcp, TcpGauge, TcpPermit, Tls},
    config::{self, Config},
    http::{self, ClientTasks},
    telemetry::Metrics,
};

/// Pause after an accept that failed for want of a resource (descriptors, memory), so that the loop does not
/// spin.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// Time that a client without a permit gets to send its request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The smallest buffer that hyper takes.
const LEAST_HEAD_BYTES: usize = 8 * 1024;

/// The accept loop, with all that a connection is served with.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// The answers while the node starts.
    starting: Router,
    /// The answers once it has started.
    routes: OnceLock<Router>,
    /// The answers to clients without a permit.
    full: Router,
    limits: config::Limits,
    /// `None`: connections are plain.
    tls: Option<Handshakes>,
    send_buffer_bytes: usize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) layers: http::Layers,
    pub(super) clients: ClientTasks,
    /// Cancelled when this node begins to stop, before anything ends.
    pub(super) leaving: CancellationToken,
    /// Cancelled when open connections shall finish their request and close.
    pub(super) closing: CancellationToken,
}

impl Acceptor {
    /// Begins with the answers of a node that is starting.
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>, tls: Option<Handshakes>) -> Self {
        let leaving = CancellationToken::new();
        let layers = http::Layers::new(config, Arc::clone(&metrics), leaving.clone());
        Self {
            starting: http::starting(&layers),
            routes: OnceLock::new(),
            full: http::full(&layers),
            layers,
            leaving,
            limits: config.limits.clone(),
            tls,
            send_buffer_bytes: config.socket.send_buffer_bytes,
            clients: ClientTasks::new(Arc::clone(&metrics)),
            metrics,
            closing: CancellationToken::new(),
        }
    }

    /// Answers by these routes from now on, also on open connections.
    pub(super) fn started(&self, routes: Router) {
        self.routes.get_or_init(|| routes);
    }

    /// Accepts for ever. Dropping this closes the listener.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut shortage = Shortage::default();
        let proxies = Arc::clone(&self.layers.proxies);
        let mut admission = Admission::new(&self.limits, proxies, Arc::clone(&self.metrics));
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => {
                    shortage.succeeded();
                    match admission.admit(remote.ip()) {
                        Ok(permit) => {
                            let serving = Arc::clone(&self).serve(tcp, remote, permit);
                            self.clients.spawn("http", serving);
                        }
                        Err(full) => {
                            let serving = Arc::clone(&self).turn_away(tcp, remote);
                            admission.turn_away(full, &self.clients.spawn("http", serving));
                        }
                    }
                }
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    shortage.failed(&error);
                    self.metrics.http.connection_failed("accept");
                    sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, remote: SocketAddr, permit: TcpPermit) {
        if let Err(error) = self.tune(&tcp) {
            tracing::debug!(%error, "socket options cannot be set");
            return;
        }
        let arrived = arrived(&tcp);
        let Some(secured) = self.secure(tcp, remote, self.limits.header_timeout).await else {
            return;
        };
        let client = Client {
            remote,
            arrived,
            certificate: secured.certificate,
        };
        let mut wire = GaugedTcp::new(secured.wire, Some(permit), self.limits.answer_timeout);
        let mut last = false;
        while let Some(unread) = self.converse(wire, client, last).await {
            wire = unread;
            last = self.closing.is_cancelled();
        }
    }

    /// Serves requests until the connection is over. It returns the connection if that was to be closed as idle, and a
    /// request has come all the same, which nobody has read: its client cannot know, and would get a reset. The `last`
    /// request on a connection closes it.
    async fn converse(
        self: &Arc<Self>,
        wire: GaugedTcp,
        client: Client,
        last: bool,
    ) -> Option<GaugedTcp> {
        let gauge = wire.gauge();
        let mut http = self.http(self.limits.header_timeout);
        let http = http.keep_alive(!last);
        let service = self.service(client, Arc::clone(&gauge));
        let mut serving = http
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades();
        let mut sent_before = None;
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.closing.cancelled(), if !last => {
                sent_before = Some(gauge.bytes_taken());
                Pin::new(&mut serving).graceful_shutdown();
                (&mut serving).await
            }
        };
        // `None`: a session has taken it over.
        let parts = serving.into_parts()?;
        let wire = parts.io.into_inner();
        let sent = gauge.bytes_taken();
        let idle = parts.read_buf.is_empty()
            && match &served {
                Ok(()) => sent_before == Some(sent),
                Err(error) => error.is_timeout(),
            };
        if idle && wire.has_unread() {
            return Some(wire);
        }
        match served {
            // One that idles after an answer has done nothing wrong.
            Err(error) if !(idle && sent > 0) => {
                self.failed(&error, client.remote);
                malformed_head::refuse(wire, &parts.read_buf, &error).await;
            }
            Ok(()) | Err(_) => end(wire, client.remote).await,
        }
        None
    }

    /// Returns what answers the requests of a connection.
    fn service(
        self: &Arc<Self>,
        client: Client,
        gauge: Arc<TcpGauge>,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + use<> {
        let acceptor = Arc::clone(self);
        service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(client.remote));
            request.extensions_mut().insert(Arc::clone(&gauge));
            request.extensions_mut().insert(client.arrived);
            if let Some(certificate) = client.certificate {
                request.extensions_mut().insert(certificate);
            }
            let answering = acceptor.answers().clone().oneshot(request);
            let leaving = acceptor.leaving.clone();
            async move {
                let mut answer = answering.await?;
                // So that few connections are open, and none is in use, when the rest are closed.
                if leaving.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok(answer)
            }
        })
    }

    /// Answers one request on a connection without a permit, and closes it.
    async fn turn_away(self: Arc<Self>, tcp: TcpStream, remote: SocketAddr) {
        let patience = self.limits.header_timeout.min(REFUSAL_TIMEOUT);
        let arrived = arrived(&tcp);
        let Some(secured) = self.secure(tcp, remote, patience).await else {
            return;
        };
        let wire = GaugedTcp::new(secured.wire, None, patience);
        let acceptor = Arc::clone(&self);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(arrived);
            let answers = if http::is_probe(request.uri().path()) {
                acceptor.answers()
            } else {
                &acceptor.full
            };
            answers.clone().oneshot(request.map(Body::new))
        });
        let mut serving = self
            .http(patience)
            .keep_alive(false)
            .serve_connection(TokioIo::new(wire), service);
        match timeout(patience * 2, &mut serving).await {
            Ok(Ok(())) => end(serving.into_parts().io.into_inner(), remote).await,
            Ok(Err(error)) => {
                self.failed(&error, remote);
                let parts = serving.into_parts();
                malformed_head::refuse(parts.io.into_inner(), &parts.read_buf, &error).await;
            }
            Err(_) => self.metrics.http.connection_failed("turned_away"),
        }
    }

    /// Completes the handshake of TLS, if this node speaks it and does not close. Boxed: it is large, and over before the
    /// first request.
    async fn secure(
        &self,
        tcp: TcpStream,
        remote: SocketAddr,
        patience: Duration,
    ) -> Option<Secured> {
        let Some(handshakes) = &self.tls else {
            return Some(Secured {
                wire: (tcp, None),
                certificate: None,
            });
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&handshakes.borrow()));
        let shaking_hands = timeout(patience, Box::pin(acceptor.accept(tcp)));
        let shaken = self.closing.run_until_cancelled(shaking_hands).await?;
        let (error, cause) = match shaken {
            Ok(Ok(stream)) => {
                let (tcp, session) = stream.into_inner();
                let shown = session.peer_certificates().and_then(<[_]>::first);
                return Some(Secured {
                    certificate: shown.and_then(|der| ClientCertificate::of_der(der)),
                    wire: (tcp, Some(Tls::new(session))),
                });
            }
            Ok(Err(error)) => (error, "tls"),
            Err(_) => (io::ErrorKind::TimedOut.into(), "header_timeout"),
        };
        tracing::debug!(%error, cause, %remote, "a TLS handshake failed");
        self.metrics.http.connection_failed(cause);
        None
    }

    fn http(&self, head_patience: Duration) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(head_patience)
            .max_buf_size(self.limits.header_bytes.max(LEAST_HEAD_BYTES));
        http
    }

    fn failed(&self, error: &hyper::Error, remote: SocketAddr) {
        let cause = cause(error);
        tracing::debug!(%error, cause, %remote, "an HTTP connection failed");
        self.metrics.http.connection_failed(cause);
    }

    fn answers(&self) -> &Router {
        self.routes.get().unwrap_or(&self.starting)
    }

    /// Sets the socket options. Small frames must not wait for the acknowledgement of earlier ones (Nagle).
    fn tune(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        if self.send_buffer_bytes > 0 {
            SockRef::from(tcp).set_send_buffer_size(self.send_buffer_bytes)?;
        }
        Ok(())
    }
}

/// Shuts a connection down, and closes it.
async fn end(mut wire: GaugedTcp, remote: SocketAddr) {
    if let Err(error) = wire.end().await {
        tracing::trace!(%error, %remote, "a connection cannot be shut down");
    }
}

/// The client of a connection, as far as the connection tells.
#[derive(Clone, Copy)]
struct Client {
    remote: SocketAddr,
    arrived: http::LocalAddress,
    certificate: Option<ClientCertificate>,
}

/// A connection after its handshake.
struct Secured {
    wire: (TcpStream, Option<Tls>),
    /// The client's certificate, if it has one that is asked for.
    certificate: Option<ClientCertificate>,
}

/// Returns the address of this node at which the client arrived.
fn arrived(tcp: &TcpStream) -> http::LocalAddress {
    http::LocalAddress(tcp.local_addr().ok().map(|address| address.ip()))
}

/// A time in which connections cannot be accepted. Its beginning and its end are logged.
#[derive(Debug, Default)]
struct Shortage(Option<(Instant, u64)>);

impl Shortage {
    /// Notes a failed attempt.
    fn failed(&mut self, error: &io::Error) {
        let Some((_, failures)) = &mut self.0 else {
            tracing::warn!(%error, "cannot accept connections now; waiting ones are accepted later");
            self.0 = Some((Instant::now(), 1));
            return;
        };
        *failures += 1;
    }

    /// Notes a successful attempt.
    fn succeeded(&mut self) {
        if let Some((since, failures)) = self.0.take() {
            let lasted_ms = since.elapsed().as_millis();
            tracing::info!(failures, lasted_ms, "accepting connections again");
        }
    }
}

/// Whether an error of `accept` only means that this client left.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Names the cause, with a bounded set of names for the metric.
fn cause(error: &hyper::Error) -> &'static str {
    if error.is_timeout() {
        "header_timeout"
    } else if error.is_parse_too_large() {
        "head_too_large"
    } else if error.is_parse() {
        "not_http"
    } else if error.is_incomplete_message() {
        "cut_short"
    } else if io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        "answer_timeout"
    } else {
        "other"
    }
}

fn io_error(error: &hyper::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

#[cfg(test)]
mod tests;
