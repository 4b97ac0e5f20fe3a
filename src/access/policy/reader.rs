//! The reader of templates.
//!
//! It takes less than the query language: operators that need arrays are refused, since a policy's paths refuse arrays,
//! and so is a negation within a negation, since what that lets through is not what it seems. All else is judged by the
//! language's own parser.

use std::collections::HashSet;

use bson::{Bson, RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use super::super::claims::MOST_VALUES;
use super::template::{Logic, Operand, Part, Template, Test};
use super::values::Values;
use super::{Fault, member};
use crate::filter::{Filter, FilterError, Limits};

/// The beginning of a text that stands for a claim.
const CLAIM: &str = "$claims.";
/// The most levels of documents and arrays.
const MOST_LEVELS: usize = 32;
/// The most parts of a path. Each costs a condition.
const MOST_PATH_PARTS: usize = 16;
/// The most conditions, with those that refuse arrays. They are part of each bound subscription.
const MOST_CONDITIONS: usize = 300;
/// The most bytes of a claim's name.
const MOST_NAME_BYTES: usize = 128;

/// A place in a policy's document: a list towards the root, on the stack.
pub(super) struct Place<'p> {
    parent: Option<&'p Self>,
    name: &'p str,
    depth: usize,
}

impl<'p> Place<'p> {
    pub(super) const fn root() -> Self {
        Self {
            parent: None,
            name: "",
            depth: 0,
        }
    }

    pub(super) const fn then(&'p self, name: &'p str) -> Self {
        Self {
            parent: Some(self),
            name,
            depth: self.depth + 1,
        }
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            pointer: self.pointer(),
            reason: reason.into(),
        }
    }

    fn pointer(&self) -> String {
        match self.parent {
            Some(parent) => member(&parent.pointer(), self.name),
            None => "#".to_owned(),
        }
    }
}

/// Returns the members of a document, whose names are all different.
pub(super) fn members<'d>(
    document: &'d RawDocument,
    place: &Place<'_>,
) -> Result<Vec<(&'d str, RawBsonRef<'d>)>, Fault> {
    let mut names = HashSet::new();
    let mut members = Vec::new();
    for member in document {
        let (name, value) = member.map_err(|_| place.fault("is not well-formed"))?;
        if !names.insert(name.as_str()) {
            return Err(place.then(name.as_str()).fault("is there twice"));
        }
        members.push((name.as_str(), value));
    }
    Ok(members)
}

impl Template {
    /// Reads a template, and checks that it is legal whatever the claims are.
    pub(super) fn read(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Self, Fault> {
        let template = read_level(value, place, false)?;
        let query = |guarded| {
            let query = if guarded {
                template.query(&Values::Sample)
            } else {
                template.query_as_written(&Values::Sample)
            };
            let raw = query.ok().map(|query| RawDocumentBuf::try_from(&query));
            raw.and_then(Result::ok)
                .ok_or_else(|| place.fault("cannot be written as a query"))
        };
        let refused = |error: FilterError| Fault {
            pointer: format!("{}{}", place.pointer(), error.pointer),
            reason: format!("is refused: {}", error.reason),
        };
        Filter::parse(&query(false)?).map_err(refused)?;
        let limits = Limits {
            clauses: MOST_CONDITIONS,
            ..Limits::default()
        };
        Filter::parse_with(&query(true)?, &limits).map_err(|error| {
            let reason = "is too large with the conditions that refuse arrays";
            place.fault(format!("{reason}: {}", error.reason))
        })?;
        Ok(template)
    }
}

fn read_level(value: RawBsonRef<'_>, place: &Place<'_>, negated: bool) -> Result<Template, Fault> {
    let RawBsonRef::Document(document) = value else {
        return Err(place.fault("must be a document"));
    };
    check_depth(place)?;
    let mut parts = Vec::new();
    for (name, value) in members(document, place)? {
        let place = place.then(name);
        parts.push(match name {
            "$and" => read_logic(Logic::And, value, &place, negated)?,
            "$or" => read_logic(Logic::Or, value, &place, negated)?,
            "$nor" => {
                check_not_negated(negated, &place)?;
                read_logic(Logic::Nor, value, &place, true)?
            }
            "$comment" | "$alwaysTrue" | "$alwaysFalse" => {
                Part::Plain(name.into(), literal(value, &place)?)
            }
            path => {
                check_path(path, &place)?;
                Part::Field(path.into(), read_field(value, &place, negated)?)
            }
        });
    }
    Ok(Template(parts.into()))
}

fn read_logic(
    logic: Logic,
    value: RawBsonRef<'_>,
    place: &Place<'_>,
    negated: bool,
) -> Result<Part, Fault> {
    let RawBsonRef::Array(array) = value else {
        return Err(place.fault("must be an array of documents"));
    };
    let mut branches = Vec::new();
    for (at, branch) in elements(array, place)?.into_iter().enumerate() {
        branches.push(read_level(branch, &place.then(&at.to_string()), negated)?);
    }
    Ok(Part::Logic(logic, branches.into()))
}

fn read_field(
    value: RawBsonRef<'_>,
    place: &Place<'_>,
    negated: bool,
) -> Result<Box<[Test]>, Fault> {
    if let RawBsonRef::Document(document) = value
        && begins_with_operator(document)
    {
        return read_operators(document, place, negated);
    }
    let test = match value {
        RawBsonRef::RegularExpression(_) => Test {
            operator: "$regex".into(),
            operand: Operand::Literal(literal(value, place)?),
        },
        value => Test {
            operator: "$eq".into(),
            operand: scalar_operand(value, place)?,
        },
    };
    Ok([test].into())
}

fn read_operators(
    document: &RawDocument,
    place: &Place<'_>,
    negated: bool,
) -> Result<Box<[Test]>, Fault> {
    check_depth(place)?;
    let mut tests = Vec::new();
    for (operator, value) in members(document, place)? {
        let place = place.then(operator);
        if matches!(operator, "$ne" | "$nin" | "$not") {
            check_not_negated(negated, &place)?;
        }
        let operand = match operator {
            "$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte" => scalar_operand(value, &place)?,
            "$in" | "$nin" => list_operand(value, &place)?,
            "$not" => Operand::Not(read_not(value, &place)?),
            "$exists" => Operand::Literal(exists(value, &place, negated)?),
            "$type" | "$regex" | "$options" | "$mod" | "$bitsAllSet" | "$bitsAnySet"
            | "$bitsAllClear" | "$bitsAnyClear" => Operand::Literal(literal(value, &place)?),
            "$elemMatch" | "$all" | "$size" => {
                return Err(place.fault("needs an array, and paths of a policy refuse arrays"));
            }
            _ => return Err(place.fault("is not an operator that a policy can use")),
        };
        tests.push(Test {
            operator: operator.into(),
            operand,
        });
    }
    Ok(tests.into())
}

fn read_not(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Box<[Test]>, Fault> {
    match value {
        RawBsonRef::Document(document) => read_operators(document, place, true),
        RawBsonRef::RegularExpression(_) => read_field(value, place, true),
        _ => Err(place.fault("must be a document of operators or a regular expression")),
    }
}

fn exists(value: RawBsonRef<'_>, place: &Place<'_>, negated: bool) -> Result<Bson, Fault> {
    let RawBsonRef::Boolean(exists) = value else {
        return Err(place.fault("must be true or false"));
    };
    check_not_negated(negated && !exists, place)?;
    Ok(Bson::Boolean(exists))
}

/// Reads a value that may be a claim.
fn scalar_operand(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Operand, Fault> {
    match value {
        RawBsonRef::Array(_) => {
            Err(place.fault("is an array, and paths of a policy refuse arrays"))
        }
        RawBsonRef::Document(document) if begins_with_operator(document) => {
            Err(place.fault("has an operator in the place of a value"))
        }
        value => Ok(match claim(value, place)? {
            Some(name) => Operand::Claim(name),
            None => Operand::Literal(literal(value, place)?),
        }),
    }
}

/// Reads a list that may be a claim, or consist of claims.
fn list_operand(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Operand, Fault> {
    if let Some(name) = claim(value, place)? {
        return Ok(Operand::ListClaim(name));
    }
    let RawBsonRef::Array(array) = value else {
        return Err(place.fault("must be an array, or a claim"));
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (at, value) in elements(array, place)?.into_iter().enumerate() {
        let at = at.to_string();
        let place = &place.then(&at);
        match claim(value, place)? {
            Some(name) => names.push(name),
            None => values.push(literal(value, place)?),
        }
    }
    match (names.len(), values.is_empty()) {
        (0, _) => Ok(Operand::Literal(Bson::Array(values))),
        (..=MOST_VALUES, true) => Ok(Operand::Claims(names.into())),
        (_, true) => Err(place.fault(format!("has more than {MOST_VALUES} claims"))),
        (_, false) => Err(place.fault("mixes claims with other values")),
    }
}

/// Returns the name of the claim that a value stands for. A text that only resembles one is a fault.
pub(super) fn claim(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Option<Box<str>>, Fault> {
    let RawBsonRef::String(text) = value else {
        return Ok(None);
    };
    let Some(name) = text.strip_prefix(CLAIM) else {
        return Ok(None);
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:/".contains(&byte);
    if name.is_empty() || name.len() > MOST_NAME_BYTES || !name.bytes().all(legal) {
        let reason = "must name one claim, as \"$claims.NAME\", with letters, digits, _ - : and / in its name";
        return Err(place.fault(reason));
    }
    Ok(Some(name.into()))
}

/// Reads a value in which no claim may stand.
pub(super) fn literal(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Bson, Fault> {
    check_literal(value, place)?;
    Bson::try_from(value).map_err(|_| place.fault("is not well-formed"))
}

fn check_literal(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<(), Fault> {
    match value {
        RawBsonRef::Document(document) => {
            check_depth(place)?;
            for (name, value) in members(document, place)? {
                check_no_claim(name, place)?;
                check_literal(value, &place.then(name))?;
            }
            Ok(())
        }
        RawBsonRef::Array(array) => {
            check_depth(place)?;
            let elements = elements(array, place)?.into_iter().enumerate();
            let mut checked = elements.map(|(at, value)| {
                let at = at.to_string();
                check_literal(value, &place.then(&at))
            });
            checked.try_for_each(|checked| checked)
        }
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            check_no_claim(text, place)
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => check_no_claim(code.code, place),
        RawBsonRef::RegularExpression(regex) => check_no_claim(regex.pattern.as_str(), place),
        _ => Ok(()),
    }
}

fn elements<'d>(array: &'d RawArray, place: &Place<'_>) -> Result<Vec<RawBsonRef<'d>>, Fault> {
    let elements = array.into_iter().collect::<Result<_, _>>();
    elements.map_err(|_| place.fault("is not well-formed"))
}

fn begins_with_operator(document: &RawDocument) -> bool {
    let first = document.into_iter().next();
    first.is_some_and(|first| first.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
}

fn check_depth(place: &Place<'_>) -> Result<(), Fault> {
    if place.depth > MOST_LEVELS {
        return Err(place.fault(format!("is nested deeper than {MOST_LEVELS} levels")));
    }
    Ok(())
}

fn check_not_negated(negated: bool, place: &Place<'_>) -> Result<(), Fault> {
    if negated {
        return Err(place.fault("is a negation within a negation"));
    }
    Ok(())
}

fn check_no_claim(text: &str, place: &Place<'_>) -> Result<(), Fault> {
    if text.contains(CLAIM) {
        return Err(place.fault("names a claim where none can stand"));
    }
    Ok(())
}

fn check_path(path: &str, place: &Place<'_>) -> Result<(), Fault> {
    if path
        .split('.')
        .any(|part| part.is_empty() || part.starts_with('$'))
    {
        return Err(place.fault(if path.starts_with('$') {
            "is not an operator that a policy can use"
        } else {
            "is not a path: its parts must not be empty or begin with a dollar sign"
        }));
    }
    if path.split('.').count() > MOST_PATH_PARTS {
        return Err(place.fault(format!("has more than {MOST_PATH_PARTS} parts")));
    }
    check_no_claim(path, place)
}
