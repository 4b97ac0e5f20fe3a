//! A dry run of a policy: what a caller with certain claims would get, and why.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::{Value, json};

use super::shown::place;
use crate::{
    access::{BoundPolicy, Claims, Policy},
    extjson::write_value,
    filter::Filter,
    http::{edge::problem::Problem, resources::matching::explanation},
};

/// A caller, and an event that it may get.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) tenant: Option<Box<str>>,
    pub(super) claims: Claims,
    pub(super) event: RawDocumentBuf,
    /// The filter of the caller, if one is to be tried too.
    pub(super) filter: Option<Filter>,
    /// The source of live queries whose entry judges; `None`: what may be received of events.
    pub(super) source: Option<String>,
}

impl Trial {
    /// Returns the answer for a stored policy.
    pub(super) fn on(&self, document: &RawDocument) -> Result<String, Problem> {
        let policy = match Policy::read(document) {
            Ok(policy) => policy,
            Err(fault) => return Ok(nothing("error", &place(&fault.pointer, &fault.reason))),
        };
        let (tenant, claims) = (self.tenant.as_deref(), &self.claims);
        let bound = match &self.source {
            None => policy.bind(tenant, claims).map(Some),
            Some(source) => policy.bind_source(source, tenant, claims),
        };
        match bound {
            Ok(Some(bound)) => self.explain(&bound),
            Ok(None) => Ok(nothing("unsatisfied", &json!({"source": self.source}))),
            Err(unsatisfied) => {
                let claim = json!({"claim": unsatisfied.claim});
                Ok(nothing("unsatisfied", &claim))
            }
        }
    }

    fn explain(&self, bound: &BoundPolicy) -> Result<String, Problem> {
        let event = &self.event;
        let holds = bound.permits(event);
        let wanted = self.filter.as_ref();
        let matches = holds && wanted.is_none_or(|filter| filter.matches(event));
        let mut text = format!(r#"{{"matches":{matches},"policy":{{"holds":{holds},"explain":"#);
        explanation::write(&bound.explain(event), "#/query", &mut text)?;
        text.push('}');
        if let Some(filter) = wanted {
            text.push_str(r#","explain":"#);
            explanation::write(&filter.explain(event), "#/filter", &mut text)?;
        }
        text.push_str(r#","query":"#);
        let query = RawDocumentBuf::try_from(&bound.query())?;
        write_value(RawBsonRef::Document(&query), &mut text)?;
        text.push('}');
        Ok(text)
    }
}

/// Returns the answer where nothing matches, whatever the event.
fn nothing(why: &str, reason: &Value) -> String {
    json!({"matches": false, why: reason}).to_string()
}
