//! From a query document to a [`Node`], or to the reason why not.
//!
//! What a MongoDB server refuses is refused here, with the operator, the place and a sentence.

mod at;
mod field;

use at::{At, refuse};

use super::ast::{Conjunction, Node};
use super::error::FilterError;
use super::limits::Limits;
use super::value::{Elements, Value};

/// Operators that a server knows but that need more than the document at hand.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("$where", "it runs JavaScript on the server"),
    ("$expr", "aggregation expressions are not supported"),
    ("$jsonSchema", "JSON Schema is not supported"),
    ("$text", "it needs a text index"),
    ("$near", "geospatial queries are not supported"),
    ("$nearSphere", "geospatial queries are not supported"),
    ("$geoNear", "geospatial queries are not supported"),
    ("$within", "geospatial queries are not supported"),
    ("$geoWithin", "geospatial queries are not supported"),
    ("$geoIntersects", "geospatial queries are not supported"),
    ("$sampleRate", "it picks documents at random"),
];

type Parsed<T> = Result<T, FilterError>;

/// Parses a whole filter.
pub(super) fn parse(filter: &[u8], limits: &Limits) -> Parsed<Node> {
    let at = At::root();
    if filter.len() > limits.filter_bytes {
        let reason = format!("The filter is larger than {} bytes.", limits.filter_bytes);
        return Err(refuse(None, &at, reason));
    }
    Parser { limits, clauses: 0 }.document(filter, &at)
}

struct Parser<'l> {
    limits: &'l Limits,
    clauses: usize,
}

impl Parser<'_> {
    /// A query document: operators and fields, all of which must hold.
    fn document(&mut self, document: &[u8], at: &At<'_>) -> Parsed<Node> {
        self.check_depth(at)?;
        let mut nodes = Vec::new();
        let mut elements = Elements::new(document);
        for (name, value) in &mut elements {
            let name = text(name, at)?;
            let at = at.then(name);
            match name.starts_with('$') {
                true => nodes.extend(self.top_level(name, value, &at)?),
                false => self.field(name, value, &at, &mut nodes)?,
            }
        }
        check_whole(&elements, at)?;
        Ok(all(nodes))
    }

    /// An operator that stands where a field name could.
    fn top_level(&mut self, name: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Option<Node>> {
        self.count(at)?;
        Ok(Some(match name {
            "$and" => Node::And(Conjunction::Operator, self.branches(name, value, at)?),
            "$or" => Node::Or(self.branches(name, value, at)?),
            "$nor" => Node::Nor(self.branches(name, value, at)?),
            _ => return Err(unknown(name, at, "a top-level operator")),
        }))
    }

    /// The alternatives of `$and`, `$or` or `$nor`.
    fn branches(&mut self, name: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Box<[Node]>> {
        if !value.is_array() || value.elements().next().is_none() {
            return Err(refuse(
                Some(name),
                at,
                format!("{name} needs an array that is not empty."),
            ));
        }
        let mut nodes = Vec::new();
        let mut elements = value.elements();
        for (index, (_, branch)) in (&mut elements).enumerate() {
            let index = index.to_string();
            let at = at.then(&index);
            if !branch.is_document() {
                return Err(refuse(
                    Some(name),
                    &at,
                    format!("{name} takes documents only."),
                ));
            }
            nodes.push(self.document(branch.bytes(), &at)?);
        }
        check_whole(&elements, at)?;
        Ok(nodes.into())
    }

    /// Counts one condition or logical operator.
    fn count(&mut self, at: &At<'_>) -> Parsed<()> {
        self.clauses += 1;
        if self.clauses > self.limits.clauses {
            let reason = format!(
                "The filter has more than {} conditions.",
                self.limits.clauses
            );
            return Err(refuse(None, at, reason));
        }
        Ok(())
    }

    fn check_depth(&self, at: &At<'_>) -> Parsed<()> {
        if at.depth() > self.limits.depth {
            let reason = format!("The filter nests deeper than {} levels.", self.limits.depth);
            return Err(refuse(None, at, reason));
        }
        Ok(())
    }
}

/// A conjunction, or its only member.
fn all(mut nodes: Vec<Node>) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            Node::And(Conjunction::Implicit, nodes.into())
        }
    }
}

fn unknown(name: &str, at: &At<'_>, what: &str) -> FilterError {
    let reason = match UNSUPPORTED.iter().find(|(known, _)| *known == name) {
        Some((_, why)) => format!("{name} cannot be used in a subscription: {why}."),
        None => format!("{name} is not known as {what}."),
    };
    refuse(Some(name), at, reason)
}

fn text<'a>(name: &'a [u8], at: &At<'_>) -> Parsed<&'a str> {
    std::str::from_utf8(name).map_err(|_| refuse(None, at, "A name in it is not UTF-8."))
}

fn check_whole(elements: &Elements<'_>, at: &At<'_>) -> Parsed<()> {
    match elements.is_broken() {
        true => Err(refuse(None, at, "It is not well-formed BSON.")),
        false => Ok(()),
    }
}
