//! The pipelines of change streams. Their form decides what the server pays for them (`docs/performance.md`).

use bson::{Bson, Document, RawDocument, Timestamp, doc};

use super::stream::Start;
use crate::store::{EVENTS, SUBSCRIPTIONS};

/// Returns the pipeline that shows the changes of our collections; with `keys_only`, without anything that can be large.
///
/// Of the collection `events`, only inserts are shown. Nothing that may end the stream is hidden: if the `invalidate` were
/// matched away, the cursor would die without a word.
pub(super) fn of_changes(database: &str, start: &Start, keys_only: bool) -> Vec<Document> {
    let mut stream = match start {
        Start::At(time) => doc! {"startAtOperationTime": *time},
        Start::After(token) => doc! {"startAfter": token_document(token)},
    };
    // The server can look for this in its oplog, before it makes a change of what it finds. A whole `ns`
    // is a name to it there; `ns.coll` would be a regular expression.
    let wanted = doc! {"$or": [
        {"operationType": {"$nin": ["update", "replace", "delete"]}},
        {"ns": {"db": database, "coll": SUBSCRIPTIONS}},
    ]};
    // And this it should not look for there: it would try regular expressions on everything. The null,
    // which is right for changes of the whole database, keeps it from that.
    let ours = Bson::Array(vec![SUBSCRIPTIONS.into(), EVENTS.into(), Bson::Null]);
    let among_ours = doc! {"$or": [
        {"ns.coll": {"$in": ours}},
        {"operationType": {"$in": ["drop", "rename"]}},
    ]};
    let matching = doc! {"$match": {"$and": [wanted, among_ours]}};
    if keys_only {
        vec![doc! {"$changeStream": stream}, matching, keys()]
    } else {
        stream.insert("fullDocument", "whenAvailable");
        vec![doc! {"$changeStream": stream}, matching]
    }
}

/// Returns the pipeline that shows deletes of subscriptions: their keys alone.
pub(super) fn of_deletes(database: &str, from: Timestamp) -> Vec<Document> {
    let matching = doc! {"$match": {"$or": [
        {"ns": {"db": database, "coll": SUBSCRIPTIONS}, "operationType": "delete"},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]}};
    let stream = doc! {"startAtOperationTime": from};
    vec![doc! {"$changeStream": stream}, matching, keys()]
}

/// Leaves out what can be large.
fn keys() -> Document {
    doc! {"$project": {
        "operationType": 1, "clusterTime": 1, "wallTime": 1, "ns": 1, "to": 1, "documentKey": 1,
    }}
}

fn token_document(token: &RawDocument) -> Document {
    Document::try_from(token).unwrap_or_default()
}
