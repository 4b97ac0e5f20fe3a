//! Row policies: the events that a caller may receive and publish, by its claims.
//!
//! A policy's document is a template in MongoDB's query language. The text `"$claims.NAME"` in the place of a value
//! stands for a claim. It is read once, and bound to claims as often as needed: the claims go in as literals, and the
//! result is a query and a filter that give the same answers.
//!
//! A value in an array meets MongoDB's conditions as one alone does. So every path that a policy asks for refuses
//! arrays, on the way as well as at its end: nobody gets into another tenant's rows by being several tenants.

mod bound;
mod publishing;
mod reader;
mod stamp;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod warnings;

use std::collections::BTreeSet;

use bson::{RawBsonRef, RawDocument};

use self::reader::{Place, members};
use self::stamp::Stamp;
use self::template::Template;
use self::values::Values;
use super::{Claims, SaidQuotas, TENANT};
use crate::extjson::JsonPointer;

pub use self::bound::BoundPolicy;
pub use self::publishing::{BoundPublishing, PublishRefusal};
pub use self::stamp::StampFault;
pub use self::values::Unsatisfied;
pub use self::warnings::Warning;

/// The field of an event that a policy pins, or the caller's tenant does.
const SOURCE: &str = "source";

/// The reason why a policy's document cannot be used. The policy grants nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} {reason}", self.path())]
pub struct Fault {
    /// The place as a JSON Pointer, such as `#/read/tenant` or `#/publish/$or/0/type`.
    pub pointer: String,
    /// The end of a sentence that begins with the place.
    pub reason: String,
}

impl Fault {
    /// Returns the place for people, such as `read.tenant` or `publish.$or.0.type`.
    pub fn path(&self) -> String {
        let place = self.pointer.trim_start_matches("#/").replace('/', ".");
        place.replace("~1", "/").replace("~0", "~")
    }
}

/// Returns the pointer to a member.
fn member(pointer: &str, name: &str) -> String {
    JsonPointer::Key(&JsonPointer::Text(pointer), name).to_string()
}

/// A row policy, as its document says it.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    name: Box<str>,
    read: Template,
    publish: Option<Template>,
    stamp: Stamp,
    sources: Box<[(Box<str>, Template)]>,
    quotas: SaidQuotas,
    claims: BTreeSet<Box<str>>,
}

impl Policy {
    /// Reads a policy's document. Nothing is guessed: a field that is not known, or of the wrong type, is a fault.
    pub fn read(document: &RawDocument) -> Result<Self, Fault> {
        let (mut name, mut read, mut publish) = (None, None, None);
        let (mut stamp, mut sources) = (Stamp::default(), Vec::new());
        let mut quotas = SaidQuotas::default();
        let root = Place::root();
        for (field, value) in members(document, &root)? {
            let place = root.then(field);
            match field {
                "_id" => name = Some(text(value, &place)?),
                "read" => read = Some(Template::read(value, &place)?),
                "publish" => publish = Some(Template::read(value, &place)?),
                "stamp" => stamp = Stamp::read(value, &place)?,
                "sources" => sources = read_sources(value, &place)?,
                "quotas" => quotas = read_quotas(value, &place)?,
                _ => return Err(place.fault("is not a field of a policy")),
            }
        }
        let mut policy = Self {
            name: name.ok_or_else(|| root.then("_id").fault("is missing"))?,
            read: read.ok_or_else(|| root.then("read").fault("is missing"))?,
            publish,
            stamp,
            sources: sources.into(),
            quotas,
            claims: BTreeSet::new(),
        };
        policy.claims = policy.named_claims();
        Ok(policy)
    }

    /// Returns the `_id`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the quotas of its callers' tenants, as far as it says them.
    pub(crate) fn quotas(&self) -> &SaidQuotas {
        &self.quotas
    }

    /// Whether it lets the same events through as another one: they differ in their quotas at most.
    pub(super) fn narrows_like(&self, other: &Self) -> bool {
        let Self {
            quotas: _,
            name,
            read,
            publish,
            stamp,
            sources,
            claims,
        } = self;
        *name == other.name
            && *read == other.read
            && *publish == other.publish
            && *stamp == other.stamp
            && *sources == other.sources
            && *claims == other.claims
    }

    /// Returns the names of all claims that some part of the policy uses, in order; the tenant is not among them.
    pub fn claim_names(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(|name| &**name)
    }

    /// Binds what may be received.
    pub fn bind(&self, tenant: Option<&str>, claims: &Claims) -> Result<BoundPolicy, Unsatisfied> {
        BoundPolicy::new(&self.read, &Values::of(tenant, claims))
    }

    /// Checks that what may be received can be bound.
    pub(crate) fn check(&self, tenant: Option<&str>, claims: &Claims) -> Result<(), Unsatisfied> {
        self.read.check(&Values::of(tenant, claims))
    }

    /// Binds what may be published. Without a part for that, what may be received may be published.
    pub fn bind_publishing(
        &self,
        tenant: Option<&str>,
        claims: &Claims,
    ) -> Result<BoundPublishing, Unsatisfied> {
        let values = Values::of(tenant, claims);
        let judge = self.publish.as_ref().unwrap_or(&self.read);
        let says_source = self.stamp.sets(SOURCE) || judge.constrains(SOURCE);
        Ok(BoundPublishing::new(
            self.stamp.bind(&values)?,
            BoundPolicy::new(judge, &values)?,
            tenant.filter(|_| !says_source),
        ))
    }

    /// Binds what may be received of a source of live queries; `None` if the policy has no entry for it: nothing.
    pub fn bind_source(
        &self,
        name: &str,
        tenant: Option<&str>,
        claims: &Claims,
    ) -> Result<Option<BoundPolicy>, Unsatisfied> {
        let mut sources = self.sources.iter();
        let entry = sources.find(|(source, _)| **source == *name);
        let values = Values::of(tenant, claims);
        let bound = entry.map(|(_, read)| BoundPolicy::new(read, &values));
        bound.transpose()
    }

    /// Whether it lets its callers receive every event.
    pub fn permits_everything(&self) -> bool {
        self.read.is_empty()
    }

    /// Returns what is legal, and perhaps not meant.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut all = Vec::new();
        warnings::of_reading("#/read", &self.read, &mut all);
        if let Some(publish) = &self.publish {
            let pinned = self.stamp.sets(SOURCE) || publish.pins(SOURCE);
            warnings::of_publishing("#/publish", publish, pinned, &mut all);
        }
        for (name, read) in &self.sources {
            let place = member(&member("#/sources", name), "read");
            warnings::of_reading(&place, read, &mut all);
        }
        all
    }

    fn named_claims(&self) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        let sources = self.sources.iter().map(|(_, read)| read);
        let templates = [&self.read].into_iter().chain(&self.publish).chain(sources);
        for template in templates {
            template.visit("", &mut |test| names.extend(test.operand.claims().cloned()));
        }
        names.extend(self.stamp.claims().cloned());
        names.remove(TENANT);
        names
    }
}

fn read_sources(
    value: RawBsonRef<'_>,
    place: &Place<'_>,
) -> Result<Vec<(Box<str>, Template)>, Fault> {
    let mut sources = Vec::new();
    for (name, entry) in members(document_of(value, place)?, place)? {
        let place = place.then(name);
        let mut read = None;
        for (field, value) in members(document_of(entry, &place)?, &place)? {
            let place = place.then(field);
            match field {
                "read" => read = Some(Template::read(value, &place)?),
                _ => return Err(place.fault("is not a field of a source")),
            }
        }
        let read = read.ok_or_else(|| place.then("read").fault("is missing"))?;
        sources.push((name.into(), read));
    }
    Ok(sources)
}

fn read_quotas(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<SaidQuotas, Fault> {
    let quotas = document_of(value, place)?;
    SaidQuotas::read(quotas).map_err(|fault| place.then(&fault.name).fault(fault.reason))
}

fn text(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Box<str>, Fault> {
    match value {
        RawBsonRef::String(text) if !text.is_empty() => Ok(text.into()),
        _ => Err(place.fault("must be a text that is not empty")),
    }
}

fn document_of<'d>(value: RawBsonRef<'d>, place: &Place<'_>) -> Result<&'d RawDocument, Fault> {
    match value {
        RawBsonRef::Document(document) => Ok(document),
        _ => Err(place.fault("must be a document")),
    }
}
