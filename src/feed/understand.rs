//! What a change means to the router.

use bson::RawDocumentBuf;

use super::{
    Reading,
    change::{OwnCollection, RawChange, range_in},
};
use crate::{
    router::{Change, ChangeKind, compile_off_thread},
    subscription::DocumentKey,
};

/// What is to be done about a change.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Nothing.
    Nothing,
    /// The router applies it.
    Change(ChangeKind),
    /// All subscriptions were replaced at once, and have to be loaded.
    Replaced,
}

impl Reading<'_> {
    /// What a change means, which is part of `reply`.
    pub(super) async fn understand(&self, raw: &RawChange<'_>, reply: &[u8]) -> Meaning {
        // A collection was put in the place of one of ours (`$out` ends like this too).
        if let Some(ours) = raw.renamed_to {
            self.feed.metrics.feed.oddity("renamed_onto");
            self.repairs.want();
            return match ours {
                OwnCollection::Subscriptions => Meaning::Replaced,
                // One of ours may have become another.
                OwnCollection::Events | OwnCollection::Positions => match raw.collection {
                    Some(gone) => self.gone(gone, "renamed_away"),
                    None => Meaning::Nothing,
                },
            };
        }
        match (raw.collection, raw.operation) {
            (Some(OwnCollection::Events), "insert") => match raw.full_document {
                Some(document) => {
                    self.tell_undated(raw, document);
                    Meaning::Change(ChangeKind::Event(range_in(reply, document.as_bytes())))
                }
                None => self.odd("insert_without_document"),
            },
            (Some(OwnCollection::Subscriptions), "insert" | "replace" | "update") => {
                self.upserted(raw).await
            }
            (Some(OwnCollection::Subscriptions), "delete") => match raw.document_key {
                Some(key) => Meaning::Change(ChangeKind::Deleted(key.to_owned())),
                None => self.odd("delete_without_key"),
            },
            (Some(ours), "drop") => self.gone(ours, "drop"),
            (Some(ours), "rename") => self.gone(ours, "renamed_away"),
            // Of a collection that is not ours.
            (None, "drop" | "rename") => Meaning::Nothing,
            (None, "dropDatabase") => self.odd("dropDatabase"),
            (None, "invalidate") => {
                // The whole database was dropped; a stream can go on after this.
                self.repairs.want();
                self.odd("invalidate")
            }
            _ => self.odd("other"),
        }
    }

    fn odd(&self, operation: &'static str) -> Meaning {
        tracing::info!(operation, "an unusual change");
        self.feed.metrics.feed.oddity(operation);
        Meaning::Nothing
    }

    /// One of our collections was dropped or renamed away. Its documents are gone with it; what was
    /// set up for it (validator, indexes, images) is set up again.
    fn gone(&self, ours: OwnCollection, operation: &'static str) -> Meaning {
        tracing::warn!(collection = ?ours, operation, "a collection of ours is gone");
        self.feed.metrics.feed.oddity(operation);
        self.repairs.want();
        match ours {
            OwnCollection::Subscriptions => Meaning::Change(ChangeKind::AllDeleted),
            OwnCollection::Events => Meaning::Nothing,
            OwnCollection::Positions => Meaning::Change(ChangeKind::PositionsLost),
        }
    }

    /// A subscription was made or changed; its document is to be compiled.
    pub(super) async fn upserted(&self, raw: &RawChange<'_>) -> Meaning {
        let document = match raw.full_document {
            Some(document) => document.to_owned(),
            // No image: the collection was recreated without them, or the image is gone already.
            None => match self.look_up(raw).await {
                Some(document) => document,
                None => return Meaning::Nothing,
            },
        };
        Meaning::Change(ChangeKind::Stored(document))
    }

    /// The changes, with subscriptions that were made or changed as what is to be applied of them. Their
    /// filters are compiled elsewhere, together; the order stays.
    pub(super) async fn compiled(&self, mut changes: Vec<Change>) -> Vec<Change> {
        let mut documents = Vec::new();
        for change in &mut changes {
            if let ChangeKind::Stored(document) = &mut change.kind {
                documents.push(std::mem::take(document));
            }
        }
        if documents.is_empty() {
            return changes;
        }
        let read = compile_off_thread(documents, self.feed.limits.clone()).await;
        let stored = |change: &&mut Change| matches!(change.kind, ChangeKind::Stored(_));
        for (change, compiled) in changes.iter_mut().filter(stored).zip(read) {
            change.kind = ChangeKind::Upserted(Box::new(compiled));
        }
        changes
    }

    /// The document as it is now, which is at least as new as the change. `None` if it is gone
    /// meanwhile (its delete follows), or nothing that could be looked up. Nothing can follow until
    /// the database answers: the order would be lost.
    async fn look_up(&self, raw: &RawChange<'_>) -> Option<RawDocumentBuf> {
        self.feed.metrics.feed.oddity("update_without_image");
        let key = DocumentKey::of(raw.document_key?);
        let mut pause = self.pause();
        loop {
            match self.feed.store.find_stored(&key).await {
                Ok(read) => return read.document,
                Err(error) => {
                    tracing::warn!(%error, "a changed subscription cannot be read yet");
                    self.cut();
                    pause.wait().await;
                }
            }
        }
    }
}
