//! A subscription with its filter compiled.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bson::{RawDocument, RawDocumentBuf};

use super::{Status, Subscription, fields::StoredFields};
use crate::{
    access::Policies,
    config,
    filter::{Filter, Limits},
};

/// The fault of a subscription whose filter made this service panic.
pub const FILTER_PANICKED: &str = "#/filter: the service failed to use it";

/// A stored subscription with its filter compiled. Every node computes it for itself from the document.
#[derive(Debug)]
pub struct CompiledSubscription {
    /// The subscription as stored.
    pub subscription: Subscription,
    /// `None` if the subscription is invalid.
    filter: Option<Filter>,
}

impl CompiledSubscription {
    /// Reads a stored document and compiles its filter. Never fails: a fault makes the subscription invalid.
    pub fn compile(document: RawDocumentBuf, limits: &Limits) -> Self {
        let (subscription, filter) = read(document, |filter| compile(filter, limits));
        Self {
            subscription,
            filter,
        }
    }

    /// Narrows the filter by the policy that the subscription is under. If nobody can say how, the subscription is invalid.
    #[must_use]
    pub(crate) fn narrowed(mut self, policies: &Policies) -> Self {
        match policies.narrow(&self.subscription.document, self.filter.take()) {
            Ok(filter) => self.filter = filter,
            Err(unbound) => self.blame(unbound.fault()),
        }
        self
    }

    /// Returns the filter; `None` if the subscription is invalid.
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Splits off the filter to match events with: none if the subscription is paused or invalid.
    pub fn into_parts(self) -> (Subscription, Option<Filter>) {
        let filter = self.filter.filter(|_| !self.subscription.paused);
        (self.subscription, filter)
    }

    /// Makes the subscription invalid. A fault that it has already stays.
    pub fn blame(&mut self, fault: Box<str>) {
        self.subscription.fault.get_or_insert(fault);
        self.filter = None;
    }

    /// Returns the fault that makes it invalid, if there is one.
    pub fn error(&self) -> Option<&str> {
        self.subscription.fault.as_deref()
    }

    /// Returns the state of the subscription.
    pub fn status(&self) -> Status {
        self.subscription.status()
    }
}

impl Subscription {
    /// Reads a stored document whose filter is known to compile: a write compiles it once.
    pub fn with_compiled_filter(document: RawDocumentBuf) -> Self {
        let (subscription, _) = read(document, |_| Ok(()));
        subscription
    }

    /// Adds the fault of a subscription that nobody can narrow.
    #[must_use]
    pub(crate) fn under(mut self, policies: &Policies) -> Self {
        if let Err(unbound) = policies.of_document(&self.document) {
            self.fault.get_or_insert(unbound.fault());
        }
        self
    }
}

fn read<F>(
    document: RawDocumentBuf,
    compile: impl FnOnce(&RawDocument) -> Result<F, Box<str>>,
) -> (Subscription, Option<F>) {
    let mut mended = RawDocumentBuf::new();
    let fields = StoredFields::read(&document, &mut mended);
    let (filter, fault) = match fields.filter().and_then(compile) {
        Ok(filter) => (Some(filter), None),
        Err(fault) => (None, Some(fault)),
    };
    let StoredFields {
        paused,
        durable,
        expires_at,
        has_unknown,
        ..
    } = fields;
    let subscription = Subscription {
        document,
        paused,
        durable,
        expires_at,
        has_unknown,
        fault,
    };
    (subscription, filter)
}

/// Compiles a filter. A panic is a fault of ours, and is blamed on this filter alone.
fn compile(filter: &RawDocument, limits: &Limits) -> Result<Filter, Box<str>> {
    let parsing = AssertUnwindSafe(|| Filter::parse_with(filter, limits));
    match catch_unwind(parsing) {
        Ok(Ok(filter)) => Ok(filter),
        Ok(Err(error)) => Err(format!("#/filter{}: {}", error.pointer, error.reason).into()),
        Err(_) => {
            tracing::error!("compiling the filter of a subscription panicked");
            Err(FILTER_PANICKED.into())
        }
    }
}

/// The configured bounds of a filter. They are read here since `filter` knows no configuration: it is fuzzed by
/// itself.
impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Self {
        Self {
            filter_bytes: limits.filter_bytes,
            clauses: limits.filter_clauses,
            list_values: limits.filter_values,
            depth: limits.filter_depth,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::fault;
    use bson::{Document, doc};

    fn compiled(document: &Document) -> CompiledSubscription {
        let document = RawDocumentBuf::try_from(document).unwrap();
        CompiledSubscription::compile(document, &Limits::default())
    }

    #[test]
    fn a_panic_while_a_filter_is_compiled_is_an_error_of_that_filter() {
        let compiled = compiled(&doc! {"_id": "a", "filter": {"x": fault::COMPILED}});
        assert_eq!(compiled.error(), Some(FILTER_PANICKED));
        assert!(compiled.filter().is_none());
    }

    #[test]
    fn only_an_active_subscription_has_a_filter_to_match_events_with() {
        for (status, compiles, matches) in [
            ("active", true, true),
            ("paused", true, false),
            ("?", false, false),
        ] {
            let compiled = compiled(&doc! {"_id": "a", "filter": {}, "status": status});
            assert_eq!(compiled.filter().is_some(), compiles, "{status}");
            assert_eq!(compiled.into_parts().1.is_some(), matches, "{status}");
        }
    }

    #[test]
    fn a_filter_that_was_compiled_before_changes_nothing_else() {
        for document in [
            doc! {"_id": "a", "filter": {"x": 1}},
            doc! {"_id": 5, "filter": {"x": 1}},
        ] {
            let whole = compiled(&document);
            let document = RawDocumentBuf::try_from(&document).unwrap();
            let read = Subscription::with_compiled_filter(document);
            assert_eq!(read.fault.as_deref(), whole.error());
            assert_eq!(read.status(), whole.status());
        }
    }
}
