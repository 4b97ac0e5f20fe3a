//! Finding an event by the id and source that it is shown with.
//!
//! The text of an id may stand for several values: `5` for a number or a string, 24 hex digits for an
//! object id too. The query asks for all of them, with an index for each branch. The results are then
//! compared by what is shown.

use std::iter;

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};
use mongodb::options::ReadConcern;

use super::page_key::{behind, prefix};
use crate::{
    event::{default_source, identity},
    extjson::{parse_json, to_bson},
    store::{EVENTS, Store, StoreError, client::read::collect_within, unreadable::shown_id},
};

/// The most events of one id, with different sources, that are looked at.
const MOST_EVENTS: i64 = 1_000;
/// The most bytes of these. Events beyond them would only be further ones of several.
const MOST_BYTES: usize = 8 << 20;
/// Every type except null and array: the condition of the index on `id` and `source`. The planner uses the
/// index only if a query repeats the condition. Migration 0002 has the same list.
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

/// A question for the events of one id.
#[derive(Clone, Debug, Default)]
pub struct EventLookup<'a> {
    /// Only the one that is shown with this `source`.
    pub source: Option<&'a str>,
    /// Only those whose whole document matches this query.
    pub within: Option<Document>,
    /// Only those that were stored at this time; `None` is now.
    pub as_of: Option<Timestamp>,
}

impl EventLookup<'_> {
    /// Adds what is asked to the query for an id, so that the events of others take none of the bounds. What is shown is
    /// compared again: a source that is not UTF-8 is found by its id alone.
    fn narrow(&self, ids: Document, default: &str) -> Document {
        let mut all = vec![ids];
        if let Some(source) = self.source.filter(|source| prefix(source) == *source) {
            let mut sources = candidates(source);
            sources.extend((source == default).then_some(Bson::Null));
            all.push(doc! {"source": {"$in": sources}});
        }
        all.extend(self.within.clone());
        doc! {"$and": all}
    }
}

impl Store {
    /// Finds the events that are shown with this `id`: one for each source.
    pub async fn find_events(
        &self,
        id: &str,
        asked: EventLookup<'_>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let default = default_source(self.database_name());
        let conditions = iter::once(doc! {"$in": candidates(id)}).chain(mended(id));
        let events = self.events();
        let find = events
            .find(asked.narrow(lookup(conditions), &default))
            .limit(MOST_EVENTS)
            .max_time(self.server_limit());
        let (found, _) = if let Some(time) = asked.as_of {
            let session = self.client().start_session().snapshot(true);
            let mut session = self.with_deadline(session.snapshot_time(time)).await?;
            // The client's own concern (majority) would override the session's.
            let find = find.read_concern(ReadConcern::snapshot());
            let reading = async {
                let mut cursor = find.session(&mut session).batch().await?;
                collect_within(cursor.stream(&mut session), MOST_BYTES).await
            };
            self.with_deadline(reading).await?
        } else {
            let reading = async { collect_within(find.batch().await?, MOST_BYTES).await };
            self.with_deadline(reading).await?
        };
        let mut matching = Vec::new();
        for event in found {
            let (its_id, its_source) = match identity(&event, &default) {
                Ok(identity) => identity,
                Err(error) => {
                    self.note_unreadable(EVENTS, shown_id(&event), error);
                    continue;
                }
            };
            if its_id == id && asked.source.is_none_or(|source| source == its_source) {
                matching.push(event);
            }
        }
        Ok(matching)
    }
}

/// Builds the query for ids that satisfy one of these conditions, in each field that an id may come from.
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

/// Returns the condition for texts that are shown as `text` because part of them is not UTF-8: all that begin
/// like it, as far as the bounds go.
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

/// Returns every value whose plain text may be `text`.
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
    // Null would find a missing id, a regular expression all that it matches, and no server can be asked
    // for undefined.
    values.extend(json.ok().filter(|value| {
        !matches!(
            value,
            Bson::Null | Bson::Undefined | Bson::String(_) | Bson::RegularExpression(_)
        )
    }));
    values
}
