//! Operators on arrays, or with arrays as operands: `$in`, `$nin`, `$all`, `$elemMatch`.

use bson::spec::ElementType;

use super::super::ast::{Comparison, InList, Test};
use super::super::compare::compare;
use super::super::limits::Limits;
use super::super::value::Value;
use super::at::{At, refuse};
use super::operator::{Operator, Reference, is_operators};
use super::{PATHLESS, Parsed, Parser, all, check_whole, within};

impl Parser<'_> {
    /// Parses the values and regular expressions of `$in` or `$nin`.
    pub(super) fn list(&mut self, op: Operator<'_>, at: &At<'_>) -> Parsed<Test> {
        let mut values = Vec::new();
        let mut patterns = Vec::new();
        each(self.limits, op, at, |value, at| {
            if is_operators(value, Reference::Whole) {
                let reason = format!("{} takes values, not operators.", op.name);
                return Err(refuse(Some(op.name), at, reason));
            }
            match value.kind() {
                ElementType::RegularExpression => patterns.push(self.pattern(value, at)?),
                _ => values.push(self.operand(Some(op.name), value, at)?),
            }
            Ok(())
        })?;
        values.sort_by(|a, b| compare(a.value(), b.value()));
        values.dedup_by(|a, b| compare(a.value(), b.value()).is_eq());
        Ok(Test::In(Box::new(InList {
            values: values.into(),
            patterns: patterns.into(),
        })))
    }

    /// Parses `$all`: values and regular expressions, or `$elemMatch` throughout.
    pub(super) fn all(&mut self, op: Operator<'_>, at: &At<'_>) -> Parsed<Test> {
        let first = op.value.elements().next();
        let first = first.and_then(|(_, first)| first_name(first));
        let mut tests = Vec::new();
        each(self.limits, op, at, |value, at| {
            tests.push(if first == Some(b"$elemMatch") {
                self.all_elem_match(value, at)?
            } else {
                self.all_value(value, at)?
            });
            Ok(())
        })?;
        Ok(Test::All(tests.into()))
    }

    fn all_elem_match(&mut self, value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        match value.elements().next() {
            Some((b"$elemMatch", query)) if value.is_document() => {
                self.count(at)?;
                self.elem_match(query, &at.then("$elemMatch"))
            }
            _ => Err(refuse(
                Some("$all"),
                at,
                "$all takes $elemMatch throughout or not at all.",
            )),
        }
    }

    fn all_value(&mut self, value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        if value.is_document() && first_name(value).is_some_and(is_operator_name) {
            return Err(refuse(
                Some("$all"),
                at,
                "$all takes values, not operators.",
            ));
        }
        match value.kind() {
            ElementType::RegularExpression => self.regex_value(value, at),
            _ => Ok(Test::Compare(
                Comparison::Eq,
                self.operand(Some("$all"), value, at)?,
            )),
        }
    }

    /// Parses `$elemMatch`: operators on each element, or a query on elements that are documents.
    pub(super) fn elem_match(&mut self, query: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        if !query.is_document() {
            return Err(refuse(
                Some("$elemMatch"),
                at,
                "$elemMatch needs a document.",
            ));
        }
        self.extent.path_levels = self.extent.path_levels.max(at.components());
        within(self.extent.check_path_levels(), at)?;
        let first = first_name(query).unwrap_or_default();
        let pathless = PATHLESS.iter().any(|name| name.as_bytes() == first);
        if is_operators(query, Reference::Part) && !pathless {
            let mut nodes = Vec::new();
            self.operators("", query, at, &mut nodes)?;
            return Ok(Test::ElemMatchValue(Box::new(all(nodes))));
        }
        Ok(Test::ElemMatchDocument(Box::new(
            self.document(query.bytes(), at)?,
        )))
    }
}

/// Hands every value of an array argument to `take`.
fn each(
    limits: &Limits,
    op: Operator<'_>,
    at: &At<'_>,
    mut take: impl FnMut(Value<'_>, &At<'_>) -> Parsed<()>,
) -> Parsed<()> {
    if !op.value.is_array() {
        return Err(refuse(
            Some(op.name),
            at,
            format!("{} needs an array.", op.name),
        ));
    }
    let most = limits.list_values;
    let mut elements = op.value.elements();
    for (index, (_, value)) in (&mut elements).enumerate() {
        if index == most {
            let reason = format!("{} has more than {most} values.", op.name);
            return Err(refuse(Some(op.name), at, reason));
        }
        take(value, &at.then(&index.to_string()))?;
    }
    check_whole(&elements, at)
}

fn first_name(value: Value<'_>) -> Option<&[u8]> {
    value.elements().next().map(|(name, _)| name)
}

/// The operators of fields on a server. Other names that begin with `$` are allowed in a value of `$all`.
const FIELD_OPERATORS: &[&str] = &[
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$size",
    "$all",
    "$exists",
    "$mod",
    "$type",
    "$regex",
    "$options",
    "$elemMatch",
    "$near",
    "$nearSphere",
    "$geoNear",
    "$within",
    "$geoWithin",
    "$geoIntersects",
    "$bitsAllSet",
    "$bitsAllClear",
    "$bitsAnySet",
    "$bitsAnyClear",
];

fn is_operator_name(name: &[u8]) -> bool {
    name.starts_with(b"$_internal") || FIELD_OPERATORS.iter().any(|each| each.as_bytes() == name)
}
