//! Observations: the router publishes what it has done to those who stand above it.
//!
//! The router does not know its observers. Each has a bounded queue of its own and gets everything; while a queue is
//! full, the router waits. (One queue for all of them would hand each observation to one observer only, or drop
//! some.)
//!
//! Observers rely on these orders:
//!
//! - Observations come in the order of the feed.
//! - The router puts an observation into every queue before it goes on: before it pushes a frame that shows the
//!   change (`updated`), announces the position as applied, or answers its next input. Only the connections of a
//!   right that has ended are told of their end before, since the observation carries the proof of their close.
//! - An observer handles a request after everything that was published before the request was sent
//!   ([`ObserverInbox`]).
//!
//! So whoever has learned from the router, in any way, that something is applied, and then asks an observer, finds it
//! applied there too. An acknowledgement that follows an `updated` frame meets a subscription that is known to be
//! durable. A node that vouches for its deletes up to a position knows all of them.

use std::{future::pending, sync::Arc, time::Instant};

use bson::DateTime;
use tokio::sync::mpsc;

use super::{incarnation::Incarnation, registry::Closed};
use crate::{
    access::{Holder, Right},
    position::Position,
    protocol::Ending,
    subscription::SubscriptionId,
};

/// Observations that may wait for one observer. Observers never wait for the database while they take them.
const OBSERVATIONS_AHEAD: usize = 4_096;

/// Something that the router has done.
#[derive(Clone, Debug)]
pub(crate) enum Observed {
    /// Everything was loaded: every delete and every revocation after this position is observed.
    Loaded(Position),
    /// A subscription or a key was deleted, or a revocation was made.
    Ended(EndedRight),
    /// The document of a revocation is gone from this position on, and with it what says whose it was.
    RevocationGone(Right, Holder, Position),
    /// A subscription is durable from this position on: it was made so, or became so.
    BecameDurable(Incarnation, Position),
    /// A durable subscription was deleted, or is no longer durable: from this position on.
    DurableEnded(SubscriptionId, Position),
    /// All subscriptions were replaced at this position, and these are the durable ones. No
    /// [`Observed::DurableEnded`] tells of those that are gone.
    DurableReplaced(Arc<[Incarnation]>, Position),
    /// The collection of acknowledged positions is gone.
    PositionsLost,
}

/// A right that has ended, and the connections that are to close with it.
#[derive(Clone, Debug)]
pub(crate) struct EndedRight {
    pub right: Right,
    /// The holder of the right; `None` if nothing tells that any more.
    pub holder: Option<Holder>,
    pub at: Position,
    /// The commit's wall time on the server; `None` if the change itself was not seen.
    pub wall_time: Option<DateTime>,
    /// Deleted or expired; forbidden by a revocation.
    pub ending: Ending,
    /// The time at which its connections were told to end, at the latest.
    pub decided: Instant,
    /// One for each of its connections; it resolves when the connection is closed.
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

/// The input of an observer: observations and requests, each request in its place among the observations.
#[derive(Debug)]
pub(crate) struct ObserverInbox<T> {
    observations: Observations,
    requests: mpsc::Receiver<T>,
    /// A request that was received, while observations from before it may still be in the queue.
    held: Option<T>,
}

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

    /// Returns the next input; `None` once nobody can send requests any more. Nothing is lost if the future is
    /// dropped.
    pub(crate) async fn next(&mut self) -> Option<ObserverInput<T>> {
        if self.held.is_none() {
            tokio::select! {
                observed = self.observations.next() => {
                    return Some(ObserverInput::Observed(observed));
                }
                request = self.requests.recv() => self.held = Some(request?),
            }
        }
        // Everything that was published before the request was sent is in the queue by now.
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

    /// Whoever asks after the router has published something finds it applied, whatever threads they run on.
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
