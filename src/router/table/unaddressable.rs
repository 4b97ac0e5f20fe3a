//! Stored documents that no id addresses.
//!
//! A document has no id if its `_id` is neither a string nor an `ObjectId`. If a string and an `ObjectId` have the
//! same digits, the string is the subscription, whichever came first: every node can tell that of any two documents
//! at any time. The other document is set aside here, and takes over when the string is gone.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;

use crate::subscription::{DocumentKey, Subscription, object_id};

/// The fault of an `ObjectId` that is not the subscription.
const TAKEN: &str = "#/_id: another document has this id as a string; that one is the subscription";

/// The documents that are set aside.
#[derive(Debug, Default)]
pub(super) struct Unaddressable(BTreeMap<DocumentKey, SetAside>);

/// One document that is set aside.
#[derive(Debug)]
pub(super) struct SetAside {
    fault: Box<str>,
    pub(super) tenant: Option<Box<str>>,
    successor: Option<Successor>,
}

/// A document that may take over an id.
#[derive(Clone, Debug)]
pub(in super::super) struct Successor {
    pub(in super::super) document: RawDocumentBuf,
    /// True if there was no room for more of it than its id.
    pub(in super::super) withheld: bool,
}

impl Unaddressable {
    /// Sets a document aside, or no more than its id if it is `withheld`. None of this key is here.
    pub(super) fn insert(&mut self, subscription: &Subscription, withheld: bool) {
        let key = subscription.key();
        let tenant = subscription.tenant().map(Into::into);
        let aside = if matches!(key, DocumentKey::Other(_)) {
            let fault = subscription.fault.clone().unwrap_or_default();
            SetAside {
                fault,
                tenant,
                successor: None,
            }
        } else {
            let document = if withheld {
                subscription.clone().reduced_to_id(TAKEN).document
            } else {
                subscription.document.clone()
            };
            SetAside {
                fault: TAKEN.into(),
                tenant,
                successor: Some(Successor { document, withheld }),
            }
        };
        self.0.insert(key, aside);
    }

    /// Returns the bytes of the document of this key, if it is held whole.
    pub(super) fn held_bytes(&self, key: &DocumentKey) -> Option<usize> {
        let successor = self.0.get(key)?.successor.as_ref()?;
        (!successor.withheld).then_some(successor.document.as_bytes().len())
    }

    /// Forgets a document, and returns it if it was here.
    pub(super) fn remove(&mut self, key: &DocumentKey) -> Option<SetAside> {
        self.0.remove(key)
    }

    /// Returns the fault of the document of this key, if it is here.
    pub(super) fn fault(&self, key: &DocumentKey) -> Option<&str> {
        // There is nearly always nothing.
        (!self.0.is_empty()).then_some(())?;
        self.0.get(key).map(|aside| &*aside.fault)
    }

    /// Returns the document that takes over this id. The caller removes it then.
    pub(super) fn successor(&self, id: &str) -> Option<Successor> {
        (!self.0.is_empty()).then_some(())?;
        self.0.get(&taken(id)?)?.successor.clone()
    }
}

fn taken(id: &str) -> Option<DocumentKey> {
    object_id(id).map(DocumentKey::ObjectId)
}
