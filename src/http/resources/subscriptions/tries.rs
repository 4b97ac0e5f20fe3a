//! Writing a document that others write, too: read, judge, write if it is still what was read.
//!
//! The first read is of what a majority has. Where another write came between, that is too old: who writes
//! faster than the majority follows would always be ahead of it. The next ones read what the primary has.
//! A write that rests on such a read is acknowledged by a majority only together with what was read;
//! a refusal that rests on it waits until a majority has it.

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
/// Attempts that come without a pause.
const AT_ONCE: u32 = 3;

/// The attempts at one write.
pub(super) struct Tries<'s> {
    state: &'s AppState,
    id: &'s str,
    begun: Instant,
    made: u32,
}

impl<'s> Tries<'s> {
    pub(super) fn new(state: &'s AppState, id: &'s str) -> Self {
        Self {
            state,
            id,
            begun: Instant::now(),
            made: 0,
        }
    }

    /// Reads for the next attempt. A problem once the time for all of them is over.
    pub(super) async fn read(&mut self) -> Result<Read, Problem> {
        if self.begun.elapsed() >= self.state.limits().database_timeout {
            return Err(contended());
        }
        self.made += 1;
        let store = &self.state.store;
        if self.made == 1 {
            return Ok(store.find_subscription(self.id).await?);
        }
        if self.made > AT_ONCE {
            // Many writers of one document get out of each other's way.
            tokio::time::sleep(PAUSE.mul_f32(rand::random())).await;
        }
        Ok(store.find_subscription_newest(self.id).await?)
    }

    /// The answer to a request that what was read forbids.
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

fn contended() -> Problem {
    Problem::new(
        Kind::Contended,
        "others changed the subscription each time while this was tried",
    )
}
