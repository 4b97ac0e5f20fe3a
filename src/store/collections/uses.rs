//! The collection `uses`: when each key was used last, `{_id, lastUsedAt}`. A key that is gone leaves its document to the TTL
//! index.

use std::collections::HashMap;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};

use crate::store::{Store, StoreError, USES, client::read::collect};

impl Store {
    /// Writes that keys are used now, by the database's clock.
    pub(crate) async fn note_uses(&self, keys: &[Box<str>]) -> Result<(), StoreError> {
        let now = doc! {"$currentDate": {"lastUsedAt": true}};
        let update = |key: &str| doc! {"q": {"_id": key}, "u": &now, "upsert": true};
        let updates: Vec<Document> = keys.iter().map(|key| update(key)).collect();
        let answer = self
            .run(doc! {
                "update": USES,
                "updates": updates,
                "ordered": false,
                "writeConcern": {"w": "majority", "wtimeout": 9_000},
            })
            .await?;
        if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            tracing::debug!(%answer, "not all uses of keys were written");
            return Err(StoreError::Unexpected("not all uses of keys were written"));
        }
        Ok(())
    }

    /// Returns when each of these keys was used last, as far as it is known.
    pub(crate) async fn last_uses(
        &self,
        keys: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, DateTime>, StoreError> {
        let keys: Vec<Bson> = keys.map(Bson::from).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let uses = self.database().collection::<RawDocumentBuf>(USES);
        let find = uses
            .find(doc! {"_id": {"$in": keys}})
            .max_time(self.server_limit());
        let found = self.with_deadline(async { collect(find.batch().await?).await });
        let found = found.await?;
        let known = found.iter().filter_map(|used| {
            let at = used.get_datetime("lastUsedAt").ok()?;
            Some((used.get_str("_id").ok()?.to_owned(), at))
        });
        Ok(known.collect())
    }
}
