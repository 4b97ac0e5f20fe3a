//! Why a document matches a filter or does not, clause by clause.

use bson::{Bson, RawDocument};

use super::ast::{Clause, Comparison, Conjunction, Negation, Node, Test};
use super::error::push_segment;
use super::path;
use super::value::Value;

/// How many values one clause reports, and how large each may be, in bytes.
const MAX_VALUES: usize = 8;
const MAX_VALUE_BYTES: usize = 1_024;

/// The outcome of one part of a filter. The tree follows the filter as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The part, as a JSON Pointer relative to the filter.
    pub pointer: String,
    /// Whether it held.
    pub holds: bool,
    /// The values at its path in the order they were tried, for a condition on a path. Absent
    /// values are left out, and so are values above 1 KiB and those after the eighth.
    pub saw: Vec<Bson>,
    /// Whether some values were left out of `saw` for their size or number.
    pub truncated: bool,
    /// The parts of a logical operator.
    pub parts: Vec<Explanation>,
}

/// Explains the outcome of a whole filter.
pub(super) fn explain(root: &Node, document: &[u8]) -> Explanation {
    explain_node(
        root,
        document,
        Place {
            pointer: String::new(),
            in_field: false,
        },
    )
}

/// Where a node stands: its parent's pointer, and whether the path is already in it.
struct Place {
    pointer: String,
    in_field: bool,
}

impl Place {
    fn then(&self, segment: &str) -> Place {
        let mut pointer = self.pointer.clone();
        push_segment(&mut pointer, segment);
        Place {
            pointer,
            in_field: self.in_field,
        }
    }

    fn at_path(&self, path: &str) -> Place {
        if self.in_field {
            return Place {
                pointer: self.pointer.clone(),
                in_field: true,
            };
        }
        Place {
            in_field: true,
            ..self.then(path)
        }
    }
}

fn explain_node(node: &Node, document: &[u8], place: Place) -> Explanation {
    let numbered = |nodes: &[Node], place: &Place| {
        let each = nodes.iter().enumerate();
        each.map(|(i, node)| explain_node(node, document, place.then(&i.to_string())))
            .collect()
    };
    let (pointer, parts): (String, Vec<Explanation>) = match node {
        Node::Always(true) => (place.then("$alwaysTrue").pointer, Vec::new()),
        Node::Always(false) => (place.then("$alwaysFalse").pointer, Vec::new()),
        Node::And(Conjunction::Implicit, nodes) => {
            let here = |node| {
                let place = Place {
                    pointer: place.pointer.clone(),
                    in_field: place.in_field,
                };
                explain_node(node, document, place)
            };
            let parts = nodes.iter().map(here).collect();
            (place.pointer, parts)
        }
        Node::And(Conjunction::Operator, nodes) => branches("$and", nodes, &place, numbered),
        Node::Or(nodes) => branches("$or", nodes, &place, numbered),
        Node::Nor(nodes) => branches("$nor", nodes, &place, numbered),
        Node::Not(how, inner) => return explain_negation(*how, inner, document, &place),
        Node::Clause(clause) => return explain_clause(clause, document, &place, None),
    };
    Explanation {
        pointer,
        holds: node.matches(document),
        saw: Vec::new(),
        truncated: false,
        parts,
    }
}

fn branches(
    operator: &str,
    nodes: &[Node],
    place: &Place,
    numbered: impl Fn(&[Node], &Place) -> Vec<Explanation>,
) -> (String, Vec<Explanation>) {
    let place = place.then(operator);
    let parts = numbered(nodes, &place);
    (place.pointer, parts)
}

fn explain_negation(how: Negation, inner: &Node, document: &[u8], place: &Place) -> Explanation {
    let name = match how {
        Negation::Not => None,
        Negation::Ne => Some("$ne"),
        Negation::Nin => Some("$nin"),
        Negation::Absent => Some("$exists"),
    };
    if let (Some(name), Node::Clause(clause)) = (name, inner) {
        let positive = explain_clause(clause, document, place, Some(name));
        return Explanation {
            holds: !positive.holds,
            ..positive
        };
    }
    let path = first_clause(inner).map_or("", |clause| clause.path.as_str());
    let place = place.at_path(path).then("$not");
    let pointer = place.pointer.clone();
    let part = explain_node(inner, document, place);
    let holds = !part.holds;
    Explanation {
        pointer,
        holds,
        saw: Vec::new(),
        truncated: false,
        parts: vec![part],
    }
}

/// The first clause below `node`: everything below a `$not` is about the same path.
fn first_clause(node: &Node) -> Option<&Clause> {
    match node {
        Node::Clause(clause) => Some(clause),
        Node::Not(_, node) => first_clause(node),
        Node::And(_, nodes) | Node::Or(nodes) | Node::Nor(nodes) => {
            nodes.iter().find_map(first_clause)
        }
        Node::Always(_) => None,
    }
}

fn explain_clause(
    clause: &Clause,
    document: &[u8],
    place: &Place,
    name: Option<&str>,
) -> Explanation {
    let at = place.at_path(clause.path.as_str());
    let name = name.or_else(|| (!clause.implicit).then(|| operator(&clause.test)));
    let pointer = name.map_or_else(|| at.pointer.clone(), |name| at.then(name).pointer);
    let (saw, truncated) = values(clause, document);
    let holds = clause.matches(document);
    Explanation {
        pointer,
        holds,
        saw,
        truncated,
        parts: Vec::new(),
    }
}

/// The name of the operator that a test was written as.
fn operator(test: &Test) -> &'static str {
    match test {
        Test::Compare(Comparison::Eq, _) => "$eq",
        Test::Compare(Comparison::Gt, _) => "$gt",
        Test::Compare(Comparison::Gte, _) => "$gte",
        Test::Compare(Comparison::Lt, _) => "$lt",
        Test::Compare(Comparison::Lte, _) => "$lte",
        Test::In(_) => "$in",
        Test::Exists => "$exists",
        Test::Type(_) => "$type",
        Test::Regex(_) => "$regex",
        Test::Mod(_) => "$mod",
        Test::Size(_) => "$size",
        Test::Bits(test) => test.operator.name(),
        Test::ElemMatchDocument(_) | Test::ElemMatchValue(_) => "$elemMatch",
        Test::All(_) => "$all",
    }
}

/// A bounded copy of what is at the clause's path, and whether that is not all.
fn values(clause: &Clause, document: &[u8]) -> (Vec<Bson>, bool) {
    let mut saw = Vec::new();
    let mut truncated = false;
    path::any(
        document,
        clause.path.as_bytes(),
        clause.test.leaf(),
        &mut |value| {
            let Some(value) = value else { return false };
            match to_bson(value) {
                Some(value) if saw.len() < MAX_VALUES => saw.push(value),
                _ => truncated = true,
            }
            truncated && saw.len() == MAX_VALUES
        },
    );
    (saw, truncated)
}

/// An owned copy of a value of bounded size.
fn to_bson(value: Value<'_>) -> Option<Bson> {
    let length = value.bytes().len() + 7;
    if length > MAX_VALUE_BYTES {
        return None;
    }
    let mut bytes = u32::try_from(length).ok()?.to_le_bytes().to_vec();
    bytes.extend([value.kind() as u8, 0]);
    bytes.extend_from_slice(value.bytes());
    bytes.push(0);
    let document = RawDocument::from_bytes(&bytes).ok()?;
    let (_, value) = document.iter().next()?.ok()?;
    value.try_into().ok()
}
