//! What a random search for dear matches finds out about steps, whatever the machine's speed; the search for those that
//! take long is `examples/dearest`.

// A test that finds things otherwise than it needs them has failed.
#![allow(clippy::unwrap_used)]

#[path = "../examples/dearest/search.rs"]
#[allow(dead_code, reason = "the example tells more of what was found")]
mod search;

use std::time::Duration;

use search::Search;

#[test]
fn no_match_that_a_search_finds_takes_more_steps_than_was_known_before() {
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
