//! What every request goes through, whatever answers it: a node that serves, one that starts, one that is full.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    config::Config,
    http::edge::{
        budget::Budget,
        cors,
        hosts::{self, Hosts},
        observe,
        origin::Origins,
        outgoing::{self, Edge},
    },
    telemetry::Metrics,
};

/// What the layers around all calls work with. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) origins: Arc<Origins>,
    /// Over how long a stop ends the connections.
    pub(crate) drain: Duration,
    /// Cancelled when this node begins to stop.
    pub(crate) leaving: CancellationToken,
}

impl Common {
    /// Of a node with these settings.
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>, leaving: CancellationToken) -> Self {
        Self {
            metrics,
            hosts: Arc::new(Hosts::new(config)),
            origins: Arc::new(Origins::new(config)),
            drain: config.drain(),
            leaving,
        }
    }

    /// Puts the layers around these routes, whose answers share these bytes; the last is the outermost.
    pub(crate) fn around<S: Clone + Send + Sync + 'static>(
        &self,
        routes: Router<S>,
        answers: Option<Budget>,
    ) -> Router<S> {
        let edge = Edge {
            common: self.clone(),
            answers,
        };
        let routes = routes
            .layer(CatchPanicLayer::custom(observe::panicked))
            .layer(middleware::from_fn_with_state(
                Arc::new(edge),
                outgoing::answered,
            ));
        let routes = match cors::layer(&self.origins) {
            Some(cors) => routes.layer(cors),
            None => routes,
        };
        routes
            .layer(middleware::from_fn_with_state(
                Arc::new(self.clone()),
                hosts::check,
            ))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self.metrics),
                observe::observe,
            ))
    }
}
