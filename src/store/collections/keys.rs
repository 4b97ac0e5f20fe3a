//! The collection `keys`: API keys.

use bson::{Binary, Bson, Document, RawDocumentBuf, Timestamp, doc, spec::BinarySubtype};
use mongodb::{Collection, options::ReadConcern};

use super::{
    audit::{Act, Actor, names_of},
    documents::{Change, Read, Written, sendable},
    subscriptions::listing::Listed,
};
use crate::{
    access::Fingerprint,
    store::{KEYS, Store, StoreError, client::read::collect_within},
};

/// A query for keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyQuery {
    /// Only keys of this tenant; `None`: of all, and of operators.
    pub tenant: Option<String>,
    /// The `_id` after which the page begins.
    pub after: Option<String>,
    /// The most keys on the page.
    pub limit: usize,
    /// The most bytes on the page; the first key may be larger.
    pub bytes: usize,
}

impl Store {
    fn keys(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(KEYS)
    }

    /// Stores a new key. Returns the cluster time of the write.
    pub(crate) async fn insert_key(
        &self,
        document: &Document,
        by: &Actor,
    ) -> Result<Timestamp, StoreError> {
        let change = Change::Insert(sendable(document)?);
        let names = names_of(document.keys());
        let written = self.audited(KEYS, change, Act::KeyCreate, names, by);
        let written = written.await?;
        let written = written.ok_or(StoreError::Unexpected("an insert without a document"))?;
        Ok(written.operation_time)
    }

    /// Reads a key of a tenant, or of anybody.
    pub(crate) async fn find_key(
        &self,
        id: &str,
        tenant: Option<&str>,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        let keys = self.keys();
        let find = keys
            .find_one(named(id, tenant))
            .max_time(self.server_limit());
        self.with_deadline(find).await
    }

    /// Reads the key that a client's certificate is for.
    pub(crate) async fn find_key_for(&self, certificate: &Fingerprint) -> Result<Read, StoreError> {
        let by_certificate = doc! {"certificate": {"$eq": binary(certificate), "$type": "binData"}};
        let session = self.session().await?;
        let concern = ReadConcern::majority();
        self.find_one_in(&self.keys(), session, by_certificate, None, concern)
            .await
    }

    /// Reads one page of keys, in the order of `_id`.
    pub(crate) async fn list_keys(&self, query: &KeyQuery) -> Result<Listed, StoreError> {
        let mut filter = of_tenant(query.tenant.as_deref());
        if let Some(after) = &query.after {
            filter.insert("_id", doc! {"$gt": after});
        }
        let keys = self.keys();
        let find = keys
            .find(filter)
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(query.limit.max(1)).unwrap_or(i64::MAX))
            .max_time(self.server_limit());
        let reading = async { collect_within(find.batch().await?, query.bytes).await };
        let (documents, whole) = self.with_deadline(reading).await?;
        Ok(Listed {
            exhausted: whole && documents.len() < query.limit,
            documents,
        })
    }

    /// Sets and unsets fields of a key. Returns the key as it is now, and the cluster time; `None` if there is none.
    pub(crate) async fn update_key(
        &self,
        id: &str,
        tenant: Option<&str>,
        set: Document,
        unset: Document,
        by: &Actor,
    ) -> Result<Option<Written>, StoreError> {
        let names = names_of(set.keys().chain(unset.keys()));
        let mut update = Document::new();
        for (operator, fields) in [("$set", set), ("$unset", unset)] {
            if !fields.is_empty() {
                update.insert(operator, fields);
            }
        }
        let change = Change::Modify(named(id, tenant), update.into());
        self.audited(KEYS, change, Act::KeyUpdate, names, by).await
    }

    /// Deletes a key. Returns the cluster time; `None` if there is none.
    pub(crate) async fn delete_key(
        &self,
        id: &str,
        tenant: Option<&str>,
        by: &Actor,
    ) -> Result<Option<Timestamp>, StoreError> {
        let change = Change::Remove(named(id, tenant));
        let deleted = self.audited(KEYS, change, Act::KeyDelete, Vec::new(), by);
        Ok(deleted.await?.map(|deleted| deleted.operation_time))
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

fn of_tenant(tenant: Option<&str>) -> Document {
    tenant.map_or_else(Document::new, |tenant| {
        doc! {"tenant": {"$eq": tenant, "$type": "string"}}
    })
}

fn named(id: &str, tenant: Option<&str>) -> Document {
    let mut query = of_tenant(tenant);
    query.insert("_id", doc! {"$eq": Bson::from(id)});
    query
}
