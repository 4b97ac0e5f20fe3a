//! The database answers with errors, to every command that the service sends.

use crate::{rig::faults::Fault, suite::ride_out};

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_hangups_of_the_database_cost_a_pause() {
    let faults = Fault::CODES.map(|code| [Fault::Errors(code)]);
    let passing = faults.iter().filter(|fault| !loses_history(fault[0]));
    let mut trials: Vec<_> = passing.map(|fault| (&fault[..], 700)).collect();
    trials.push((&[Fault::Hangups], 2_000));
    ride_out(&trials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_told_and_not_passed_over() {
    ride_out(&[
        (&[Fault::Errors(286)], 500),
        (&[Fault::Errors(280)], 500),
        (&[Fault::NodeKilled(0), Fault::Errors(286)], 500),
    ])
    .await;
}

fn loses_history(fault: Fault) -> bool {
    matches!(fault, Fault::Errors(280 | 286))
}
