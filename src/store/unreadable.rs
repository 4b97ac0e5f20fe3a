//! Documents in our collections that cannot be read: whoever may write to the database may write anything.
//! Each is left out by whoever meets it, counted here, and told once.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bson::{DateTime, RawDocument};

use super::Store;
use crate::{extjson::plain_text, telemetry::Metrics};

/// So many are told; beyond that they are only counted.
const TOLD: usize = 1_000;

/// The `_id` of a document for people, as far as it can be read.
pub(super) fn shown_id(document: &RawDocument) -> String {
    let id = document.get("_id").ok().flatten().map(plain_text);
    id.and_then(Result::ok).unwrap_or_default()
}

/// Whether a clock can have said so: what lies outside these years was written by no node.
pub(super) fn is_of_a_clock(time: DateTime) -> bool {
    const YEAR_10_000_MS: i64 = 253_402_300_800_000;
    (0..YEAR_10_000_MS).contains(&time.timestamp_millis())
}

/// What was met so far.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    told: Mutex<HashSet<u64>>,
    hasher: RandomState,
    metrics: OnceLock<Arc<Metrics>>,
}

impl Store {
    /// Has unreadable documents counted there, from now on.
    pub(crate) fn count_in(&self, metrics: &Arc<Metrics>) {
        self.inner
            .unreadable
            .metrics
            .get_or_init(|| Arc::clone(metrics));
    }

    /// Notes a document that cannot be read, and is left out.
    pub fn unreadable(
        &self,
        collection: &'static str,
        id: impl fmt::Display,
        reason: impl fmt::Display,
    ) {
        let Unreadable {
            told,
            hasher,
            metrics,
        } = &self.inner.unreadable;
        if let Some(metrics) = metrics.get() {
            metrics.store.unreadable_document(collection);
        }
        let id = id.to_string();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(hasher.hash_one((collection, &id))) {
            tracing::warn!(collection, id, %reason, "a document cannot be read, and is left out");
        }
    }
}
