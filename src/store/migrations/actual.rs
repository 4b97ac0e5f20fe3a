//! The actual state of the collections with our names. Everything here only reads.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::store::{COLLECTIONS, Store, StoreError, client::error};

/// More than there are indexes of a collection, or collections of ours: one reply holds them all.
const BATCH_ITEMS: i32 = 1_000;
const NAMESPACE_NOT_FOUND: i32 = 26;

/// The actual state of a collection.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ActualCollection {
    /// `collection`, `view` or `timeseries`.
    pub(super) kind: String,
    /// Options, as `create` would take them.
    pub(super) options: Document,
    /// Indexes by name, as `createIndexes` would take them.
    pub(super) indexes: BTreeMap<String, Document>,
}

impl ActualCollection {
    /// Returns the reason why the collection cannot be used, if there is one.
    pub(super) fn unusable(&self) -> Option<&'static str> {
        let has = |option: &str| self.options.contains_key(option);
        match self.kind.as_str() {
            "view" => Some("is a view"),
            "timeseries" => Some("is a time-series collection"),
            _ if self.options.get_bool("capped").unwrap_or(false) => Some("is a capped collection"),
            _ if has("clusteredIndex") => Some("is a clustered collection"),
            _ if has("encryptedFields") => Some("has encrypted fields"),
            _ if has("collation") => Some("has a collation, by which different texts may be equal"),
            _ => None,
        }
    }
}

impl Store {
    /// Reads every collection with a name of ours, and its indexes.
    pub(super) async fn actual_collections(
        &self,
    ) -> Result<BTreeMap<String, ActualCollection>, StoreError> {
        let list = doc! {
            "listCollections": 1,
            "filter": {"name": {"$in": COLLECTIONS.as_slice()}},
            "cursor": {"batchSize": BATCH_ITEMS},
        };
        let answer = self.run(list).await?;
        let mut all = BTreeMap::new();
        for mut collection in first_batch(answer) {
            let Some(Bson::String(name)) = collection.remove("name") else {
                continue;
            };
            let text = |value: Option<Bson>| match value {
                Some(Bson::String(text)) => text,
                _ => String::new(),
            };
            let mut found = ActualCollection {
                kind: text(collection.remove("type")),
                ..ActualCollection::default()
            };
            if let Some(Bson::Document(options)) = collection.remove("options") {
                found.options = options;
            }
            if found.unusable().is_none() {
                found.indexes = self.indexes_of(&name).await?;
            }
            all.insert(name, found);
        }
        Ok(all)
    }

    async fn indexes_of(&self, collection: &str) -> Result<BTreeMap<String, Document>, StoreError> {
        let list = doc! {"listIndexes": collection, "cursor": {"batchSize": BATCH_ITEMS}};
        let answer = match self.run(list).await {
            // Dropped since it was listed.
            Err(StoreError::Other(error)) if error::code(&error) == Some(NAMESPACE_NOT_FOUND) => {
                return Ok(BTreeMap::new());
            }
            answer => answer?,
        };
        let named = |index: Document| Some((index.get_str("name").ok()?.to_owned(), index));
        Ok(first_batch(answer).filter_map(named).collect())
    }

    /// Whether there is a document that matches.
    pub(super) async fn has_document(
        &self,
        collection: &str,
        filter: Document,
    ) -> Result<bool, StoreError> {
        let collection = self.database().collection::<RawDocumentBuf>(collection);
        let find = collection
            .find_one(filter)
            .projection(doc! {"_id": 1})
            .max_time(self.server_limit());
        Ok(self.with_deadline(find).await?.is_some())
    }
}

fn first_batch(mut answer: Document) -> impl Iterator<Item = Document> {
    let cursor = answer.remove("cursor");
    let batch = match cursor {
        Some(Bson::Document(mut cursor)) => cursor.remove("firstBatch"),
        _ => None,
    };
    let items = match batch {
        Some(Bson::Array(items)) => items,
        _ => Vec::new(),
    };
    items.into_iter().filter_map(|item| match item {
        Bson::Document(document) => Some(document),
        _ => None,
    })
}
