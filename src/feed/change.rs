//! What a change stream shows, decoded. Pure.

use std::ops::Range;

use bson::{DateTime, RawBsonRef, RawDocument, Timestamp, error::Error};

use crate::position::Position;

/// One of our collections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OwnCollection {
    Subscriptions,
    Events,
    Positions,
}

impl OwnCollection {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            crate::store::SUBSCRIPTIONS => Some(Self::Subscriptions),
            crate::store::EVENTS => Some(Self::Events),
            crate::store::POSITIONS => Some(Self::Positions),
            _ => None,
        }
    }
}

/// A change as the server reports it.
#[derive(Debug)]
pub(super) struct RawChange<'a> {
    pub(super) token: &'a RawDocument,
    pub(super) position: Position,
    pub(super) wall_time: DateTime,
    pub(super) operation: &'a str,
    pub(super) collection: Option<OwnCollection>,
    pub(super) renamed_to: Option<OwnCollection>,
    pub(super) full_document: Option<&'a RawDocument>,
    pub(super) document_key: Option<&'a RawDocument>,
}

/// Why a change cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("not BSON: {0}")]
    Bson(#[from] Error),
    #[error("no resume token that can be ordered")]
    Token,
}

impl<'a> RawChange<'a> {
    /// Reads a change event of the server.
    pub(super) fn decode(change: &'a RawDocument) -> Result<Self, Undecodable> {
        let mut token = None;
        let mut cluster_time = None;
        let mut raw = Fields::default();
        for element in change {
            let (key, value) = element?;
            match (key.as_str(), value) {
                ("_id", RawBsonRef::Document(id)) => token = Some(id),
                ("operationType", RawBsonRef::String(name)) => raw.operation = name,
                ("clusterTime", RawBsonRef::Timestamp(time)) => cluster_time = Some(time),
                ("wallTime", RawBsonRef::DateTime(time)) => raw.wall_time = Some(time),
                ("fullDocument", RawBsonRef::Document(document)) => raw.full = Some(document),
                ("documentKey", RawBsonRef::Document(key)) => raw.key = Some(key),
                ("ns", RawBsonRef::Document(ns)) => raw.collection = collection(ns),
                ("to", RawBsonRef::Document(ns)) => raw.renamed_to = collection(ns),
                _ => {}
            }
        }
        let token = token.ok_or(Undecodable::Token)?;
        let position = position_of(token).ok_or(Undecodable::Token)?;
        Ok(Self {
            token,
            position,
            wall_time: raw
                .wall_time
                .unwrap_or_else(|| date_of(cluster_time, position)),
            operation: raw.operation,
            collection: raw.collection,
            renamed_to: raw.renamed_to,
            full_document: raw.full,
            document_key: raw.key,
        })
    }
}

#[derive(Default)]
struct Fields<'a> {
    operation: &'a str,
    wall_time: Option<DateTime>,
    collection: Option<OwnCollection>,
    renamed_to: Option<OwnCollection>,
    full: Option<&'a RawDocument>,
    key: Option<&'a RawDocument>,
}

fn collection(ns: &RawDocument) -> Option<OwnCollection> {
    ns.get_str("coll").ok().and_then(OwnCollection::from_name)
}

/// The position of a resume token.
pub(super) fn position_of(token: &RawDocument) -> Option<Position> {
    Position::from_token_data(token.get_str("_data").ok()?).ok()
}

/// Servers before 6.0 send no wall time: the cluster time's seconds stand for it.
fn date_of(cluster_time: Option<Timestamp>, position: Position) -> DateTime {
    let time = cluster_time.unwrap_or_else(|| position.cluster_time());
    DateTime::from_millis(i64::from(time.time) * 1_000)
}

/// Where `part`, which lies in `whole`, lies in it.
pub(super) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, doc};

    const TOKEN: &str = "8263F8AC1F000000022B022C0100296E5A1004";

    #[test]
    fn an_insert_is_decoded_where_it_lies() {
        let change = RawDocumentBuf::try_from(&doc! {
            "_id": {"_data": TOKEN},
            "operationType": "insert",
            "wallTime": DateTime::from_millis(5),
            "fullDocument": {"_id": 1, "x": 2},
            "ns": {"db": "d", "coll": "events"},
            "documentKey": {"_id": 1},
        })
        .unwrap();
        let raw = RawChange::decode(&change).unwrap();
        assert_eq!(
            (raw.operation, raw.collection),
            ("insert", Some(OwnCollection::Events))
        );
        assert_eq!(raw.wall_time, DateTime::from_millis(5));
        let document = raw.full_document.unwrap();
        let range = range_in(change.as_bytes(), document.as_bytes());
        assert_eq!(&change.as_bytes()[range], document.as_bytes());
    }

    #[test]
    fn a_change_without_a_token_is_undecodable() {
        for change in [doc! {}, doc! {"_id": {"_data": "zz"}}, doc! {"_id": 5}] {
            let change = RawDocumentBuf::try_from(&change).unwrap();
            assert!(RawChange::decode(&change).is_err());
        }
    }
}
