//! Documents in our collections that cannot be read.
//!
//! Programs that may write to the database may write anything. Code that meets such a document leaves it
//! out. Here it is counted, and logged once.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bson::{DateTime, RawDocument};

use super::Store;
use crate::{extjson::plain_text, telemetry::Metrics};

/// The most documents that are logged; further ones are only counted.
const MOST_LOGGED: usize = 1_000;

/// Writes the `_id` of a document for people, as far as it can be read.
pub(super) fn shown_id(document: &RawDocument) -> String {
    let id = document.get("_id").ok().flatten().map(plain_text);
    id.and_then(Result::ok).unwrap_or_default()
}

/// Whether a clock can show this time. No node writes one outside these years.
pub(super) fn is_of_a_clock(time: DateTime) -> bool {
    const YEAR_10_000_MS: i64 = 253_402_300_800_000;
    (0..YEAR_10_000_MS).contains(&time.timestamp_millis())
}

/// The unreadable documents met so far.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    logged: Mutex<HashSet<u64>>,
    hasher: RandomState,
    metrics: OnceLock<Arc<Metrics>>,
}

impl Store {
    /// Counts unreadable documents in these metrics from now on.
    pub(crate) fn count_unreadable_in(&self, metrics: &Arc<Metrics>) {
        self.inner
            .unreadable
            .metrics
            .get_or_init(|| Arc::clone(metrics));
    }

    /// Counts and logs a document that cannot be read and is left out.
    pub fn note_unreadable(
        &self,
        collection: &'static str,
        id: impl fmt::Display,
        reason: impl fmt::Display,
    ) {
        let Unreadable {
            logged,
            hasher,
            metrics,
        } = &self.inner.unreadable;
        if let Some(metrics) = metrics.get() {
            metrics.store.unreadable_document(collection);
        }
        let id = id.to_string();
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MOST_LOGGED && logged.insert(hasher.hash_one((collection, &id))) {
            tracing::warn!(collection, id, %reason, "a document cannot be read and is left out");
        }
    }
}
