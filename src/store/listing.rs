//! Pages of subscriptions, in the order of `_id`, whatever type the ids have.
//!
//! A page begins at a key of an index (`min`), because a comparison in a query such as `$gt` only sees
//! values of its operand's own type.

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::Hint;

use super::{Store, StoreError, query::collect};

/// Which subscriptions, and from where.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// The `_id` after which the page begins; `None` begins at the start.
    pub after: Option<Bson>,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those whose document says so.
    pub stored_status: Option<StoredStatus>,
    /// How many at most.
    pub limit: usize,
}

/// What a document says of its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoredStatus {
    /// `active`, or nothing.
    Active,
    /// `paused`.
    Paused,
}

impl ListQuery {
    fn filter(&self) -> Document {
        let mut filter = Document::new();
        if let Some(name) = &self.name {
            filter.insert("name", name);
        }
        match self.stored_status {
            Some(StoredStatus::Active) => {
                filter.insert("status", doc! {"$in": ["active", Bson::Null]});
            }
            Some(StoredStatus::Paused) => {
                filter.insert("status", "paused");
            }
            None => {}
        }
        filter
    }

    /// The index that serves the query, and the keys between which it is read.
    fn range(&self) -> Range {
        let after = || self.after.clone().unwrap_or(Bson::MinKey);
        if let Some(name) = &self.name {
            // The text right after `name` in the index's order ends the range, whatever the ids are.
            let next = format!("{name}\0");
            return Range {
                index: "name",
                min: Some(doc! {"name": name, "_id": after()}),
                max: Some(doc! {"name": next, "_id": Bson::MinKey}),
            };
        }
        if self.stored_status == Some(StoredStatus::Paused) {
            return Range {
                index: "paused",
                min: Some(doc! {"status": "paused", "_id": after()}),
                max: None,
            };
        }
        Range {
            index: "_id_",
            min: self.after.clone().map(|after| doc! {"_id": after}),
            max: None,
        }
    }
}

struct Range {
    index: &'static str,
    min: Option<Document>,
    max: Option<Document>,
}

impl Store {
    /// One page, ordered by `_id`.
    pub async fn list_subscriptions(
        &self,
        query: &ListQuery,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let mut filter = query.filter();
        if let Some(after) = &query.after {
            // `min` is inclusive.
            filter.insert("_id", doc! {"$ne": after.clone()});
        }
        let range = query.range();
        let sort = match range.index {
            "name" => doc! {"name": 1, "_id": 1},
            "paused" => doc! {"status": 1, "_id": 1},
            _ => doc! {"_id": 1},
        };
        let subscriptions = self.subscriptions();
        let mut find = subscriptions
            .find(filter)
            .sort(sort)
            .limit(i64::try_from(query.limit.max(1)).unwrap_or(i64::MAX))
            .hint(Hint::Name(range.index.to_owned()))
            .max_time(self.server_limit());
        if let Some(min) = range.min {
            find = find.min(min);
        }
        if let Some(max) = range.max {
            find = find.max(max);
        }
        self.bounded(async { collect(find.batch().await?).await })
            .await
    }

    /// How many there are, over all pages.
    pub async fn count_subscriptions(&self, query: &ListQuery) -> Result<u64, StoreError> {
        let subscriptions = self.subscriptions();
        let count = subscriptions
            .count_documents(query.filter())
            .max_time(self.server_limit());
        let count = match (&query.name, query.stored_status) {
            (Some(_), _) => count.hint(Hint::Name("name".to_owned())),
            (None, Some(StoredStatus::Paused)) => count.hint(Hint::Name("paused".to_owned())),
            _ => count,
        };
        self.bounded(count).await
    }

    /// Those of `ids` that exist, in no particular order.
    pub async fn subscriptions_by_id(
        &self,
        ids: &[String],
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let subscriptions = self.subscriptions();
        let find = subscriptions
            .find(doc! {"_id": {"$in": ids}})
            .max_time(self.server_limit());
        self.bounded(async { collect(find.batch().await?).await })
            .await
    }
}
