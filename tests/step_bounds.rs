//! A random search for matches that take more steps than their bound. `examples/slow_steps` runs the same search with a
//! clock.

// A test that finds things otherwise than it needs them has failed.
#![allow(clippy::unwrap_used)]

#[path = "../examples/slow_steps/search.rs"]
#[allow(dead_code, reason = "the example reports more of what was found")]
mod search;

use std::time::Duration;

use search::Search;

#[test]
fn no_match_takes_more_steps_than_its_bound() {
    let untimed = |matches: &mut dyn FnMut() -> bool| {
        matches();
        Duration::ZERO
    };
    for seed in 1..=4 {
        let mut search = Search::new(seed, &untimed);
        while search.tried < 50 {
            search.step();
        }
        let beyond = search.beyond.map(|pair| (pair.filter, pair.event));
        assert_eq!(beyond, None, "seed {seed}");
    }
}
