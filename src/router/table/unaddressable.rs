//! Stored documents that are no subscription of any id.
//!
//! A document whose `_id` is neither a string nor an `ObjectId` has no id. Of a string and an `ObjectId` of the
//! same digits the string is the subscription, whichever came first: every node can say so of any two documents, at
//! any time. The other one is kept here, and takes over when the string is gone.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;

use crate::subscription::{DocumentKey, Subscription, object_id};

/// Why an `ObjectId` is not the subscription.
const TAKEN: &str = "#/_id: another document has this id as a string; that one is the subscription";

/// The documents that are set aside.
#[derive(Debug, Default)]
pub(super) struct Unaddressable(BTreeMap<DocumentKey, Set>);

/// One of them.
#[derive(Debug)]
struct Set {
    fault: Box<str>,
    successor: Option<Successor>,
}

/// A document that may take over.
#[derive(Clone, Debug)]
pub(in super::super) struct Successor {
    /// The document.
    pub(in super::super) document: RawDocumentBuf,
    /// Whether there was no room for more of it than its id.
    pub(in super::super) withheld: bool,
}

impl Unaddressable {
    /// Keeps a document, or no more than its id if it is `withheld`; true if none of this key was kept before.
    pub(super) fn insert(&mut self, subscription: &Subscription, withheld: bool) -> bool {
        let key = subscription.key();
        let set = if matches!(key, DocumentKey::Other(_)) {
            let fault = subscription.fault.clone().unwrap_or_default();
            Set {
                fault,
                successor: None,
            }
        } else {
            let document = if withheld {
                subscription.clone().reduced_to_id(TAKEN).document
            } else {
                subscription.document.clone()
            };
            Set {
                fault: TAKEN.into(),
                successor: Some(Successor { document, withheld }),
            }
        };
        self.0.insert(key, set).is_none()
    }

    /// Bytes of the document of this key, if it is held.
    pub(super) fn held_bytes(&self, key: &DocumentKey) -> Option<usize> {
        let successor = self.0.get(key)?.successor.as_ref()?;
        (!successor.withheld).then_some(successor.document.as_bytes().len())
    }

    /// Forgets a document; true if it was kept.
    pub(super) fn remove(&mut self, key: &DocumentKey) -> bool {
        self.0.remove(key).is_some()
    }

    /// Why the document of this key is set aside, if it is.
    pub(super) fn fault(&self, key: &DocumentKey) -> Option<&str> {
        // Nearly always there is nothing.
        (!self.0.is_empty()).then_some(())?;
        self.0.get(key).map(|set| &*set.fault)
    }

    /// The document that takes over this id; it is to be removed then.
    pub(super) fn successor(&self, id: &str) -> Option<Successor> {
        (!self.0.is_empty()).then_some(())?;
        self.0.get(&taken(id)?)?.successor.clone()
    }
}

fn taken(id: &str) -> Option<DocumentKey> {
    object_id(id).map(DocumentKey::ObjectId)
}
