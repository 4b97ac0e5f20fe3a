//! The filter language against a real server: matches and refusals.
//!
//! Longer runs: `cargo run --release --example differential -- --seed N --pairs N`, and for row policies
//! `TEST_TIDEGATE_POLICY_PAIRS=N`.

mod arguments;
mod cases;
mod deliberate;
mod delivered;
mod filters;
mod harness;
mod patterns;
mod policies;
mod policy_inputs;
mod random;
mod raw;
mod regexes;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod values;

use harness::Harness;

async fn harness() -> Harness {
    let mongod = support::shared_mongod().await;
    Harness::connect(&mongod.uri(), &support::database_name()).await
}

#[tokio::test]
async fn random_filters_select_what_the_server_selects() {
    let tally = harness().await.run(20_260_701, 100_000).await;
    for difference in &tally.differences {
        eprintln!("{difference}");
    }
    assert!(tally.differences.is_empty());
    assert!(tally.pairs >= 100_000 && tally.selected > 10_000 && tally.refused > 100);
}
