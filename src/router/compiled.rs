//! A subscription together with its compiled filter.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bson::{RawDocumentBuf, Timestamp};
use tokio::task::spawn_blocking;

use super::{Room, table::FAILED};
use crate::{
    config,
    filter::{Filter, Limits},
    position::Position,
    positions::Owner,
    subscription::{Status, Subscription, SubscriptionId},
};

/// Why a subscription is not in force on a node that is full.
const NO_ROOM: &str = "#: this node holds as many subscriptions as limits.subscriptions and \
     limits.subscriptions_bytes allow; where there is room again, this one is taken up when it is written \
     or the node starts";

/// A stored document, read and compiled: what every node computes for itself.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The subscription as stored.
    pub subscription: Subscription,
    /// Where it was made, if the router saw that: nothing before it is delivered.
    pub since: Position,
    /// Whether this node has no room for it, and knows no more than its id.
    pub(super) withheld: bool,
    /// Only until an index has it, so a subscription need not have the room for it in place.
    filter: Option<Box<Filter>>,
}

impl Compiled {
    /// Reads a stored document and compiles its filter. Never fails: what is wrong makes it invalid.
    pub(crate) fn read(document: RawDocumentBuf, limits: &Limits) -> Self {
        let (mut compiled, filter) = Self::read_apart(document, limits);
        compiled.filter = filter.map(Box::new);
        compiled
    }

    /// The same, with the filter beside it.
    pub(crate) fn read_apart(document: RawDocumentBuf, limits: &Limits) -> (Self, Option<Filter>) {
        let (subscription, filter) = Subscription::read(document, |filter| {
            blamed(|| {
                Filter::parse_with(filter, limits)
                    .map_err(|error| format!("#/filter{}: {}", error.pointer, error.reason))
            })
        });
        let compiled = Self {
            subscription,
            since: Position::START,
            withheld: false,
            filter: None,
        };
        (compiled, filter)
    }

    /// Reads documents, in order, on a thread for work that takes long: filters are users', and this may be
    /// called where sockets are served.
    pub(crate) async fn read_aside(documents: Vec<RawDocumentBuf>, limits: Limits) -> Vec<Self> {
        let reading = spawn_blocking(move || {
            let documents = documents.into_iter();
            documents
                .map(|document| Self::read(document, &limits))
                .collect()
        });
        match reading.await {
            Ok(read) => read,
            // A fault that is not of one filter.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    /// Makes it invalid: its filter cannot be used.
    pub(crate) fn blame(&mut self, fault: Box<str>) {
        self.subscription.fault = Some(fault);
        self.filter = None;
    }

    /// What is left of it where there is no room: nothing of it is matched.
    pub(super) fn withheld(self) -> Self {
        let subscription = self.subscription.withheld(NO_ROOM);
        Self {
            subscription,
            since: self.since,
            withheld: true,
            filter: None,
        }
    }

    /// Why it is invalid, if it is.
    pub(crate) fn error(&self) -> Option<&str> {
        self.subscription.fault.as_deref()
    }

    /// Where it was made, or a point before that: what the router saw, else what `createdAt` says. A date
    /// later than the load at `loaded_at` that found it is wrong, and says nothing.
    pub(super) fn made_at(&self, loaded_at: Position) -> Position {
        /// REST writes estimate the server's clock, and are ahead by one round trip at most.
        const SLACK_SECONDS: i64 = 1;
        if self.since > Position::START {
            return self.since;
        }
        let created = self.subscription.document.get_datetime("createdAt").ok();
        let seconds = created.map(|date| date.timestamp_millis().div_euclid(1_000) - SLACK_SECONDS);
        let time = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        let position = time.map(|time| Position::at(Timestamp { time, increment: 0 }));
        position
            .filter(|position| *position <= loaded_at)
            .unwrap_or(Position::START)
    }

    /// Whose position it is, if it has an id.
    pub(super) fn owner(&self) -> Option<Owner> {
        let id = self.subscription.id()?;
        Some(Owner {
            id: SubscriptionId::from(&*id),
            since: self.since,
        })
    }

    /// What the subscription is doing.
    pub(crate) fn status(&self) -> Status {
        self.subscription.status()
    }

    /// The subscription as JSON.
    pub(crate) fn to_json(&self) -> String {
        self.subscription.to_json()
    }

    /// The compiled filter; `None` where the subscription is invalid.
    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_deref()
    }

    /// Takes the filter out, to be put into an index; `None` if it is not to match anything.
    pub(crate) fn take_active_filter(&mut self) -> Option<Filter> {
        let filter = self.filter.take()?;
        (!self.subscription.paused).then_some(*filter)
    }
}

/// Compiles a filter. A panic is a fault of ours, and concerns this one alone.
fn blamed<T>(compile: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| {
        tracing::error!("the compiling of a subscription's filter panicked");
        Err(FAILED.to_owned())
    })
}

/// The configured bounds of all subscriptions.
pub(crate) fn room(limits: &config::Limits) -> Room {
    Room {
        subscriptions: limits.subscriptions,
        bytes: limits.subscriptions_bytes,
    }
}

/// The configured bounds of a filter.
pub(crate) fn filter_limits(limits: &config::Limits) -> Limits {
    Limits {
        filter_bytes: limits.filter_bytes,
        clauses: limits.filter_clauses,
        list_values: limits.filter_values,
        depth: limits.filter_depth,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_a_filter_is_compiled_is_an_error_of_that_filter() {
        assert_eq!(blamed(|| Ok(5)), Ok(5));
        assert_eq!(
            blamed(|| Err::<(), _>("no".to_owned())),
            Err("no".to_owned())
        );
        let struck = blamed(|| -> Result<(), String> { panic!("oh") });
        assert!(struck.unwrap_err().starts_with("#/filter: "));
    }
}
