//! Nodes die and stop. Their clients resume.

use crate::{
    rig::faults::{Fault, Trouble},
    suite::{ride_out, ride_out_open},
};

const TOGETHER: [(&[Fault], u64); 3] = [
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
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_lose_their_sockets_and_paused_ones_go_on_where_they_were() {
    ride_out(&[
        (&[Fault::NodeKilled(0)], 1_000),
        (&[Fault::NodeKilled(1)], 0),
        (&[Fault::NodePaused(0)], 5_000),
    ])
    .await;
}

/// The processes end with an error by themselves: no client keeps a socket on which nothing can come.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_tasks_panic_end_and_their_clients_go_on_elsewhere() {
    ride_out(&[
        (&[Fault::TaskPanics(0, "feed")], 1_000),
        (&[Fault::TaskPanics(1, "router")], 1_000),
        (&[Fault::TaskPanics(0, "positions")], 0),
        (&[Fault::TaskPanics(1, "replays"), Fault::StepDown], 1_000),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_their_answers_are_cut_and_nobody_else_notices() {
    ride_out(&[
        (&[Fault::AnswersUnread(0)], 3_000),
        (&[Fault::AnswersUnread(1), Fault::NodeKilled(0)], 1_000),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_come_together_are_ridden_out_together() {
    ride_out(&TOGETHER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_they_are_ridden_out_too() {
    ride_out_open(&TOGETHER).await;
}
