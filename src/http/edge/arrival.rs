//! The TCP connection that a request came over.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::http::Extensions;

use crate::carrier::TcpGauge;

/// The TCP connection that a request came over, as the accept loop notes it on every request.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The address of the other end.
    pub(crate) peer: SocketAddr,
    /// The address of this node at which it arrived, if it is known.
    pub(crate) local: Option<IpAddr>,
    pub(crate) gauge: Arc<TcpGauge>,
}

impl Arrival {
    /// Returns the gauge of the TCP connection of a request with these extensions.
    pub(crate) fn gauge_of(extensions: &Extensions) -> Option<Arc<TcpGauge>> {
        let arrival = extensions.get::<Self>()?;
        Some(Arc::clone(&arrival.gauge))
    }
}
