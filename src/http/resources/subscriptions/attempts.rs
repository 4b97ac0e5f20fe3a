//! Attempts at a write of a document that others write, too: read, judge, and write if it is unchanged.
//!
//! The first attempt reads what a majority has. If another write came in between, that is too old: whoever writes faster
//! than the majority follows would always be ahead. So later attempts read what the primary has. A write that rests on
//! such a read is acknowledged by a majority only together with what was read. A refusal that rests on it waits until a
//! majority has it.

use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::time::Instant;

use crate::{
    access::{Caller, Scope, Sight},
    http::edge::{
        AppState,
        needs::insufficient,
        problem::{Kind, Problem},
    },
    store::Read,
};

/// The longest pause before another attempt.
const PAUSE: Duration = Duration::from_millis(40);
/// The number of attempts that come without a pause.
const ATTEMPTS_AT_ONCE: u32 = 3;

/// The attempts at one write.
pub(super) struct Attempts<'s> {
    state: &'s AppState,
    id: &'s str,
    sight: Sight,
    reach: Sight,
    begun: Instant,
    made: u32,
}

impl<'s> Attempts<'s> {
    pub(super) fn new(state: &'s AppState, id: &'s str, caller: &Caller) -> Self {
        Self {
            state,
            id,
            sight: caller.sight(),
            reach: caller.reach(),
            begun: Instant::now(),
            made: 0,
        }
    }

    /// Returns the part of the subscriptions that the caller may change.
    pub(super) fn reach(&self) -> &Sight {
        &self.reach
    }

    /// Reads the document for the next attempt, and refuses the request if there is none in sight.
    pub(super) async fn find(&mut self) -> Result<(Read, RawDocumentBuf), Problem> {
        let mut read = self.read().await?;
        match read.document.take() {
            Some(document) => Ok((read, document)),
            None => Err(self.refuse(&read, Problem::no_subscription(self.id)).await),
        }
    }

    /// Reads the document for the next attempt, if there is one in sight. Refuses the request if the caller may only see
    /// it, and once the time for all attempts is over.
    pub(super) async fn read(&mut self) -> Result<Read, Problem> {
        let read = self.read_visible().await?;
        let within_reach = |document| self.reach.sees(self.id, document);
        if read.document.as_deref().is_none_or(within_reach) {
            return Ok(read);
        }
        let problem = insufficient(&[Scope::SubscriptionsWrite]);
        Err(self.refuse(&read, problem).await)
    }

    async fn read_visible(&mut self) -> Result<Read, Problem> {
        if self.begun.elapsed() >= self.state.limits().database_timeout {
            return Err(Problem::new(
                Kind::Contended,
                "other requests changed the subscription at every attempt",
            ));
        }
        self.made += 1;
        let store = &self.state.store;
        if self.made == 1 {
            return Ok(store.find_subscription(self.id, &self.sight).await?);
        }
        if self.made > ATTEMPTS_AT_ONCE {
            // Random pauses keep many writers of one document apart.
            tokio::time::sleep(PAUSE.mul_f32(rand::random())).await;
        }
        let newest = store.find_subscription_newest(self.id, &self.sight);
        Ok(newest.await?)
    }

    /// Returns the refusal of a request because of what was read, once a majority has it.
    pub(super) async fn refuse(&self, read: &Read, problem: Problem) -> Problem {
        if self.made == 1 {
            return problem;
        }
        let store = &self.state.store;
        match store
            .find_subscription_after(self.id, read.operation_time, &self.sight)
            .await
        {
            Ok(_) => problem,
            Err(error) => error.into(),
        }
    }
}
