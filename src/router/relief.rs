//! What happens when more waits on this node than may.
//!
//! Who has the most waiting is judged first, and by the same rule as a full outbox: a client whose
//! socket refuses bytes ends as slow. While nobody's does, this node is merely busy, and the router
//! waits, no longer than its patience.

use std::time::Duration;

use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::{deliver::Delivery, outbox::Room, registry::Registry, table::Slot};
use crate::{position::Position, protocol::Ending};

/// Relieved is a node only when an eighth of what may wait is free, so that not every event looks
/// for the largest anew.
const FREE_PART: u64 = 8;
/// How long a connection that ends may take to let go of what its socket refused.
const LET_GO: Duration = Duration::from_secs(1);
/// Between looks at connections that are on their way out and still hold something.
const PAUSE: Duration = Duration::from_millis(10);

impl Delivery {
    fn is_relieved(&self) -> bool {
        self.wording.load.bytes() <= self.most_bytes - self.most_bytes / FREE_PART
    }

    /// Brings down what waits on this node, if it is more than may.
    pub(super) async fn relieve(&mut self, registry: &mut Registry<Slot>, position: Position) {
        if self.wording.load.bytes() <= self.most_bytes {
            return;
        }
        self.hand_over();
        let deadline = Instant::now() + self.patience;
        while !self.is_relieved() {
            let asked = self.ask_largest(registry, position, deadline).await;
            if Instant::now() >= deadline {
                return;
            }
            if asked {
                yield_now().await;
            } else {
                // What waits is all for connections that have ended already.
                sleep(PAUSE).await;
            }
        }
    }

    /// Asks each connection that holds something for less, the largest first, until it is enough; says
    /// whether there was one.
    async fn ask_largest(
        &self,
        registry: &mut Registry<Slot>,
        position: Position,
        deadline: Instant,
    ) -> bool {
        let holders = registry.largest_first();
        for holder in &holders {
            if self.is_relieved() {
                break;
            }
            self.metrics.router_waits.inc();
            let ending = match holder.outbox.less_than(holder.bytes, deadline).await {
                Room::Free | Room::Closed => continue,
                Room::Refused => Ending::SlowConsumer,
                Room::Unserved => Ending::Overloaded,
            };
            registry.end(holder.key, ending, position);
            holder.outbox.emptied(Instant::now() + LET_GO).await;
        }
        !holders.is_empty()
    }
}
