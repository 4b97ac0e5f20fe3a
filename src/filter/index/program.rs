//! A filter as the index keeps it: a few dozen bytes in one piece.
//!
//! A program is a sequence of conditions, all of which must hold. Each begins with its code; a
//! condition on a path goes on with the path's number. Conditions that could stand in any order are
//! sorted, cheap ones first, so that filters which say the same are often the same bytes.

use super::super::ast::{Clause, Comparison, List, Node, Operand, Test};
use super::super::value::Value;
use super::opaque::Opaques;
use super::paths::{PathId, Paths};
use bson::spec::ElementType;

pub(super) const FALSE: u8 = 0;
pub(super) const GT: u8 = 1;
pub(super) const GTE: u8 = 2;
pub(super) const LT: u8 = 3;
pub(super) const LTE: u8 = 4;
pub(super) const EQ: u8 = 5;
pub(super) const EXISTS: u8 = 6;
pub(super) const IN: u8 = 7;
pub(super) const OPAQUE: u8 = 8;
pub(super) const NOT: u8 = 9;
pub(super) const OR: u8 = 10;
pub(super) const AND: u8 = 11;
pub(super) const TRUE: u8 = 12;

/// Writes programs; what they refer to is counted as used.
pub(super) struct Writer<'a> {
    pub(super) paths: &'a mut Paths,
    pub(super) opaques: &'a mut Opaques,
}

impl Writer<'_> {
    /// The program of a filter.
    pub(super) fn program(&mut self, root: &Node) -> Box<[u8]> {
        let mut conditions = Vec::new();
        self.conjunction(root, &mut conditions);
        joined(conditions).into()
    }

    fn conjunction(&mut self, node: &Node, conditions: &mut Vec<Vec<u8>>) {
        match node {
            Node::And(_, nodes) => nodes
                .iter()
                .for_each(|node| self.conjunction(node, conditions)),
            Node::Always(true) => {}
            node => conditions.push(self.condition(node)),
        }
    }

    fn condition(&mut self, node: &Node) -> Vec<u8> {
        match node {
            Node::Always(true) => vec![TRUE],
            Node::Always(false) => vec![FALSE],
            Node::And(..) => {
                let mut conditions = Vec::new();
                self.conjunction(node, &mut conditions);
                group(AND, conditions)
            }
            Node::Or(nodes) => self.disjunction(nodes),
            Node::Nor(nodes) => negated(&self.disjunction(nodes)),
            Node::Not(_, node) => negated(&self.condition(node)),
            Node::Clause(clause) => self.clause(clause),
        }
    }

    fn disjunction(&mut self, nodes: &[Node]) -> Vec<u8> {
        let conditions = nodes.iter().map(|node| self.condition(node)).collect();
        group(OR, conditions)
    }

    fn clause(&mut self, clause: &Clause) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let path = self.paths.acquire(clause.path.as_str());
        match &clause.test {
            _ if path == super::paths::ROOT => self.opaque(clause, path, &mut out),
            Test::Compare(comparison, operand) => {
                out.push(code(*comparison));
                write_varint(path, &mut out);
                write_operand(operand, &mut out);
            }
            Test::Exists => {
                out.push(EXISTS);
                write_varint(path, &mut out);
            }
            Test::In(list) if list.patterns.is_empty() => {
                out.push(IN);
                write_varint(path, &mut out);
                write_list(list, &mut out);
            }
            _ => self.opaque(clause, path, &mut out),
        }
        out
    }

    fn opaque(&mut self, clause: &Clause, path: PathId, out: &mut Vec<u8>) {
        out.push(OPAQUE);
        write_varint(path, out);
        write_varint(self.opaques.acquire(clause), out);
    }
}

/// Ends the use of everything that a program refers to.
pub(super) fn release(program: &[u8], paths: &mut Paths, opaques: &mut Opaques) {
    let mut reader = Reader::new(program);
    while let Some(code) = reader.code() {
        match code {
            GT..=EQ => {
                paths.release(reader.varint());
                reader.operand();
            }
            EXISTS => paths.release(reader.varint()),
            IN => {
                paths.release(reader.varint());
                reader.list();
            }
            OPAQUE => {
                paths.release(reader.varint());
                opaques.release(reader.varint());
            }
            // What is inside a group simply comes next.
            OR | AND => drop(reader.length()),
            _ => {}
        }
    }
}

/// Reads programs. What is not there reads as zeros: programs come from a [`Writer`] only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'p> {
    rest: &'p [u8],
}

impl<'p> Reader<'p> {
    /// Reads `program` from its beginning.
    pub(super) fn new(program: &'p [u8]) -> Self {
        Self { rest: program }
    }

    /// The next condition's code, or that there is none.
    pub(super) fn code(&mut self) -> Option<u8> {
        let (&code, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(code)
    }

    /// A small number.
    pub(super) fn varint(&mut self) -> u32 {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.code().unwrap_or(0);
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }

    /// A value.
    pub(super) fn operand(&mut self) -> Value<'p> {
        let kind = self.code().and_then(ElementType::from);
        let length = self.varint() as usize;
        Value::new(kind.unwrap_or(ElementType::Null), self.take(length))
    }

    /// The conditions of a group.
    pub(super) fn group(&mut self) -> Reader<'p> {
        let length = self.length();
        Reader::new(self.take(length))
    }

    /// The values of an `$in`.
    pub(super) fn list(&mut self) -> Values<'p> {
        let count = self.length();
        let bytes = self.length();
        Values {
            ends: self.take(count * 4),
            bytes: self.take(bytes),
        }
    }

    fn length(&mut self) -> usize {
        let bytes = self.take(4).try_into();
        bytes.map_or(0, u32::from_le_bytes) as usize
    }

    fn take(&mut self, length: usize) -> &'p [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        taken
    }
}

/// Sorted values, and where each begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'p> {
    ends: &'p [u8],
    bytes: &'p [u8],
}

impl<'p> Values<'p> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// The value at a place in the order.
    pub(super) fn get(&self, at: usize) -> Option<Value<'p>> {
        let start = self.ends.get(at * 4..at * 4 + 4)?.try_into().ok()?;
        let bytes = self.bytes.get(u32::from_le_bytes(start) as usize..)?;
        Some(Reader::new(bytes).operand())
    }
}

fn code(comparison: Comparison) -> u8 {
    match comparison {
        Comparison::Eq => EQ,
        Comparison::Gt => GT,
        Comparison::Gte => GTE,
        Comparison::Lt => LT,
        Comparison::Lte => LTE,
    }
}

fn joined(mut conditions: Vec<Vec<u8>>) -> Vec<u8> {
    conditions.sort_unstable();
    conditions.concat()
}

fn group(code: u8, conditions: Vec<Vec<u8>>) -> Vec<u8> {
    let members = joined(conditions);
    let mut out = vec![code];
    write_length(members.len(), &mut out);
    out.extend(members);
    out
}

fn negated(condition: &[u8]) -> Vec<u8> {
    [&[NOT], condition].concat()
}

fn write_operand(operand: &Operand, out: &mut Vec<u8>) {
    let value = operand.value();
    out.push(value.kind() as u8);
    write_varint(u32::try_from(value.bytes().len()).unwrap_or(u32::MAX), out);
    out.extend_from_slice(value.bytes());
}

fn write_list(list: &List, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    write_length(list.values.len(), out);
    let length_at = out.len();
    write_length(0, out);
    for operand in &list.values {
        write_length(bytes.len(), out);
        write_operand(operand, &mut bytes);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    out.extend(bytes);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn write_varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
