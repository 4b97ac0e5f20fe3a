//! Templates: queries with claims in the place of values.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};

use super::super::claims::MOST_VALUES;
use super::member;
use super::values::{Unsatisfied, Values};

/// A query document: all of its parts must hold.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Template(pub(super) Box<[Part]>);

/// A member of a query document.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Part {
    /// An operator without a path and without claims, such as `$comment`.
    Plain(Box<str>, Bson),
    /// A logical operator.
    Logic(Logic, Box<[Template]>),
    /// A path, and the tests of its value.
    Field(Box<str>, Box<[Test]>),
}

/// The logical operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Logic {
    And,
    Or,
    Nor,
}

/// An operator on a field. A plain value is read as `$eq`, and a plain regular expression as `$regex`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Test {
    pub(super) operator: Box<str>,
    pub(super) operand: Operand,
}

/// The argument of an operator.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Operand {
    Literal(Bson),
    /// A claim in the place of one value.
    Claim(Box<str>),
    /// A claim in the place of a list.
    ListClaim(Box<str>),
    /// Claims in the places of a list's values.
    Claims(Box<[Box<str>]>),
    /// The operators under `$not`.
    Not(Box<[Test]>),
}

/// A test with its surroundings.
pub(super) struct Visited<'t> {
    /// The place of the test, such as `#/read/tenant/$eq`.
    pub(super) place: String,
    /// True under `$nor`, and for a test that is a negation or in one.
    pub(super) negated: bool,
    pub(super) operand: &'t Operand,
    pub(super) test: &'t Test,
}

impl Logic {
    pub(super) const fn operator(self) -> &'static str {
        match self {
            Self::And => "$and",
            Self::Or => "$or",
            Self::Nor => "$nor",
        }
    }
}

impl Template {
    /// Whether it asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the query for these claims. Its paths refuse arrays.
    pub(super) fn query(&self, values: &Values<'_>) -> Result<Document, Unsatisfied> {
        self.level(values, true)
    }

    /// Returns the query for these claims as it is written: its paths do not refuse arrays.
    pub(super) fn query_as_written(&self, values: &Values<'_>) -> Result<Document, Unsatisfied> {
        self.level(values, false)
    }

    /// Checks that these claims can stand in all their places, without making the query.
    pub(super) fn check(&self, values: &Values<'_>) -> Result<(), Unsatisfied> {
        self.0.iter().try_for_each(|part| match part {
            Part::Plain(..) => Ok(()),
            Part::Logic(_, branches) => branches.iter().try_for_each(|branch| branch.check(values)),
            Part::Field(_, tests) => check_tests(tests, values),
        })
    }

    fn level(&self, values: &Values<'_>, guarded: bool) -> Result<Document, Unsatisfied> {
        let mut conditions = Document::new();
        for part in &self.0 {
            match part {
                Part::Plain(operator, value) => conditions.insert(&**operator, value.clone()),
                Part::Logic(logic, branches) => {
                    // Within a negation an array lets less through, not more.
                    let guarded = guarded && *logic != Logic::Nor;
                    let branches = branches.iter().map(|branch| branch.level(values, guarded));
                    let branches: Vec<Document> = branches.collect::<Result<_, _>>()?;
                    conditions.insert(logic.operator(), branches)
                }
                Part::Field(path, tests) => conditions.insert(&**path, operators(tests, values)?),
            };
        }
        let guards = if guarded {
            self.guards()
        } else {
            Document::new()
        };
        if guards.is_empty() {
            return Ok(conditions);
        }
        Ok(doc! {"$and": [conditions, guards]})
    }

    /// Returns the conditions that there is no array on the paths of this level.
    fn guards(&self) -> Document {
        let mut paths = BTreeSet::new();
        for part in &self.0 {
            if let Part::Field(path, tests) = part
                && tests.iter().any(|test| !test.is_negation())
            {
                let ends = path.match_indices('.').map(|(end, _)| end);
                paths.extend(ends.chain([path.len()]).map(|end| &path[..end]));
            }
        }
        let no_array = || doc! {"$not": {"$type": "array"}};
        paths
            .into_iter()
            .map(|path| (path.to_owned(), no_array().into()))
            .collect()
    }

    /// Shows every test to `visit`.
    pub(super) fn visit<'t>(&'t self, place: &str, visit: &mut dyn FnMut(Visited<'t>)) {
        self.visit_level(place, false, visit);
    }

    fn visit_level<'t>(&'t self, place: &str, negated: bool, visit: &mut dyn FnMut(Visited<'t>)) {
        for part in &self.0 {
            match part {
                Part::Plain(..) => {}
                Part::Logic(logic, branches) => {
                    let negated = negated || *logic == Logic::Nor;
                    for (at, branch) in branches.iter().enumerate() {
                        let place = format!("{place}/{}/{at}", logic.operator());
                        branch.visit_level(&place, negated, visit);
                    }
                }
                Part::Field(path, tests) => {
                    visit_tests(tests, &member(place, path), negated, visit);
                }
            }
        }
    }

    /// Whether every document that matches has passed one of the tests that `counts` counts.
    fn demands(&self, counts: &dyn Fn(&str, &Test) -> bool) -> bool {
        self.0.iter().any(|part| match part {
            Part::Field(path, tests) => tests.iter().any(|test| counts(path, test)),
            Part::Logic(Logic::And, branches) => {
                branches.iter().any(|branch| branch.demands(counts))
            }
            Part::Logic(Logic::Or, branches) => {
                branches.iter().all(|branch| branch.demands(counts))
            }
            Part::Logic(Logic::Nor, _) | Part::Plain(..) => false,
        })
    }

    /// Whether every document that matches has one of few values at some path.
    pub(super) fn has_equality(&self) -> bool {
        self.demands(&|_, test| test.is_equality())
    }

    /// Whether every document that matches has one of few values at this path.
    pub(super) fn pins(&self, path: &str) -> bool {
        self.demands(&|tested, test| tested == path && test.is_equality())
    }

    /// Whether every document that matches has passed a test of its value at this path.
    pub(super) fn constrains(&self, path: &str) -> bool {
        self.demands(&|tested, test| tested == path && test.is_of_values())
    }
}

fn visit_tests<'t>(
    tests: &'t [Test],
    place: &str,
    negated: bool,
    visit: &mut dyn FnMut(Visited<'t>),
) {
    for test in tests {
        let place = member(place, &test.operator);
        let negated = negated || test.is_negation();
        if let Operand::Not(inner) = &test.operand {
            visit_tests(inner, &place, negated, visit);
        }
        let operand = &test.operand;
        visit(Visited {
            place,
            negated,
            operand,
            test,
        });
    }
}

fn check_tests(tests: &[Test], values: &Values<'_>) -> Result<(), Unsatisfied> {
    tests.iter().try_for_each(|test| match &test.operand {
        Operand::Literal(_) => Ok(()),
        Operand::Claim(name) => values.scalar(name).map(drop),
        Operand::ListClaim(name) => values.list(name).map(drop),
        Operand::Claims(names) => names
            .iter()
            .try_for_each(|name| values.scalar(name).map(drop)),
        Operand::Not(tests) => check_tests(tests, values),
    })
}

fn operators(tests: &[Test], values: &Values<'_>) -> Result<Document, Unsatisfied> {
    let mut all = Document::new();
    for test in tests {
        all.insert(&*test.operator, test.operand.value(values)?);
    }
    Ok(all)
}

impl Test {
    /// Whether it holds where something does not.
    pub(super) fn is_negation(&self) -> bool {
        match &*self.operator {
            "$ne" | "$nin" | "$not" => true,
            "$exists" => self.operand == Operand::Literal(Bson::Boolean(false)),
            _ => false,
        }
    }

    /// Whether a document without the field passes, although the test is no negation.
    pub(super) fn is_met_by_absence(&self) -> bool {
        let Operand::Literal(value) = &self.operand else {
            return false;
        };
        match (&*self.operator, value) {
            ("$eq" | "$gte" | "$lte", Bson::Null)
            | ("$gt" | "$gte", Bson::MinKey)
            | ("$lt" | "$lte", Bson::MaxKey) => true,
            ("$in", Bson::Array(values)) => values.contains(&Bson::Null),
            _ => false,
        }
    }

    /// Whether only few values pass. More are not copied into the branches of other filters.
    fn is_equality(&self) -> bool {
        if self.is_met_by_absence() {
            return false;
        }
        match (&*self.operator, &self.operand) {
            ("$eq" | "$in", Operand::Claim(_) | Operand::ListClaim(_) | Operand::Claims(_))
            | ("$eq", Operand::Literal(_)) => true,
            ("$in", Operand::Literal(Bson::Array(values))) => {
                let pattern = |value: &Bson| matches!(value, Bson::RegularExpression(_));
                values.len() <= MOST_VALUES && !values.iter().any(pattern)
            }
            _ => false,
        }
    }

    /// Whether it distinguishes values, and not only types or whether there is one.
    fn is_of_values(&self) -> bool {
        let any = matches!(&*self.operator, "$exists" | "$type" | "$options");
        !any && !self.is_negation() && !self.is_met_by_absence()
    }
}

impl Operand {
    fn value(&self, values: &Values<'_>) -> Result<Bson, Unsatisfied> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Claim(name) => values.scalar(name)?.to_bson(),
            Self::ListClaim(name) => values.list(name)?.into(),
            Self::Claims(names) => {
                let scalar = |name: &str| Ok(values.scalar(name)?.to_bson());
                Bson::Array(
                    names
                        .iter()
                        .map(|name| scalar(name))
                        .collect::<Result<_, _>>()?,
                )
            }
            Self::Not(tests) => operators(tests, values)?.into(),
        })
    }

    /// Returns the claims that stand here. Those under `$not` stand in its tests.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Box<str>> {
        match self {
            Self::Claim(name) | Self::ListClaim(name) => std::slice::from_ref(name),
            Self::Claims(names) => names,
            Self::Literal(_) | Self::Not(_) => &[],
        }
        .iter()
    }
}
