//! Publishing under a policy: the fields that it sets, and the judgement of an event as it will be stored.

use bson::{RawDocument, RawDocumentBuf};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::SOURCE;
use super::bound::BoundPolicy;
use super::stamp::{BoundStamp, StampFault};
use crate::filter::Explanation;

/// The part of a policy that is about publishing, with a caller's claims in it.
#[derive(Clone, PartialEq, Debug)]
pub struct BoundPublishing {
    stamp: BoundStamp,
    judge: BoundPolicy,
    source: Option<Box<str>>,
}

/// The reason why an event may not be published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishRefusal {
    /// The source is not the caller's own.
    #[error("source must be {allowed}, as the policy names no other")]
    Source {
        /// The only source that the caller may use.
        allowed: Box<str>,
    },
    /// The event is outside of the policy.
    #[error("the policy does not permit this event{}", .field.as_deref().map(|field| format!(": {field} has no permitted value")).unwrap_or_default())]
    NotPermitted {
        /// The field that alone is the reason, if there is one.
        field: Option<Box<str>>,
    },
}

/// The characters of a tenant's name that its source has in an escaped form: all that are not unreserved in RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl BoundPublishing {
    /// `tenant` is the one whose own source is the only one.
    pub(super) fn new(stamp: BoundStamp, judge: BoundPolicy, tenant: Option<&str>) -> Self {
        let source = tenant.map(|name| {
            let name = utf8_percent_encode(name, ESCAPED);
            format!("/tenants/{name}").into()
        });
        Self {
            stamp,
            judge,
            source,
        }
    }

    /// Returns the source of events that name none: the stamp's, or the tenant's own. Of the two, only the first leaves it
    /// to the policy which others pass.
    pub fn default_source(&self) -> Option<String> {
        let source = self.source.as_deref().or(self.stamp.text(SOURCE));
        source.map(str::to_owned)
    }

    /// Sets the fields that the policy stamps where they are absent. Another value is refused.
    pub fn stamp(&self, event: &mut RawDocumentBuf) -> Result<(), StampFault> {
        self.stamp.apply(event)
    }

    /// Judges an event in the form in which it will be stored.
    pub fn judge(&self, event: &RawDocument) -> Result<(), PublishRefusal> {
        if let Some(allowed) = &self.source
            && event.get_str(SOURCE).ok() != Some(&**allowed)
        {
            let allowed = allowed.clone();
            return Err(PublishRefusal::Source { allowed });
        }
        if self.judge.permits(event) {
            return Ok(());
        }
        let field = failing_field(&self.judge.filter().explain(event));
        Err(PublishRefusal::NotPermitted { field })
    }
}

/// Returns the field of the first condition that alone is enough to fail.
fn failing_field(explanation: &Explanation) -> Option<Box<str>> {
    let mut segments = explanation.pointer.split('/').skip(1);
    let field = segments.find(|segment| {
        !segment.starts_with('$') && !segment.bytes().all(|byte| byte.is_ascii_digit())
    });
    if let Some(field) = field {
        return Some(field.replace("~1", "/").replace("~0", "~").into());
    }
    let last = explanation.pointer.rsplit('/').next();
    if matches!(last, Some("$or" | "$nor")) {
        return None;
    }
    let mut failing = explanation.parts.iter().filter(|part| !part.holds);
    failing.find_map(failing_field)
}
