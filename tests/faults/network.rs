//! The ways between clients, nodes and database fail in every manner that a network knows.

use crate::{
    rig::faults::{Fault, Trouble},
    suite::ride_out,
};

/// The time that each fault lasts, unless it is over at once.
const HOLD_MS: u64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_way_to_the_database_costs_a_pause() {
    let faults = Trouble::ALL.map(|trouble| [Fault::BehindNode(0, trouble)]);
    let trials: Vec<_> = faults.iter().map(|fault| (&fault[..], HOLD_MS)).collect();
    ride_out(&trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_way_to_the_clients_concerns_them_alone() {
    let faults = Trouble::ALL.map(|trouble| [Fault::BeforeNode(1, trouble)]);
    let trials: Vec<_> = faults.iter().map(|fault| (&fault[..], HOLD_MS)).collect();
    ride_out(&trials).await;
}
