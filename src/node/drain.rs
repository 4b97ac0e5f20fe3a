//! Draining, the first part of a stop: connections end evenly over a time, so that their clients do not all
//! come back to other nodes at once. Meanwhile everything else goes on.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::router::RouterHandle;

/// Time between two steps, each of which ends at least one connection: a few do not have to wait.
const TICK: Duration = Duration::from_millis(50);

/// Ends every connection over `window`; returns early when there is none left.
pub(super) async fn drain(router: &RouterHandle, window: Duration) {
    let begun = Instant::now();
    let all = router.stop(0).await;
    tracing::info!(connections = all, ?window, "draining");
    let ticks = ticks(window);
    let mut left = all;
    for tick in 1..=ticks {
        if left == 0 {
            return;
        }
        let ended = all.saturating_sub(left);
        left = router
            .stop(due(all, tick, ticks).saturating_sub(ended))
            .await;
        sleep_until(begun + TICK * tick).await;
    }
}

fn ticks(window: Duration) -> u32 {
    let ticks = window.as_millis().div_ceil(TICK.as_millis());
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// Returns the number of connections, of `all`, that must have ended by a tick.
fn due(all: usize, tick: u32, ticks: u32) -> usize {
    let even = (all as u64 * u64::from(tick)).div_ceil(u64::from(ticks));
    usize::try_from(even.max(u64::from(tick))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_evenly_and_all_of_them() {
        let ticks = ticks(Duration::from_secs(5));
        for all in [0, 1, 99, 100, 20_000] {
            let mut ended = 0;
            for tick in 1..=ticks {
                let due = due(all, tick, ticks).min(all);
                assert!(due - ended <= all / ticks as usize + 1, "{all} {tick}");
                ended = due;
            }
            assert_eq!(ended, all);
        }
        assert_eq!(due(3, 1, ticks), 1, "the first at once");
        assert_eq!(due(3, 3, ticks), 3, "few do not wait");
    }
}
