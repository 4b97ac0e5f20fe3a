//! Finding an event by the id and source it is shown with.
//!
//! The text of an id may stand for several values: `5` for a number or a string, 24 hex digits for an
//! object id. The query asks for all of them, each branch by an index; what came back is then held to
//! what is shown.

use std::iter;

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId, spec::BinarySubtype};

use super::page_key::{behind, prefix};
use crate::{
    event::{default_source, identity},
    extjson::{parse_json, to_bson},
    store::{EVENTS, Store, StoreError, client::read::collect_within, unreadable::shown_id},
};

/// Events of one id and different sources that are looked at, at most.
const LIMIT: i64 = 1_000;
/// Bytes of these; what is left out then is one more of several.
const BYTES: usize = 8 << 20;
/// Every type but null and array: the condition of the index on `id` and `source`, which the planner
/// uses only where a query repeats it. Migration 0002 has the same list.
const PRESENT: [&str; 15] = [
    "string",
    "number",
    "object",
    "binData",
    "objectId",
    "bool",
    "date",
    "regex",
    "timestamp",
    "minKey",
    "maxKey",
    "symbol",
    "javascript",
    "javascriptWithScope",
    "dbPointer",
];

impl Store {
    /// The events shown with this `id` (and `source`, where given): one for each source.
    pub async fn find_events(
        &self,
        id: &str,
        source: Option<&str>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let default = default_source(self.database_name());
        let conditions = iter::once(doc! {"$in": candidates(id)}).chain(mended(id));
        let events = self.events();
        let find = events
            .find(lookup(conditions))
            .limit(LIMIT)
            .max_time(self.server_limit());
        let reading = async { collect_within(find.batch().await?, BYTES).await };
        let (found, _) = self.with_deadline(reading).await?;
        let mut matching = Vec::new();
        for event in found {
            let (its_id, its_source) = match identity(&event, &default) {
                Ok(identity) => identity,
                Err(error) => {
                    self.note_unreadable(EVENTS, shown_id(&event), error);
                    continue;
                }
            };
            if its_id == id && source.is_none_or(|source| source == its_source) {
                matching.push(event);
            }
        }
        Ok(matching)
    }
}

/// Asks for each kind of place where an id that satisfies one of these may stand.
fn lookup(conditions: impl IntoIterator<Item = Document>) -> Document {
    let types = &PRESENT[..];
    let with = |condition: &Document, name: &str, value: Bson| {
        let mut condition = condition.clone();
        condition.insert(name, value);
        condition
    };
    let branches = conditions.into_iter().flat_map(|ids| {
        [
            doc! {"id": with(&ids, "$type", types.into()), "source": {"$type": types}},
            doc! {"id": with(&ids, "$exists", true.into()), "source": null},
            doc! {"_id": ids, "id": null},
        ]
    });
    doc! {"$or": branches.collect::<Vec<_>>()}
}

/// Texts that are shown as `text` since something in them is no text: all that begin alike are looked at, as far as
/// the bounds go.
fn mended(text: &str) -> Option<Document> {
    let prefix = prefix(text);
    if prefix == text {
        return None;
    }
    let mut range = doc! {"$gte": prefix};
    if let Some(behind) = behind(prefix) {
        range.insert("$lt", behind);
    }
    Some(range)
}

/// Every value whose plain text may be `text`.
fn candidates(text: &str) -> Vec<Bson> {
    let mut values = vec![Bson::String(text.to_owned())];
    values.extend(ObjectId::parse_str(text).map(Bson::ObjectId));
    if let Ok(uuid) = uuid::Uuid::parse_str(text) {
        values.push(Bson::Binary(bson::Binary {
            subtype: BinarySubtype::Uuid,
            bytes: uuid.as_bytes().to_vec(),
        }));
    }
    let json =
        parse_json(text.as_bytes()).and_then(|value| to_bson(value, "#").map_err(|f| f.detail));
    // Null would stand for a missing id, a regular expression for whatever matches it, and of what is
    // undefined no server can be asked.
    values.extend(json.ok().filter(|value| {
        !matches!(
            value,
            Bson::Null | Bson::Undefined | Bson::String(_) | Bson::RegularExpression(_)
        )
    }));
    values
}
