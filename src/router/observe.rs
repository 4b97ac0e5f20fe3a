//! Observations: what the router has done, published to those who stand above it.
//!
//! The router knows none of its observers. Each gets a bounded queue of its own, of which it takes everything; while one
//! is full, the router waits. A queue that all observers share could hand each observation to one of them only, or would
//! have to drop some.
//!
//! These orders hold, and the observers rely on them:
//!
//! - Observations come in the order of the feed.
//! - What is published is in every queue before the router goes on: before it pushes the frame that shows the change
//!   (`updated`), announces the position as applied, or answers whoever asks next. Only the ends of a deleted
//!   subscription's connections are told first, since the observation carries what tells of their close.
//! - An observer takes whatever was published before a request came, and then the request ([`ObserverInbox`]). So
//!   whoever has heard from the router, in any way, that something is applied, and then asks an observer, finds it
//!   applied there too: a position that is acknowledged behind `updated` belongs to a subscription that is known to be
//!   durable, and a node that vouches for its deletes up to a position knows all of them.

use std::{future::pending, sync::Arc, time::Instant};

use bson::DateTime;
use tokio::sync::mpsc;

use super::registry::Closed;
use crate::{position::Position, protocol::Ending, subscription::SubscriptionId};

/// Observations that may wait for one observer. None of them waits for the database while it takes them.
const OBSERVATIONS_AHEAD: usize = 4_096;

/// Something that the router has done.
#[derive(Clone, Debug)]
pub(crate) enum Observed {
    /// All subscriptions were loaded: every delete after this position is observed.
    Loaded(Position),
    /// A subscription was deleted.
    Deleted(DeletedSubscription),
    /// A subscription was made durable, or was made so: from this position on.
    BecameDurable(Incarnation, Position),
    /// A durable subscription was deleted, or is no longer durable: from this position on.
    DurableEnded(SubscriptionId, Position),
    /// All subscriptions were replaced at this position: these are the durable ones. Of none that went with it a
    /// [`Observed::DurableEnded`] tells.
    DurableReplaced(Arc<[Incarnation]>, Position),
    /// The collection of acknowledged positions is gone.
    PositionsLost,
}

/// One of the subscriptions that may follow each other under one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Incarnation {
    pub id: SubscriptionId,
    /// The position at which it was made, as this node's router saw it.
    pub since: Position,
}

/// A delete, and the connections that it ended.
#[derive(Clone, Debug)]
pub(crate) struct DeletedSubscription {
    pub id: SubscriptionId,
    pub at: Position,
    /// The commit's wall time on the server; `None` if the delete itself was not seen.
    pub wall_time: Option<DateTime>,
    /// Deleted or expired.
    pub ending: Ending,
    /// The time at which its connections were told to end.
    pub decided: Instant,
    /// Resolves for each of its connections when that is closed.
    pub closed: Arc<[Closed]>,
}

/// The queues to all observers.
#[derive(Default, Debug)]
pub(super) struct Observers(Vec<mpsc::Sender<Observed>>);

impl Observers {
    pub(super) fn add(&mut self) -> Observations {
        let (sender, receiver) = mpsc::channel(OBSERVATIONS_AHEAD);
        self.0.push(sender);
        Observations(receiver)
    }

    /// Puts an observation into every queue; waits while one is full.
    pub(super) async fn publish(&self, observed: Observed) {
        for observer in &self.0 {
            if observer.send(observed.clone()).await.is_err() {
                tracing::debug!("an observer of the router has ended");
            }
        }
    }
}

/// The queue of one observer.
#[derive(Debug)]
pub(crate) struct Observations(mpsc::Receiver<Observed>);

impl Observations {
    /// Returns the next observation. Never returns once the router has ended and none is left.
    async fn next(&mut self) -> Observed {
        match self.0.recv().await {
            Some(observed) => observed,
            None => pending().await,
        }
    }
}

/// The input of an observer: observations, and requests of others in their place among them.
#[derive(Debug)]
pub(crate) struct ObserverInbox<T> {
    observations: Observations,
    requests: mpsc::Receiver<T>,
    /// A request that was taken, while observations from before it may be left.
    held: Option<T>,
}

/// One input of an observer.
#[derive(Debug)]
pub(crate) enum ObserverInput<T> {
    Observed(Observed),
    Request(T),
}

impl<T> ObserverInbox<T> {
    pub(crate) fn new(observations: Observations, requests: mpsc::Receiver<T>) -> Self {
        Self {
            observations,
            requests,
            held: None,
        }
    }

    /// Returns the next input; `None` once nobody can send requests any more. Loses nothing if dropped before it is
    /// done.
    pub(crate) async fn next(&mut self) -> Option<ObserverInput<T>> {
        if self.held.is_none() {
            tokio::select! {
                observed = self.observations.next() => {
                    return Some(ObserverInput::Observed(observed));
                }
                request = self.requests.recv() => self.held = Some(request?),
            }
        }
        // Whatever was published before the request was sent is in the queue by now.
        match self.observations.0.try_recv() {
            Ok(observed) => Some(ObserverInput::Observed(observed)),
            Err(_) => self.held.take().map(ObserverInput::Request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::Timestamp;

    fn at(increment: u32) -> Position {
        Position::at(Timestamp { time: 1, increment })
    }

    #[tokio::test]
    async fn every_observer_gets_everything_in_order() {
        let mut observers = Observers::default();
        let mut queues = [observers.add(), observers.add()];
        for n in 0..3 {
            observers.publish(Observed::Loaded(at(n))).await;
        }
        for queue in &mut queues {
            for n in 0..3 {
                let observed = queue.next().await;
                assert!(matches!(observed, Observed::Loaded(position) if position == at(n)));
            }
        }
    }

    #[tokio::test]
    async fn a_full_queue_holds_the_router_up() {
        let mut observers = Observers::default();
        let mut slow = observers.add();
        for n in 0..OBSERVATIONS_AHEAD {
            let n = u32::try_from(n).unwrap();
            observers.publish(Observed::Loaded(at(n))).await;
        }
        let one_more = observers.publish(Observed::PositionsLost);
        tokio::pin!(one_more);
        assert!(futures_util::poll!(&mut one_more).is_pending());
        slow.next().await;
        one_more.await;
    }

    /// Whoever asks after the router has published finds that applied, on whatever thread each of them runs.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_was_published_before_a_request_was_sent_comes_before_it() {
        const ROUNDS: u32 = 20_000;
        let mut observers = Observers::default();
        let observations = observers.add();
        let (requests, received) = mpsc::channel(4);
        let mut inbox = ObserverInbox::new(observations, received);
        let (announce, mut announced) = tokio::sync::watch::channel(0);
        let router = tokio::spawn(async move {
            for n in 1..=ROUNDS {
                observers.publish(Observed::Loaded(at(n))).await;
                announce.send_replace(n);
            }
            announce.closed().await;
        });
        let asking = tokio::spawn(async move {
            let mut applied = 0;
            while applied < ROUNDS {
                announced.changed().await.unwrap();
                applied = *announced.borrow_and_update();
                requests.send(applied).await.unwrap();
            }
        });
        let mut seen = at(0);
        while let Some(input) = inbox.next().await {
            match input {
                ObserverInput::Observed(Observed::Loaded(position)) => seen = position,
                ObserverInput::Observed(_) => unreachable!("nothing else is published"),
                ObserverInput::Request(applied) => assert!(seen >= at(applied)),
            }
        }
        assert_eq!(seen, at(ROUNDS));
        asking.await.unwrap();
        router.await.unwrap();
    }
}
