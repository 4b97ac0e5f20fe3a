//! Members of the database step down, die and stop. Clients notice a pause and nothing else.

use crate::{rig::faults::Fault, suite::ride_out};

#[tokio::test(flavor = "multi_thread")]
async fn elections_and_lost_members_cost_a_pause() {
    ride_out(&[
        (&[], 1_000),
        (&[Fault::StepDown], 0),
        (&[Fault::PrimaryKilled], 2_000),
        (&[Fault::SecondaryKilled], 1_000),
        (&[Fault::PrimaryPaused], 4_000),
        (&[Fault::MajorityLost], 6_000),
    ])
    .await;
}
