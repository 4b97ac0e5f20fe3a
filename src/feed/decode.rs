//! From a change event of the server to its meaning for this service. Pure.

use bson::{DateTime, RawBsonRef, RawDocument, error::Error};

use crate::{
    access::CredentialKind,
    position::{Position, date_of},
    router::{Operation, Span},
};

/// One of this service's collections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OwnCollection {
    Subscriptions,
    Events,
    Positions,
    Credentials(CredentialKind),
}

impl OwnCollection {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            crate::store::SUBSCRIPTIONS => Some(Self::Subscriptions),
            crate::store::EVENTS => Some(Self::Events),
            crate::store::POSITIONS => Some(Self::Positions),
            _ => CredentialKind::of_collection(name).map(Self::Credentials),
        }
    }

    /// Whether a load contains the documents of this collection.
    pub(super) const fn is_loaded(self) -> bool {
        matches!(self, Self::Subscriptions | Self::Credentials(_))
    }
}

/// A change event of the server, decoded.
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

/// The reason why a change event cannot be decoded at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("not BSON: {0}")]
    Bson(#[from] Error),
    #[error("no resume token that can be ordered")]
    Token,
}

impl<'a> RawChange<'a> {
    /// Decodes a change event.
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
            // Servers before 6.0 send no wall time.
            wall_time: raw.wall_time.unwrap_or_else(|| {
                date_of(cluster_time.unwrap_or_else(|| position.cluster_time()).time)
            }),
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

/// Returns the position of a resume token.
pub(super) fn position_of(token: &RawDocument) -> Option<Position> {
    Position::from_token_data(token.get_str("_data").ok()?).ok()
}

/// The meaning of a change event. Whatever needs the database is left to the follower.
#[derive(Debug)]
pub(super) enum Meaning<'a> {
    /// A change that does not concern this service.
    Nothing,
    /// A document of a source was written.
    Operation(Operation),
    /// A subscription was made or changed. There is no document if the collection was made without images, or if the
    /// image is gone already: then the subscription has to be looked up by its key.
    SubscriptionStored {
        document: Option<&'a RawDocument>,
        key: Option<&'a RawDocument>,
    },
    /// A subscription was deleted: its `_id`, as a one-element document.
    SubscriptionDeleted(&'a RawDocument),
    /// A credential was made or changed; without a document as for a subscription.
    CredentialStored {
        kind: CredentialKind,
        document: Option<&'a RawDocument>,
        key: Option<&'a RawDocument>,
    },
    /// A credential was deleted: its `_id`, as a one-element document.
    CredentialDeleted(CredentialKind, &'a RawDocument),
    /// One of this service's collections was dropped or renamed away, and its documents with it.
    CollectionGone(OwnCollection, &'static str),
    /// Another collection took the place of one of this service's (`$out` ends like this too). If it was one of this
    /// service's itself, that one is gone.
    CollectionReplaced {
        replaced: OwnCollection,
        gone: Option<OwnCollection>,
    },
    /// The whole database was dropped. A stream can go on after this.
    Invalidated,
    /// A change that needs no action, but a line in the log.
    Odd(&'static str),
}

impl<'a> RawChange<'a> {
    /// Returns the meaning of a change that is part of `reply`.
    pub(super) fn meaning(&self, reply: &RawDocument) -> Meaning<'a> {
        if let Some(replaced) = self.renamed_to {
            let gone = self.collection;
            return Meaning::CollectionReplaced { replaced, gone };
        }
        match (self.collection, self.operation) {
            (Some(OwnCollection::Events), "insert") => {
                let span = self
                    .full_document
                    .and_then(|event| Span::within(reply, event));
                span.map_or(Meaning::Odd("insert_without_document"), |span| {
                    Meaning::Operation(Operation::event(span))
                })
            }
            (Some(OwnCollection::Subscriptions), "insert" | "replace" | "update") => {
                Meaning::SubscriptionStored {
                    document: self.full_document,
                    key: self.document_key,
                }
            }
            (Some(OwnCollection::Subscriptions), "delete") => self.document_key.map_or(
                Meaning::Odd("delete_without_key"),
                Meaning::SubscriptionDeleted,
            ),
            (Some(OwnCollection::Credentials(kind)), "insert" | "replace" | "update") => {
                Meaning::CredentialStored {
                    kind,
                    document: self.full_document,
                    key: self.document_key,
                }
            }
            (Some(OwnCollection::Credentials(kind)), "delete") => self
                .document_key
                .map_or(Meaning::Odd("delete_without_key"), |key| {
                    Meaning::CredentialDeleted(kind, key)
                }),
            (Some(own), "drop") => Meaning::CollectionGone(own, "drop"),
            (Some(own), "rename") => Meaning::CollectionGone(own, "renamed_away"),
            // A collection of somebody else.
            (None, "drop" | "rename") => Meaning::Nothing,
            (None, "dropDatabase") => Meaning::Odd("dropDatabase"),
            (None, "invalidate") => Meaning::Invalidated,
            _ => Meaning::Odd("other"),
        }
    }
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
        let Meaning::Operation(operation) = raw.meaning(&change) else {
            panic!("it is an event");
        };
        assert_eq!(operation.before, None);
        assert_eq!(operation.after.unwrap().of(&change), Some(document));
    }

    #[test]
    fn a_change_without_a_token_is_undecodable() {
        for change in [doc! {}, doc! {"_id": {"_data": "zz"}}, doc! {"_id": 5}] {
            let change = RawDocumentBuf::try_from(&change).unwrap();
            assert!(RawChange::decode(&change).is_err());
        }
    }
}
