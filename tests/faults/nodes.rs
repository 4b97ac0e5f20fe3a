//! Nodes die and stop; their clients go on where they were.

use crate::{
    rig::faults::{Fault, Trouble},
    suite::ride_out,
};

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_lose_their_sockets_and_paused_ones_go_on_where_they_were() {
    ride_out(&[
        (&[Fault::NodeKilled(0)], 1_000),
        (&[Fault::NodeKilled(1)], 0),
        (&[Fault::NodePaused(0)], 5_000),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_come_together_are_ridden_out_together() {
    ride_out(&[
        (&[Fault::PrimaryKilled, Fault::NodePaused(1)], 4_000),
        (
            &[
                Fault::StepDown,
                Fault::BeforeNode(0, Trouble::Reset),
                Fault::BehindNode(1, Trouble::BlackHole),
            ],
            3_000,
        ),
        (&[Fault::NodeKilled(1), Fault::Errors(11_600)], 2_000),
    ])
    .await;
}
