//! Which of many filters match a document.

use std::collections::HashMap;
use std::hash::Hash;

use bson::RawDocument;

use super::Filter;

/// Many filters under keys, asked together.
#[derive(Clone, Debug)]
pub struct FilterIndex<K> {
    filters: HashMap<K, Filter>,
}

impl<K: Copy + Eq + Hash> FilterIndex<K> {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            filters: HashMap::new(),
        }
    }

    /// Adds a filter; the one that stood under `key` before, if any, is replaced and returned.
    pub fn insert(&mut self, key: K, filter: Filter) -> Option<Filter> {
        self.filters.insert(key, filter)
    }

    /// Removes the filter under `key` and returns it.
    pub fn remove(&mut self, key: K) -> Option<Filter> {
        self.filters.remove(&key)
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Appends the key of every filter that matches `document`, each once, in no set order.
    pub fn matching(&self, document: &RawDocument, keys: &mut Vec<K>) {
        let matching = self
            .filters
            .iter()
            .filter(|(_, filter)| filter.matches(document));
        keys.extend(matching.map(|(key, _)| *key));
    }
}

impl<K: Copy + Eq + Hash> Default for FilterIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Eq + Hash> FromIterator<(K, Filter)> for FilterIndex<K> {
    /// Builds an index of many filters at once. Of several under one key the last stands.
    fn from_iter<I: IntoIterator<Item = (K, Filter)>>(filters: I) -> Self {
        Self {
            filters: filters.into_iter().collect(),
        }
    }
}
