//! Members of the database step down, die and stop. Clients notice a pause and nothing else.

use crate::{rig::faults::Fault, suite::ride_out};

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_world_keeps_its_promises() {
    ride_out(&[(&[], 5_000)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_and_lost_members_cost_a_pause() {
    ride_out(&[
        (&[Fault::StepDown], 0),
        (&[Fault::PrimaryKilled], 2_000),
        (&[Fault::SecondaryKilled], 1_000),
        (&[Fault::PrimaryPaused], 5_000),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_costs_a_pause() {
    ride_out(&[(&[Fault::MajorityLost], 8_000)]).await;
}
