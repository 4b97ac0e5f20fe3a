//! Stored documents that are no subscription of any id.
//!
//! A document whose `_id` is neither a string nor an `ObjectId` has no id. Of a string and an `ObjectId` of the
//! same digits the string is the subscription, whichever came first: every node can say so of any two documents, at
//! any time. The other one is kept here, and takes over when the string is gone.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;

use crate::subscription::{Key, Subscription, object_id};

/// Why an `ObjectId` is not the subscription.
const TAKEN: &str = "#/_id: another document has this id as a string, and is the subscription";

/// The documents that are kept apart.
#[derive(Debug, Default)]
pub(super) struct Apart(BTreeMap<Key, Set>);

/// One of them.
#[derive(Debug)]
struct Set {
    fault: Box<str>,
    /// The document, where it may take over.
    heir: Option<RawDocumentBuf>,
}

impl Apart {
    /// Keeps a document; true if none of this key was kept before.
    pub(super) fn insert(&mut self, subscription: &Subscription) -> bool {
        let key = subscription.key();
        let set = if matches!(key, Key::Other(_)) {
            let fault = subscription.fault.clone().unwrap_or_default();
            Set { fault, heir: None }
        } else {
            let heir = Some(subscription.document.clone());
            let fault = TAKEN.into();
            Set { fault, heir }
        };
        self.0.insert(key, set).is_none()
    }

    /// Forgets a document; true if it was kept.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key).is_some()
    }

    /// Why the document of this key is kept apart, if it is.
    pub(super) fn fault(&self, key: &Key) -> Option<&str> {
        // Nearly always there is nothing.
        (!self.0.is_empty()).then_some(())?;
        self.0.get(key).map(|set| &*set.fault)
    }

    /// The document that takes over this id; it is to be removed then.
    pub(super) fn heir(&self, id: &str) -> Option<RawDocumentBuf> {
        (!self.0.is_empty()).then_some(())?;
        self.0.get(&taken(id)?)?.heir.clone()
    }
}

fn taken(id: &str) -> Option<Key> {
    object_id(id).map(Key::ObjectId)
}
