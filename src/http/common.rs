//! What every request goes through, whatever answers it: a node that serves, one that starts, one that is full.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::{again, cors, framing, observe, outgoing};
use crate::{config::Config, telemetry::Metrics};

/// What the layers around all calls work with. Clones share everything.
#[derive(Clone, Debug)]
pub struct Common {
    pub(super) metrics: Arc<Metrics>,
    pub(super) cors: crate::config::Cors,
    /// Over how long a stop ends the connections.
    pub(super) drain: Duration,
    /// Cancelled when this node begins to stop.
    pub(super) leaving: CancellationToken,
}

impl Common {
    /// Of a node with these settings.
    pub fn new(config: &Config, metrics: Arc<Metrics>, leaving: CancellationToken) -> Self {
        Self {
            metrics,
            cors: config.cors.clone(),
            drain: config.drain(),
            leaving,
        }
    }

    /// Puts the layers around these routes; the last is the outermost.
    pub(super) fn around<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let routes = routes
            .layer(middleware::from_fn(observe::expect))
            .layer(middleware::from_fn(framing::check))
            .layer(CatchPanicLayer::custom(observe::panicked))
            .layer(middleware::from_fn(observe::shape))
            .layer(middleware::from_fn_with_state(
                self.clone(),
                again::refusals,
            ))
            .layer(middleware::from_fn(outgoing::described));
        let routes = match cors::layer(&self.cors) {
            Some(cors) => routes.layer(cors),
            None => routes,
        };
        routes.layer(middleware::from_fn_with_state(
            Arc::clone(&self.metrics),
            observe::observe,
        ))
    }
}
