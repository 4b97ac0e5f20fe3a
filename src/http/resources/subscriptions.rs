//! Subscriptions over REST.

mod batch;
mod create;
mod delete;
mod get;
mod input;
mod list;
mod patch;
mod progress;
mod put;
mod tries;
mod write;

use axum::routing::{self, MethodRouter};

use crate::http::edge::{
    AppState,
    problem::{Kind, Problem},
};

pub(crate) use self::write::{judged, judged_one};
pub(crate) use self::{
    batch::batch, create::create, delete::delete, get::get, list::list, patch::patch, put::put,
};

/// The calls on one subscription.
pub(crate) fn one() -> MethodRouter<AppState> {
    routing::get(get).put(put).patch(patch).delete(delete)
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("there is no subscription {id:?}"),
    )
}
