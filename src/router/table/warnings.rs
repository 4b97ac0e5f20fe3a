//! Warnings about documents for the log, each given once.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::subscription::{DocumentKey, Subscription};

/// Warnings that are remembered, so that none is given twice.
const MAX_REMEMBERED: usize = 10_000;
/// Warnings that wait to be logged. Of further ones only the number is.
const MAX_DUE: usize = 100;

/// The warnings about the documents of a table.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    given: HashSet<u64>,
    due: Vec<(u64, Warning)>,
    more: usize,
}

#[derive(Debug)]
enum Warning {
    Invalid { key: DocumentKey, reason: Box<str> },
    Unknown { key: DocumentKey, field: String },
}

impl Warnings {
    /// Notes the fault of a document, and its unknown fields.
    pub(super) fn see(&mut self, subscription: &Subscription, fault: Option<&str>) {
        if let Some(reason) = fault {
            let key = subscription.key();
            let mark = xxh3_64(format!("{key:?} {reason}").as_bytes());
            let reason = reason.into();
            self.note(mark, || Warning::Invalid { key, reason });
        }
        // A field is reported once, whichever documents have it.
        for field in subscription.unknown_fields() {
            let mark = xxh3_64(field.as_bytes());
            let key = || subscription.key();
            self.note(mark, || Warning::Unknown { key: key(), field });
        }
    }

    fn note(&mut self, mark: u64, notice: impl FnOnce() -> Warning) {
        if self.given.contains(&mark) {
            return;
        }
        if self.given.len() < MAX_REMEMBERED {
            self.given.insert(mark);
        }
        if self.due.len() < MAX_DUE {
            self.due.push((mark, notice()));
        } else {
            self.more += 1;
        }
    }

    /// Takes over the warnings that a table before this one has given.
    pub(super) fn continue_from(&mut self, before: Self) {
        self.due.retain(|(mark, _)| !before.given.contains(mark));
        self.given.extend(before.given);
    }

    /// Logs the warnings that wait.
    pub(super) fn log(&mut self) {
        for (_, notice) in self.due.drain(..) {
            match notice {
                Warning::Invalid { key, reason } => {
                    tracing::warn!(subscription = %key, %reason, "a subscription is invalid");
                }
                Warning::Unknown { key, field } => tracing::warn!(
                    subscription = %key,
                    field,
                    "a subscription has an unknown field; is it misspelt?"
                ),
            }
        }
        if self.more > 0 {
            let more = std::mem::take(&mut self.more);
            tracing::warn!(
                more,
                "further problems with subscriptions are not logged; see status=invalid"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::Limits, subscription::CompiledSubscription};
    use bson::{Document, RawDocumentBuf, doc};

    fn see(warnings: &mut Warnings, document: &Document) {
        let document = RawDocumentBuf::try_from(document).unwrap();
        let read = CompiledSubscription::compile(document, &Limits::default()).subscription;
        let fault = read.fault.clone();
        warnings.see(&read, fault.as_deref());
    }

    #[test]
    fn each_fault_and_each_unknown_field_is_said_once() {
        let mut warnings = Warnings::default();
        for _ in 0..2 {
            see(&mut warnings, &doc! {"_id": "a", "filer": 1});
            see(&mut warnings, &doc! {"_id": "b", "filter": {}, "filer": 1});
        }
        assert_eq!(warnings.due.len(), 2);
        warnings.log();
        see(&mut warnings, &doc! {"_id": "a", "filter": 5});
        assert_eq!(warnings.due.len(), 1, "another reason");
        let mut reloaded = Warnings::default();
        see(&mut reloaded, &doc! {"_id": "a", "filter": 5});
        see(&mut reloaded, &doc! {"_id": "c", "filter": 5});
        reloaded.continue_from(warnings);
        assert_eq!(reloaded.due.len(), 1);
        see(&mut reloaded, &doc! {"_id": "a", "filer": 1});
        assert_eq!(reloaded.due.len(), 1);
    }

    #[test]
    fn of_very_many_only_some_are_named() {
        let mut warnings = Warnings::default();
        for n in 0..i32::try_from(2 * MAX_REMEMBERED).unwrap() {
            see(&mut warnings, &doc! {"_id": n});
        }
        assert_eq!(warnings.due.len(), MAX_DUE);
        assert_eq!(warnings.given.len(), MAX_REMEMBERED);
        assert_eq!(warnings.more, 2 * MAX_REMEMBERED - MAX_DUE);
    }
}
