//! Programs: filters in the form in which an index stores them, a few dozen bytes in one piece.
//!
//! A program is a sequence of conditions, all of which must hold. Each begins with its code. A condition on a path
//! goes on with the path's id. Conditions that may come in any order are sorted, cheap ones first, so that filters
//! with the same meaning often are the same bytes. The order depends on the contents of the conditions, never on
//! ids, so that a filter costs the same in every index.

use std::hash::BuildHasher;

use bson::spec::ElementType;
use smallvec::SmallVec;

use super::super::ast::{Clause, Comparison, InList, Node, Operand, Test};
use super::super::value::Value;
use super::hash::Seeded;
use super::key::{bytes_digest, mix};
use super::opaque::Opaques;
use super::paths::{PathId, Paths, ROOT};

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

/// A writer of programs. It counts the uses of their paths and conditions.
pub(super) struct ProgramWriter<'a> {
    pub(super) paths: &'a mut Paths,
    pub(super) opaques: &'a mut Opaques,
    pub(super) out: &'a mut Vec<u8>,
}

/// The order and the end of each condition of a group in the written bytes.
type Ends = SmallVec<[(u64, usize); 8]>;

impl ProgramWriter<'_> {
    /// Writes the program of a filter.
    pub(super) fn program(mut self, root: &Node) -> Box<[u8]> {
        let mut ends = Ends::new();
        self.conjunction(root, &mut ends);
        let sorted = sorted(self.out, 0, &ends);
        sorted.map_or_else(|| self.out.as_slice().into(), Vec::into_boxed_slice)
    }

    fn conjunction(&mut self, node: &Node, ends: &mut Ends) {
        match node {
            Node::And(_, nodes) => nodes.iter().for_each(|node| self.conjunction(node, ends)),
            Node::Always(true) => {}
            node => {
                let order = self.condition(node);
                ends.push((order, self.out.len()));
            }
        }
    }

    /// Writes a condition, and returns its order.
    fn condition(&mut self, node: &Node) -> u64 {
        match node {
            Node::Always(always) => {
                let code = if *always { TRUE } else { FALSE };
                self.out.push(code);
                order_of(code, 0)
            }
            Node::And(..) => self.group(AND, |writer, ends| writer.conjunction(node, ends)),
            Node::Or(nodes) => self.disjunction(nodes),
            Node::Nor(nodes) => {
                self.out.push(NOT);
                order_of(NOT, self.disjunction(nodes))
            }
            Node::Not(_, node) => {
                self.out.push(NOT);
                order_of(NOT, self.condition(node))
            }
            Node::Clause(clause) => self.clause(clause),
        }
    }

    fn disjunction(&mut self, nodes: &[Node]) -> u64 {
        self.group(OR, |writer, ends| {
            for node in nodes {
                let order = writer.condition(node);
                ends.push((order, writer.out.len()));
            }
        })
    }

    /// Writes a code, a length, and the conditions that `write` writes, sorted. Returns the group's order.
    fn group(&mut self, code: u8, write: impl FnOnce(&mut Self, &mut Ends)) -> u64 {
        self.out.push(code);
        let length_at = self.out.len();
        write_length(0, self.out);
        let start = self.out.len();
        let mut ends = Ends::new();
        write(self, &mut ends);
        self.sort(start, &ends);
        set_length(length_at, self.out.len() - start, self.out);
        ends.sort_unstable();
        let orders = ends.iter().map(|(order, _)| *order);
        order_of(code, orders.fold(0, mix))
    }

    /// Sorts the conditions that begin at `start`.
    fn sort(&mut self, start: usize, ends: &[(u64, usize)]) {
        if let Some(sorted) = sorted(self.out, start, ends) {
            self.out.truncate(start);
            self.out.extend(sorted);
        }
    }

    /// Writes a clause, and returns its order.
    fn clause(&mut self, clause: &Clause) -> u64 {
        let start = self.out.len();
        let path = self.paths.acquire(clause.path.as_str());
        let out = &mut *self.out;
        let route = bytes_digest(clause.path.as_bytes(), 0);
        let argument_at = match &clause.test {
            Test::Compare(comparison, operand) if path != ROOT => {
                let argument_at = write_head(code(*comparison), path, out);
                write_operand(operand, out);
                argument_at
            }
            Test::Exists if path != ROOT => write_head(EXISTS, path, out),
            Test::In(list) if path != ROOT && list.patterns.is_empty() => {
                let argument_at = write_head(IN, path, out);
                write_list(list, out);
                argument_at
            }
            test => {
                write_head(OPAQUE, path, out);
                write_varint(self.opaques.acquire(clause), out);
                return order_of(OPAQUE, mix(route, Seeded(0).hash_one(test)));
            }
        };
        order_of(out[start], bytes_digest(&out[argument_at..], route))
    }
}

/// Returns the order of a condition: by its code, then by a digest of its contents.
fn order_of(code: u8, digest: u64) -> u64 {
    u64::from(code) << 56 | digest >> 8
}

/// Ends the use of a program's paths and conditions.
pub(super) fn release(program: &[u8], paths: &mut Paths, opaques: &mut Opaques) {
    let mut reader = ProgramReader::new(program);
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
            // The contents of a group simply come next.
            OR | AND => drop(reader.length()),
            _ => {}
        }
    }
}

/// Returns a digest of a program's contents. It depends on paths and conditions, not on their ids, so it is the same in
/// every index.
pub(super) fn content(program: &[u8], paths: &Paths, opaques: &Opaques) -> u64 {
    let route = |path| bytes_digest(&paths.written(path), 0);
    let mut reader = ProgramReader::new(program);
    let mut digest = 0;
    while let Some(code) = reader.code() {
        let said = match code {
            GT..=EQ => {
                let route = route(reader.varint());
                let operand = reader.operand();
                bytes_digest(operand.bytes(), mix(route, operand.kind() as u64))
            }
            EXISTS => route(reader.varint()),
            IN => {
                let route = route(reader.varint());
                bytes_digest(reader.list().bytes, route)
            }
            OPAQUE => {
                reader.varint();
                let clause = opaques.get(reader.varint());
                Seeded(0).hash_one(clause.map(|clause| (&clause.path, &clause.test)))
            }
            // The length of a group depends on ids.
            OR | AND => {
                reader.length();
                0
            }
            _ => 0,
        };
        digest = mix(mix(digest, code.into()), said);
    }
    digest
}

/// A reader of programs. Missing bytes read as zeros: programs come from a [`ProgramWriter`] only.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramReader<'p> {
    rest: &'p [u8],
}

impl<'p> ProgramReader<'p> {
    /// Reads `program` from its beginning.
    pub(super) fn new(program: &'p [u8]) -> Self {
        Self { rest: program }
    }

    /// Reads the next condition's code; `None` at the end.
    pub(super) fn code(&mut self) -> Option<u8> {
        let (&code, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(code)
    }

    /// Reads a small number.
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

    /// Reads a value.
    pub(super) fn operand(&mut self) -> Value<'p> {
        let kind = self.code().and_then(ElementType::from);
        let length = self.varint() as usize;
        Value::new(kind.unwrap_or(ElementType::Null), self.take(length))
    }

    /// Reads the conditions of a group.
    pub(super) fn group(&mut self) -> ProgramReader<'p> {
        let length = self.length();
        ProgramReader::new(self.take(length))
    }

    /// Reads the values of an `$in`.
    pub(super) fn list(&mut self) -> ListReader<'p> {
        let count = self.length();
        let bytes = self.length();
        ListReader {
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

/// Sorted values, and the beginning of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListReader<'p> {
    ends: &'p [u8],
    bytes: &'p [u8],
}

impl<'p> ListReader<'p> {
    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// Returns a value by its index.
    pub(super) fn get(&self, at: usize) -> Option<Value<'p>> {
        let start = self.ends.get(at * 4..at * 4 + 4)?.try_into().ok()?;
        let bytes = self.bytes.get(u32::from_le_bytes(start) as usize..)?;
        Some(ProgramReader::new(bytes).operand())
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

/// Returns the conditions that begin at `start` sorted, unless they are sorted.
fn sorted(written: &[u8], start: usize, ends: &[(u64, usize)]) -> Option<Vec<u8>> {
    if ends.is_sorted_by_key(|(order, _)| *order) {
        return None;
    }
    let starts = std::iter::once(start).chain(ends.iter().map(|(_, end)| *end));
    let conditions = starts.zip(ends);
    let conditions = conditions.map(|(start, (order, end))| (*order, &written[start..*end]));
    let mut conditions: SmallVec<[(u64, &[u8]); 8]> = conditions.collect();
    conditions.sort_by_key(|(order, _)| *order);
    let mut sorted = Vec::with_capacity(written.len() - start);
    for (_, bytes) in conditions {
        sorted.extend_from_slice(bytes);
    }
    Some(sorted)
}

/// Writes a code and a path. Returns the position of the argument.
fn write_head(code: u8, path: PathId, out: &mut Vec<u8>) -> usize {
    out.push(code);
    write_varint(path, out);
    out.len()
}

fn write_operand(operand: &Operand, out: &mut Vec<u8>) {
    let value = operand.value();
    out.push(value.kind() as u8);
    write_varint(u32::try_from(value.bytes().len()).unwrap_or(u32::MAX), out);
    out.extend_from_slice(value.bytes());
}

fn write_list(list: &InList, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    write_length(list.values.len(), out);
    let length_at = out.len();
    write_length(0, out);
    for operand in &list.values {
        write_length(bytes.len(), out);
        write_operand(operand, &mut bytes);
    }
    set_length(length_at, bytes.len(), out);
    out.extend(bytes);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
}

fn set_length(at: usize, length: usize, out: &mut [u8]) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn write_varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
