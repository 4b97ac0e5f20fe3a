//! The collection `revocations`.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use mongodb::{Collection, options::ReadConcern};

use super::{
    audit::{Act, Actor, names_of},
    documents::{Change, Read, sendable},
    subscriptions::listing::Listed,
};
use crate::store::{REVOCATIONS, Store, StoreError, client::read::collect_within};

/// A query for revocations.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RevocationQuery {
    /// Only those that name this tenant; `None`: all.
    pub tenant: Option<String>,
    /// The `_id` after which the page begins.
    pub after: Option<Bson>,
    /// The most revocations on the page.
    pub limit: usize,
    /// The most bytes on the page; the first revocation may be larger.
    pub bytes: usize,
}

impl Store {
    fn revocations(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(REVOCATIONS)
    }

    /// Stores a new revocation. Returns the cluster time of the write.
    pub(crate) async fn insert_revocation(
        &self,
        document: &Document,
        by: &Actor,
    ) -> Result<Timestamp, StoreError> {
        let change = Change::Insert(sendable(document)?);
        let names = names_of(document.keys());
        let written = self.audited(REVOCATIONS, change, Act::RevocationCreate, names, by);
        let written = written.await?;
        let written = written.ok_or(StoreError::Unexpected("an insert without a document"))?;
        Ok(written.operation_time)
    }

    /// Reads one page of revocations, in the order of `_id`, whatever types the ids have.
    pub(crate) async fn list_revocations(
        &self,
        query: &RevocationQuery,
    ) -> Result<Listed, StoreError> {
        let mut filter = of_tenant(query.tenant.as_deref());
        if let Some(after) = &query.after {
            filter.insert("$expr", doc! {"$gt": ["$_id", {"$literal": after.clone()}]});
        }
        let revocations = self.revocations();
        let find = revocations
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

    /// Reads a revocation.
    pub(crate) async fn find_revocation(&self, id: &str) -> Result<Read, StoreError> {
        let session = self.session().await?;
        let revocations = self.revocations();
        self.find_one_in(
            &revocations,
            session,
            named(id),
            None,
            ReadConcern::majority(),
        )
        .await
    }

    /// Deletes a revocation. Returns the cluster time; `None` if there is none in the tenant.
    pub(crate) async fn delete_revocation(
        &self,
        id: &str,
        tenant: Option<&str>,
        by: &Actor,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut query = of_tenant(tenant);
        query.extend(named(id));
        let change = Change::Remove(query);
        let deleted = self.audited(REVOCATIONS, change, Act::RevocationDelete, Vec::new(), by);
        Ok(deleted.await?.map(|deleted| deleted.operation_time))
    }
}

/// Returns the query for a revocation by its id. One that a program has stored may have the id that the driver gives.
fn named(id: &str) -> Document {
    let mut ids = vec![Bson::from(id)];
    ids.extend(ObjectId::parse_str(id).ok().map(Bson::from));
    doc! {"_id": {"$in": ids}}
}

fn of_tenant(tenant: Option<&str>) -> Document {
    tenant.map_or_else(Document::new, |tenant| {
        doc! {"tenant": {"$eq": tenant, "$type": "string"}}
    })
}
