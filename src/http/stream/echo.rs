//! The upgrade to a WebSocket, with an echo behind it.

use axum::{Router, body::Body, http::Request, response::Response, routing::get};

use super::websocket::{handshake, upgrade};
use crate::{carrier::echo, http::edge::problem::Problem};

/// Returns routes with an echo on every path.
pub(crate) fn routes() -> Router {
    Router::new().fallback(get(open))
}

async fn open(mut request: Request<Body>) -> Result<Response, Problem> {
    let response = handshake(&request)?;
    let upgraded = upgrade(&mut request);
    tokio::spawn(async move {
        if let Some(carrier) = upgraded.await {
            echo::serve(carrier).await;
        }
    });
    Ok(response)
}
