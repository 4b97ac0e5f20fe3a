//! Subscriptions over REST.

mod batch;
mod create;
mod delete;
mod input;
mod list;
mod patch;
mod progress;
mod put;
mod read;
mod write;

use std::time::Duration;

use axum::routing::{self, MethodRouter};

use super::{
    AppState,
    problem::{Kind, Problem},
};

pub(in crate::http) use self::write::{judged, judged_one};
pub(crate) use self::{
    batch::batch, create::create, delete::delete, list::list, patch::patch, put::put, read::get,
};

/// The calls on one subscription.
pub(crate) fn one() -> MethodRouter<AppState> {
    routing::get(get).put(put).patch(patch).delete(delete)
}

/// How often a write is tried against others that change the same document.
const ATTEMPTS: u32 = 40;
/// The longest pause before another attempt.
const PAUSE: Duration = Duration::from_millis(40);

/// After the first few attempts, each waits for a random moment, so that many writers of one document
/// get out of each other's way.
async fn pause_before(attempt: u32) {
    if attempt > 2 {
        tokio::time::sleep(PAUSE.mul_f32(rand::random())).await;
    }
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("there is no subscription {id:?}"),
    )
}

fn contended() -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("others changed the subscription {ATTEMPTS} times while this was tried"),
    )
}
