//! Collections are dropped and renamed, and the database with them, while sockets are open.

use crate::{rig::faults::Fault, suite::ride_out};

#[tokio::test(flavor = "multi_thread")]
async fn dropped_subscriptions_end_and_new_ones_live() {
    ride_out(&[
        (&[Fault::SubscriptionsDropped], 500),
        (&[Fault::SubscriptionsRenamed], 500),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_events_disturb_nobody() {
    ride_out(&[(&[Fault::EventsDropped], 1_000)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_is_made_anew() {
    ride_out(&[(&[Fault::DatabaseDropped], 1_000)]).await;
}
