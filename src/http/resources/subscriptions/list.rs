//! `GET /subscriptions`: pages in the order of ids, stable while others write.

mod invalid;
mod page;
mod stored;

use axum::{extract::State, http::Uri, response::Response};

use self::page::PageRequest;
use crate::{
    http::edge::{AppState, caller::By, problem::Problem},
    subscription::Status,
};

/// Lists subscriptions, a page at a time.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, Problem> {
    let request = PageRequest::read(&state, &caller, &uri)?;
    let page = match request.status {
        Some(Status::Invalid) => invalid::page(&state, &request).await?,
        _ => stored::page(&state, &request).await?,
    };
    page.finish()
}
