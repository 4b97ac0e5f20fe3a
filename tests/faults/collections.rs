//! Collections are dropped and renamed, and the database with them, while sockets are open.

use crate::{rig::faults::Fault, suite::ride_out};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_ends_and_what_is_made_anew_lives() {
    ride_out(&[
        (&[Fault::SubscriptionsDropped], 500),
        (&[Fault::SubscriptionsRenamed], 500),
        (&[Fault::EventsDropped], 500),
        (&[Fault::DatabaseDropped], 1_000),
    ])
    .await;
}
