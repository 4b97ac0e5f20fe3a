//! Pages of subscriptions, in the order of `_id`, whatever types the ids have.
//!
//! A page begins after a key by an aggregation's `$gt`, which orders all types as the index does. A query's
//! own `$gt` only sees values of its operand's type.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::{Hint, ReadConcern};

use super::TENANT_INDEX;
use crate::{
    access::{CLAIMS, OWNER, POLICY, Sight, TENANT},
    store::{
        Store, StoreError,
        client::read::{collect, collect_within},
        collections::documents::STRINGS_FIRST,
    },
    subscription::{DocumentKey, object_id},
};

/// The most documents in one reply.
const BATCH_DOCUMENTS: u32 = 1_000;

/// A query for a page of subscriptions.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The part of the subscriptions that the caller sees.
    pub sight: Sight,
    /// The `_id` after which the page begins; `None` begins at the start.
    pub after: Option<Bson>,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those whose document says this.
    pub stored_status: Option<StoredStatus>,
    /// The most subscriptions on the page.
    pub limit: usize,
    /// The most bytes on the page; its first item may be larger.
    pub bytes: usize,
}

/// A page of documents.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// The documents.
    pub documents: Vec<RawDocumentBuf>,
    /// True if there are no more.
    pub exhausted: bool,
}

/// The status that a document names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoredStatus {
    /// `active`, or nothing.
    Active,
    /// `paused`.
    Paused,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            sight: Sight::EVERYTHING,
            after: None,
            name: None,
            stored_status: None,
            limit: 1,
            bytes: usize::MAX,
        }
    }
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

    /// Returns the index that serves the query in the order of `_id`. Where a tenant asks, that is its own: another one
    /// would show by the time that it takes how much others have.
    fn index(&self) -> Hint {
        let name = match (self.sight.tenant(), &self.name, self.stored_status) {
            (Some(_), _, _) => TENANT_INDEX,
            (None, Some(_), _) => "name",
            (None, None, Some(StoredStatus::Paused)) => "paused",
            (None, None, _) => "_id_",
        };
        Hint::Name(name.to_owned())
    }
}

impl Store {
    /// Reads one page, in the order of `_id`.
    pub async fn list_subscriptions(&self, query: &ListQuery) -> Result<Listed, StoreError> {
        let mut filter = query.filter();
        if let Some(after) = &query.after {
            filter.insert("$expr", doc! {"$gt": ["$_id", {"$literal": after.clone()}]});
        }
        let subscriptions = self.subscriptions();
        let find = subscriptions
            .find(query.sight.within(filter))
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(query.limit.max(1)).unwrap_or(i64::MAX))
            .hint(query.index())
            .batch_size(BATCH_DOCUMENTS)
            .max_time(self.server_limit());
        let reading = async { collect_within(find.batch().await?, query.bytes).await };
        let (documents, whole) = self.with_deadline(reading).await?;
        Ok(Listed {
            exhausted: whole && documents.len() < query.limit,
            documents,
        })
    }

    /// Reads the bindings of subscriptions, in the order of these ids: the fields that say whose each is, and nothing else. `None`
    /// stands for one that is not there or out of sight.
    pub(crate) async fn subscription_bindings(
        &self,
        ids: &[String],
        sight: &Sight,
    ) -> Result<Vec<Option<RawDocumentBuf>>, StoreError> {
        let texts = ids.iter().map(|id| Bson::from(id.as_str()));
        let digits = ids.iter().filter_map(|id| object_id(id).map(Bson::from));
        let any: Vec<Bson> = texts.chain(digits).collect();
        let subscriptions = self.subscriptions();
        let index = sight.tenant().map_or("_id_", |_| TENANT_INDEX);
        let find = subscriptions
            .find(sight.within(doc! {"_id": {"$in": any}}))
            .sort(STRINGS_FIRST.clone())
            .projection(doc! {TENANT: 1, OWNER: 1, POLICY: 1, CLAIMS: 1})
            .hint(Hint::Name(index.to_owned()))
            .read_concern(ReadConcern::majority())
            .max_time(self.server_limit());
        let found = self.with_deadline(async { collect(find.batch().await?).await });
        let found = found.await?;
        let mut by_id: HashMap<String, RawDocumentBuf> = HashMap::with_capacity(found.len());
        for document in found {
            // Of two with one id, the first is the subscription.
            by_id
                .entry(DocumentKey::of(&document).to_string())
                .or_insert(document);
        }
        let seen = |id: &String| by_id.get(id).filter(|found| sight.sees(id, found)).cloned();
        Ok(ids.iter().map(seen).collect())
    }

    /// Counts the subscriptions on all pages.
    pub async fn count_subscriptions(&self, query: &ListQuery) -> Result<u64, StoreError> {
        let subscriptions = self.subscriptions();
        let count = subscriptions
            .count_documents(query.sight.within(query.filter()))
            .hint(query.index())
            .max_time(self.server_limit());
        self.with_deadline(count).await
    }

    /// Reads those of `keys` that exist and are in sight, in no particular order.
    pub async fn subscriptions_by_key(
        &self,
        keys: &[DocumentKey],
        sight: &Sight,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let ids: Vec<Bson> = keys.iter().filter_map(DocumentKey::to_bson).collect();
        let subscriptions = self.subscriptions();
        let find = subscriptions
            .find(sight.within(doc! {"_id": {"$in": ids}}))
            .max_time(self.server_limit());
        self.with_deadline(async { collect(find.batch().await?).await })
            .await
    }
}
