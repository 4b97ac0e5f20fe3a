//! Attempts at a write of a document that others write, too: read, judge, and write if it is unchanged.
//!
//! The first attempt reads what a majority has. If another write came in between, that is too old: whoever writes faster
//! than the majority follows would always be ahead. So later attempts read what the primary has. A write that rests on
//! such a read is acknowledged by a majority only together with what was read. A refusal that rests on it waits until a
//! majority has it.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    http::edge::{
        AppState,
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
    begun: Instant,
    made: u32,
}

impl<'s> Attempts<'s> {
    pub(super) fn new(state: &'s AppState, id: &'s str) -> Self {
        Self {
            state,
            id,
            begun: Instant::now(),
            made: 0,
        }
    }

    /// Reads the document for the next attempt. Refuses the request once the time for all attempts is over.
    pub(super) async fn read(&mut self) -> Result<Read, Problem> {
        if self.begun.elapsed() >= self.state.limits().database_timeout {
            return Err(Problem::new(
                Kind::Contended,
                "other requests changed the subscription at every attempt",
            ));
        }
        self.made += 1;
        let store = &self.state.store;
        if self.made == 1 {
            return Ok(store.find_subscription(self.id).await?);
        }
        if self.made > ATTEMPTS_AT_ONCE {
            // Random pauses keep many writers of one document apart.
            tokio::time::sleep(PAUSE.mul_f32(rand::random())).await;
        }
        Ok(store.find_subscription_newest(self.id).await?)
    }

    /// Returns the refusal of a request because of what was read, once a majority has it.
    pub(super) async fn refuse(&self, read: &Read, problem: Problem) -> Problem {
        if self.made == 1 {
            return problem;
        }
        let store = &self.state.store;
        match store
            .find_subscription_after(self.id, read.operation_time)
            .await
        {
            Ok(_) => problem,
            Err(error) => error.into(),
        }
    }
}
