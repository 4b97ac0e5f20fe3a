//! The execution of programs on an event.

use super::super::ast::{Clause, Comparison};
use super::super::compare::Rank;
use super::super::cost::{Free, Meter, Steps, TooExpensive, sure};
#[cfg(test)]
use super::super::fault;
use super::super::matching::{TEST_STEPS, search};
use super::super::path::{self, ELEMENT_STEPS, Leaf, PATH_STEPS};
use super::super::value::Value;
use super::event::{Event, Sight};
use super::opaque::Opaques;
use super::paths::{PathId, Paths};
use super::program::{
    AND, EQ, EXISTS, FALSE, GT, GTE, IN, LT, LTE, ListReader, NOT, OPAQUE, OR, ProgramReader,
};

/// One event, on which any number of programs run.
#[derive(Clone, Copy)]
pub(super) struct Run<'r, E> {
    pub(super) event: E,
    pub(super) paths: &'r Paths,
    pub(super) opaques: &'r Opaques,
}

/// A program's view of an event.
pub(super) trait View<'d> {
    /// Returns the event's bytes.
    fn document(&self) -> &'d [u8];

    /// Returns the values at a path, as far as they are known without a walk.
    fn sight(&self, path: PathId) -> Sight<'d>;
}

impl<'d> View<'d> for &Event<'d> {
    fn document(&self) -> &'d [u8] {
        Event::document(self)
    }

    fn sight(&self, path: PathId) -> Sight<'d> {
        Event::sight(self, path)
    }
}

/// An event's bytes alone: every path is walked, whether other filters ask for it or not.
#[derive(Clone, Copy)]
pub(super) struct Plain<'d>(pub(super) &'d [u8]);

impl<'d> View<'d> for Plain<'d> {
    fn document(&self) -> &'d [u8] {
        self.0
    }

    fn sight(&self, _: PathId) -> Sight<'d> {
        Sight::Arrays
    }
}

impl<'d, E: View<'d>> Run<'_, E> {
    /// Whether every condition holds, for programs that are known to be cheap.
    pub(super) fn holds(&self, program: &[u8]) -> bool {
        #[cfg(test)]
        fault::strike(program, fault::TEXT);
        sure(self.all(ProgramReader::new(program), &mut Free))
    }

    /// Whether every condition holds, within a budget.
    pub(super) fn counted(&self, program: &[u8], steps: &mut Steps) -> Result<bool, TooExpensive> {
        #[cfg(test)]
        fault::strike(program, fault::TEXT);
        self.all(ProgramReader::new(program), steps)
    }

    fn all<M: Meter>(
        &self,
        mut conditions: ProgramReader<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        while let Some(code) = conditions.code() {
            if !self.condition(code, &mut conditions, meter)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn any<M: Meter>(
        &self,
        mut conditions: ProgramReader<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        while let Some(code) = conditions.code() {
            if self.condition(code, &mut conditions, meter)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one condition holds. Reads it to its end in any case.
    fn condition<M: Meter>(
        &self,
        code: u8,
        reader: &mut ProgramReader<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match code {
            FALSE => Ok(false),
            GT | GTE | LT | LTE | EQ => {
                let (path, operand) = (reader.varint(), reader.operand());
                let comparison = comparison(code);
                self.values(path, meter, |value, meter| {
                    meter.charge(TEST_STEPS)?;
                    comparison.holds(value, operand, meter)
                })
            }
            EXISTS => self.values(reader.varint(), meter, |value, meter| {
                meter.charge(TEST_STEPS)?;
                Ok(value.is_some())
            }),
            IN => {
                let (path, list) = (reader.varint(), reader.list());
                self.values(path, meter, |value, meter| {
                    meter.charge(TEST_STEPS)?;
                    contains(list, value, meter)
                })
            }
            OPAQUE => {
                let (path, clause) = (reader.varint(), reader.varint());
                match self.opaques.get(clause) {
                    Some(clause) => self.clause(path, clause, meter),
                    None => Ok(false),
                }
            }
            NOT => {
                let code = reader.code().unwrap_or(FALSE);
                self.condition(code, reader, meter).map(|holds| !holds)
            }
            OR => self.any(reader.group(), meter),
            AND => self.all(reader.group(), meter),
            _ => Ok(true),
        }
    }

    fn values<M: Meter>(
        &self,
        path: PathId,
        meter: &mut M,
        mut pass: impl FnMut(Option<Value<'d>>, &mut M) -> Result<bool, M::Over>,
    ) -> Result<bool, M::Over> {
        match self.event.sight(path) {
            Sight::Plain(value) => {
                meter.charge(ELEMENT_STEPS)?;
                pass(value, meter)
            }
            Sight::Arrays => {
                let path = self.paths.written(path);
                meter.charge(PATH_STEPS + path.len())?;
                path::any(
                    self.event.document(),
                    &path,
                    Leaf::Elements,
                    meter,
                    &mut pass,
                )
            }
        }
    }

    fn clause<M: Meter>(
        &self,
        path: PathId,
        clause: &Clause,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match self.event.sight(path) {
            Sight::Plain(value) => {
                meter.charge(ELEMENT_STEPS)?;
                clause.test.passes(value, meter)
            }
            Sight::Arrays => clause.matches(self.event.document(), meter),
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
fn contains<M: Meter>(
    list: ListReader<'_>,
    value: Option<Value<'_>>,
    meter: &mut M,
) -> Result<bool, M::Over> {
    let value = value.filter(|value| Rank::of(value.kind()) != Rank::Absent);
    let value = value.unwrap_or(Value::NULL);
    search(list.len(), |at| list.get(at), value, meter)
}
