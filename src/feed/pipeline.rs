//! The pipelines of change streams. Their form decides what they cost the server (`docs/performance.md`).

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};

use crate::{
    access::CredentialKind,
    store::{EVENTS, KEYS, REVOCATIONS, SUBSCRIPTIONS},
};

/// The point at which a stream starts.
#[derive(Clone, Debug)]
pub(super) enum StreamStart {
    /// With the changes at this cluster time.
    At(Timestamp),
    /// Behind the change of this token.
    After(RawDocumentBuf),
}

/// Returns the pipeline of the changes of this service's collections; with `keys_only`, without anything that can be
/// large.
///
/// In `events`, inserts alone count. Nothing that may end the stream is filtered out: without the `invalidate`, the
/// cursor would die in silence.
pub(super) fn of_changes(database: &str, start: &StreamStart, keys_only: bool) -> Vec<Document> {
    let mut stream = match start {
        StreamStart::At(time) => doc! {"startAtOperationTime": *time},
        StreamStart::After(token) => doc! {"startAfter": token_document(token)},
    };
    // The server can filter by this in the oplog, before it makes change events of what it finds. There a whole `ns`
    // is a plain value, but `ns.coll` would become a regular expression.
    let mut wanted = vec![doc! {"operationType": {"$nin": ["update", "replace", "delete"]}}];
    let all = [SUBSCRIPTIONS].into_iter().chain(credentials());
    wanted.extend(all.map(|collection| doc! {"ns": {"db": database, "coll": collection}}));
    // The server should not filter by this in the oplog: it would try regular expressions on every entry. The null,
    // which is right for changes of the whole database, keeps it from doing so.
    let mut ours = vec![SUBSCRIPTIONS.into(), EVENTS.into(), Bson::Null];
    ours.extend(credentials().map(Bson::from));
    let among_ours = doc! {"$or": [
        {"ns.coll": {"$in": ours}},
        {"operationType": {"$in": ["drop", "rename"]}},
    ]};
    let matching = doc! {"$match": {"$and": [{"$or": wanted}, among_ours]}};
    if keys_only {
        vec![doc! {"$changeStream": stream}, matching, keys()]
    } else {
        stream.insert("fullDocument", "whenAvailable");
        vec![doc! {"$changeStream": stream}, matching]
    }
}

/// Returns the pipeline of the deletes of subscriptions and API keys: their `_id`s alone.
pub(super) fn of_deletes(database: &str, from: Timestamp) -> Vec<Document> {
    let matching = doc! {"$match": {"$or": [
        {"ns": {"db": database, "coll": SUBSCRIPTIONS}, "operationType": "delete"},
        {"ns": {"db": database, "coll": KEYS}, "operationType": "delete"},
        {"ns": {"db": database, "coll": REVOCATIONS}, "operationType": "delete"},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]}};
    let stream = doc! {"startAtOperationTime": from};
    vec![doc! {"$changeStream": stream}, matching, keys()]
}

/// Returns the collections of credentials.
fn credentials() -> impl Iterator<Item = &'static str> {
    CredentialKind::ALL
        .into_iter()
        .map(CredentialKind::collection)
}

/// Returns the stage that leaves out what can be large.
fn keys() -> Document {
    doc! {"$project": {
        "operationType": 1, "clusterTime": 1, "wallTime": 1, "ns": 1, "to": 1, "documentKey": 1,
    }}
}

fn token_document(token: &RawDocument) -> Document {
    Document::try_from(token).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write that each node makes for itself, as the last use of a key, must not pass through the feed of all nodes.
    #[test]
    fn the_feed_reads_these_collections_and_no_others() {
        let start = StreamStart::At(Timestamp {
            time: 1,
            increment: 0,
        });
        let [_, matching] = <[Document; 2]>::try_from(of_changes("d", &start, false)).unwrap();
        let stages = matching.get_document("$match").unwrap();
        let stages = stages.get_array("$and").unwrap();
        let ours = stages[1].as_document().unwrap().get_array("$or").unwrap();
        let ours = ours[0].as_document().unwrap();
        let ours = ours.get_document("ns.coll").unwrap().get_array("$in");
        let named: Vec<_> = ours.unwrap().iter().filter_map(Bson::as_str).collect();
        let all = ["subscriptions", "events", "policies", "revocations", "keys"];
        assert_eq!(named, all);
    }
}
