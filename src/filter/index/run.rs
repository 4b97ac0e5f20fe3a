//! Whether an event meets a program.

use super::super::ast::{Clause, Comparison};
use super::super::compare::{Rank, compare};
use super::super::path::{self, Leaf};
use super::super::value::Value;
use super::event::{Event, Sight};
use super::opaque::Opaques;
use super::paths::{PathId, Paths};
use super::program::{
    AND, EQ, EXISTS, FALSE, GT, GTE, IN, LT, LTE, NOT, OPAQUE, OR, Reader, Values,
};

/// One event against any number of programs.
#[derive(Clone, Copy)]
pub(super) struct Run<'r, 'd> {
    pub(super) event: &'r Event<'d>,
    pub(super) paths: &'r Paths,
    pub(super) opaques: &'r Opaques,
}

impl<'d> Run<'_, 'd> {
    /// Whether every condition holds.
    pub(super) fn holds(&self, program: &[u8]) -> bool {
        self.all(Reader::new(program))
    }

    fn all(&self, mut conditions: Reader<'_>) -> bool {
        while let Some(code) = conditions.code() {
            if !self.condition(code, &mut conditions) {
                return false;
            }
        }
        true
    }

    fn any(&self, mut conditions: Reader<'_>) -> bool {
        while let Some(code) = conditions.code() {
            if self.condition(code, &mut conditions) {
                return true;
            }
        }
        false
    }

    /// Reads one condition to its end and tells whether it holds.
    fn condition(&self, code: u8, reader: &mut Reader<'_>) -> bool {
        match code {
            FALSE => false,
            GT | GTE | LT | LTE | EQ => {
                let (path, operand) = (reader.varint(), reader.operand());
                let comparison = comparison(code);
                self.values(path, |value| comparison.holds(value, operand))
            }
            EXISTS => self.values(reader.varint(), |value| value.is_some()),
            IN => {
                let (path, list) = (reader.varint(), reader.list());
                self.values(path, |value| contains(list, value))
            }
            OPAQUE => {
                let (path, clause) = (reader.varint(), reader.varint());
                let clause = self.opaques.get(clause);
                clause.is_some_and(|clause| self.clause(path, clause))
            }
            NOT => {
                let code = reader.code().unwrap_or(FALSE);
                !self.condition(code, reader)
            }
            OR => self.any(reader.group()),
            AND => self.all(reader.group()),
            _ => true,
        }
    }

    fn values(&self, path: PathId, mut pass: impl FnMut(Option<Value<'d>>) -> bool) -> bool {
        match self.event.sight(path) {
            Sight::Plain(value) => pass(value),
            Sight::Arrays => {
                let path = self.paths.written(path);
                path::any(self.event.document(), &path, Leaf::Elements, &mut pass)
            }
        }
    }

    fn clause(&self, path: PathId, clause: &Clause) -> bool {
        match self.event.sight(path) {
            Sight::Plain(value) => clause.test.passes(value),
            Sight::Arrays => clause.matches(self.event.document()),
        }
    }
}

fn comparison(code: u8) -> Comparison {
    match code {
        GT => Comparison::Gt,
        GTE => Comparison::Gte,
        LT => Comparison::Lt,
        LTE => Comparison::Lte,
        _ => Comparison::Eq,
    }
}

/// Whether the value is listed. The absent value counts as null.
fn contains(list: Values<'_>, value: Option<Value<'_>>) -> bool {
    let value = value.filter(|value| Rank::of(value.kind()) != Rank::Absent);
    let value = value.unwrap_or(Value::NULL);
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low.midpoint(high);
        let Some(listed) = list.get(middle) else {
            return false;
        };
        match compare(listed, value) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}
