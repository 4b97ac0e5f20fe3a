//! Load shedding: what waits for sessions is brought down when it exceeds the node's budget.
//!
//! The sessions with the most waiting are asked first, and judged by the rule of a full outbox
//! ([`backpressure`](super::outbox::backpressure)): slow, or not served within the router's patience. A tenant for whose
//! sessions more than half of the budget waits comes before all others, so that many small ones do not push out others.

use std::time::Duration;

use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::{deliver::Delivery, registry::Registry, table::Slot};
use crate::position::Position;

/// Hysteresis: load is shed until this part of the budget is free. Otherwise every event would sort all sessions
/// anew.
const HEADROOM_PART: u64 = 8;
/// The part of the budget that is the most for one tenant while others are asked.
const TENANT_PART: u64 = 2;
/// The time that an ending session may take to release what its socket refused; and the time that all of them
/// together may take beyond the router's patience.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two looks at sessions that are ending and still hold something.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

impl Delivery {
    fn has_headroom(&self) -> bool {
        self.encoder.budget.bytes() <= self.most_bytes - self.most_bytes / HEADROOM_PART
    }

    /// Sheds load if more waits on this node than may.
    pub(super) async fn shed_load(&mut self, registry: &mut Registry<Slot>, position: Position) {
        if self.encoder.budget.bytes() <= self.most_bytes {
            return;
        }
        self.hand_over();
        let served_by = Instant::now() + self.patience;
        while !self.has_headroom() {
            let asked = self.shed_largest(registry, position, served_by).await;
            if Instant::now() >= served_by {
                return;
            }
            if asked {
                yield_now().await;
            } else {
                // Everything that waits is for sessions that have ended already.
                sleep(RETRY_INTERVAL).await;
            }
        }
    }

    /// Asks each session that holds something for less, the largest first, until there is headroom or the time for
    /// all of them is over; false if there was none to ask.
    async fn shed_largest(
        &self,
        registry: &mut Registry<Slot>,
        position: Position,
        served_by: Instant,
    ) -> bool {
        let let_go_by = served_by + RELEASE_TIMEOUT;
        let holders = registry.largest_first(self.most_bytes / TENANT_PART);
        for holder in &holders {
            if self.has_headroom() || Instant::now() >= let_go_by {
                break;
            }
            self.metrics.delivery.router_waits.inc();
            let less = holder.outbox.less_than(holder.bytes, served_by).await;
            let Some(ending) = less.ending() else {
                continue;
            };
            registry.end_session(holder.key, ending, position);
            // A session that releases late, or never, must not hold up the events of all others.
            let by = let_go_by.min(Instant::now() + RELEASE_TIMEOUT);
            holder.outbox.emptied(by).await;
        }
        !holders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, task::Poll};

    use super::*;
    use crate::{
        access::Caller,
        config,
        position::DeploymentId,
        protocol::{ChannelId, Ending, Frame},
        router::{
            Settings,
            outbox::{Pushed, Receiver, outbox},
            registry::{NewChannel, NewSession, SessionKey},
        },
        telemetry::Metrics,
    };

    const CONNECTIONS: usize = 100;
    const FRAME_BYTES: usize = 1_000;

    fn delivery() -> Delivery {
        let settings = Settings {
            deployment: DeploymentId([0; 6]),
            database: String::new(),
            narrows: true,
            quotas: config::Quotas::default(),
            limits: config::Limits {
                waiting_bytes: FRAME_BYTES,
                ..config::Limits::default()
            },
            socket: config::Socket::default(),
            feed: config::Feed::default(),
        };
        Delivery::new(&settings, Arc::new(Metrics::default()))
    }

    /// Holds what it took, like a session whose socket refuses everything.
    async fn keep(receiver: Receiver) {
        let mut kept = Vec::new();
        poll_fn(|cx| receiver.poll_take(cx, usize::MAX, |_| false, &mut kept)).await;
        receiver.holds(FRAME_BYTES);
        loop {
            poll_fn(|cx| receiver.poll_asked(cx)).await;
            receiver.refused();
            // It goes on until the end comes, and ignores that.
            if poll_fn(|cx| Poll::Ready(receiver.poll_end(cx)))
                .await
                .is_ready()
            {
                std::future::pending::<()>().await;
            }
            yield_now().await;
        }
    }

    /// Opens a session of a tenant, for which so many frames wait.
    fn open(
        registry: &mut Registry<Slot>,
        delivery: &Delivery,
        tenant: &str,
        frames: usize,
    ) -> (SessionKey, Receiver) {
        let (sender, receiver) = outbox(crate::router::outbox_bounds(&config::Socket::default()));
        for _ in 0..frames {
            let frame = Frame::new(vec![0; FRAME_BYTES].into(), Position::START, None);
            let frame = Arc::new(frame.counted(&delivery.encoder.budget));
            let pushed = sender.push(ChannelId::FIRST, &frame);
            assert!(matches!(pushed, Pushed::Queued(_)));
        }
        let caller = Caller {
            tenant: Some(tenant.into()),
            ..Caller::anybody()
        };
        let session = registry.open_session(NewSession {
            caller: Arc::new(caller),
            ..NewSession::on(sender)
        });
        registry.open_channel(session, 0, NewChannel::live());
        (session, receiver)
    }

    #[tokio::test]
    async fn a_tenant_with_more_than_its_share_comes_first_however_small_its_sessions_are() {
        let (delivery, mut registry) = (delivery(), Registry::default());
        let (large, _kept) = open(&mut registry, &delivery, "other", 5);
        let small: Vec<_> = (0..9)
            .map(|_| open(&mut registry, &delivery, "acme", 1))
            .collect();
        let first = |registry: &Registry<Slot>, share: usize| {
            let holders = registry.largest_first(share as u64);
            assert_eq!(holders.len(), small.len() + 1);
            holders[0].key
        };
        assert_eq!(first(&registry, 20 * FRAME_BYTES), large);
        let share = 8 * FRAME_BYTES;
        assert_ne!(first(&registry, share), large);
        let last = registry.largest_first(share as u64).pop().unwrap();
        assert_eq!(last.key, large);
        // Where both have too much, the size decides.
        assert_eq!(first(&registry, FRAME_BYTES), large);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_let_nothing_go_hold_the_router_up_no_longer_than_its_patience() {
        let mut delivery = delivery();
        let mut registry = Registry::default();
        let mut keeping = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (sender, receiver) =
                outbox(crate::router::outbox_bounds(&config::Socket::default()));
            let frame = Frame::new(vec![0; FRAME_BYTES].into(), Position::START, None);
            let frame = Arc::new(frame.counted(&delivery.encoder.budget));
            assert!(matches!(
                sender.push(ChannelId::FIRST, &frame),
                Pushed::Queued(_)
            ));
            let session = registry.open_session(NewSession::on(sender));
            registry.open_channel(session, 0, NewChannel::live());
            keeping.spawn(keep(receiver));
        }
        yield_now().await;
        let begun = Instant::now();
        delivery.shed_load(&mut registry, Position::START).await;
        assert!(begun.elapsed() <= delivery.patience + RELEASE_TIMEOUT);
        let slow = registry.counters().closed(Ending::SlowConsumer);
        assert!((1..CONNECTIONS as u64).contains(&slow), "{slow}");
    }
}
