//! The parser of query documents.
//!
//! It refuses everything that a MongoDB server refuses, and names the operator, the place and the reason.

mod array;
mod at;
mod field;
mod operator;
mod regex;
mod scalar;

use at::{At, refuse};

use super::ast::{AndSyntax, Clause, Comparison, Node, Path, Test};
use super::error::FilterError;
use super::extent::{Extent, TooBig};
use super::limits::Limits;
use super::number::Number;
use super::value::{Elements, Value};

/// Operators that a server has, but that need more than the document at hand.
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

/// Operators in place of field names. `$ref`, `$id` and `$db`, of database references, are among them: they are
/// compared like fields.
const PATHLESS: &[&str] = &[
    "$and",
    "$or",
    "$nor",
    "$comment",
    "$alwaysTrue",
    "$alwaysFalse",
    "$ref",
    "$id",
    "$db",
    "$expr",
    "$jsonSchema",
    "$sampleRate",
    "$text",
    "$where",
];

type Parsed<T> = Result<T, FilterError>;

/// Parses a whole filter.
pub(super) fn parse(filter: &[u8], limits: &Limits) -> Parsed<(Node, Extent)> {
    let at = At::root();
    let mut parser = Parser {
        limits,
        extent: Extent {
            bytes: filter.len(),
            ..Extent::default()
        },
    };
    within(parser.extent.check_bytes(limits), &at)?;
    let root = parser.document(filter, &at)?;
    Ok((root, parser.extent))
}

struct Parser<'l> {
    limits: &'l Limits,
    /// The extent of what was read so far.
    extent: Extent,
}

impl Parser<'_> {
    /// Parses a query document: operators and fields, all of which must hold.
    fn document(&mut self, document: &[u8], at: &At<'_>) -> Parsed<Node> {
        self.check_depth(at)?;
        // Nearly always the exact capacity: shrinking costs more than counting.
        let mut nodes = Vec::with_capacity(Elements::new(document).count());
        let mut elements = Elements::new(document);
        for (name, value) in &mut elements {
            let name = text(name, at)?;
            let at = at.then(name);
            if name.starts_with('$') {
                nodes.extend(self.top_level(name, value, &at)?);
            } else {
                self.field(name, value, &at, &mut nodes)?;
            }
        }
        check_whole(&elements, at)?;
        Ok(all(nodes))
    }

    /// Parses an operator in place of a field name.
    fn top_level(&mut self, name: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Option<Node>> {
        self.count(at)?;
        Ok(Some(match name {
            "$comment" => {
                self.check_value(value, at)?;
                return Ok(None);
            }
            "$alwaysTrue" => Node::Always(check_one(name, value, at, true)?),
            "$alwaysFalse" => Node::Always(check_one(name, value, at, false)?),
            "$ref" | "$id" | "$db" => {
                let test = Test::Compare(Comparison::Eq, self.operand(None, value, at)?);
                Node::Clause(Clause {
                    path: Path::new(name),
                    test,
                    implicit: true,
                })
            }
            "$and" => Node::And(AndSyntax::Operator, self.branches(name, value, at)?),
            "$or" => Node::Or(self.branches(name, value, at)?),
            "$nor" => Node::Nor(self.branches(name, value, at)?),
            _ => return Err(unknown(name, at, "a top-level operator")),
        }))
    }

    /// Parses the branches of `$and`, `$or` or `$nor`.
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

    /// Checks that a value is well-formed to its ends and does not nest too deep.
    fn check_value(&mut self, value: Value<'_>, at: &At<'_>) -> Parsed<()> {
        if !value.is_document() && !value.is_array() {
            return Ok(());
        }
        self.check_depth(at)?;
        let mut elements = value.elements();
        for (name, value) in &mut elements {
            self.check_value(value, &at.then(text(name, at)?))?;
        }
        check_whole(&elements, at)
    }

    /// Counts one condition or logical operator.
    fn count(&mut self, at: &At<'_>) -> Parsed<()> {
        self.extent.clauses += 1;
        within(self.extent.check_clauses(self.limits), at)
    }

    /// Counts the level that a document or an array at this place takes.
    fn check_depth(&mut self, at: &At<'_>) -> Parsed<()> {
        self.extent.levels = self.extent.levels.max(at.depth() + 1);
        within(self.extent.check_levels(self.limits), at)
    }
}

/// Refuses what is too big at this place.
fn within(measured: Result<(), TooBig>, at: &At<'_>) -> Parsed<()> {
    measured.map_err(|too_big| refuse(too_big.operator, at, too_big.reason))
}

/// Checks an operator whose only argument is 1, and returns its meaning.
fn check_one(name: &str, value: Value<'_>, at: &At<'_>, meaning: bool) -> Parsed<bool> {
    match Number::of(value).and_then(Number::exact_int) {
        Some(1) => Ok(meaning),
        _ => Err(refuse(
            Some(name),
            at,
            format!("{name} needs the integer 1."),
        )),
    }
}

/// Makes a conjunction, or returns its only member.
fn all(mut nodes: Vec<Node>) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            Node::And(AndSyntax::Implicit, nodes.into())
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
    std::str::from_utf8(name).map_err(|_| refuse(None, at, "A field name in it is not UTF-8."))
}

fn check_whole(elements: &Elements<'_>, at: &At<'_>) -> Parsed<()> {
    if elements.is_broken() {
        return Err(refuse(None, at, "It is not well-formed BSON."));
    }
    Ok(())
}
