//! Conditions on a field: a value, or a document of operators.

use bson::spec::ElementType;

use super::super::ast::{BitOperator, Clause, Comparison, Node, NotSyntax, Operand, Path, Test};
use super::super::value::Value;
use super::at::{At, refuse};
use super::operator::{Operator, Reference, is_operators};
use super::{Parsed, Parser, all, check_whole, scalar, text, unknown};

impl Parser<'_> {
    /// Parses `path: value` into one node or several.
    pub(super) fn field(
        &mut self,
        path: &str,
        value: Value<'_>,
        at: &At<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        check_path(path, at)?;
        if is_operators(value, Reference::Whole) {
            return self.operators(path, value, at, nodes);
        }
        self.count(at)?;
        let test = match value.kind() {
            ElementType::RegularExpression => self.regex_value(value, at)?,
            _ => Test::Compare(Comparison::Eq, self.operand(None, value, at)?),
        };
        nodes.push(Node::Clause(Clause {
            path: Path::new(path),
            test,
            implicit: true,
        }));
        Ok(())
    }

    /// Parses a document of operators on `path`.
    pub(super) fn operators(
        &mut self,
        path: &str,
        context: Value<'_>,
        at: &At<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        self.check_depth(at)?;
        let mut elements = context.elements();
        for (name, value) in &mut elements {
            let name = text(name, at)?;
            let at = at.then(name);
            self.count(&at)?;
            let operator = Operator {
                name,
                value,
                context,
            };
            nodes.extend(self.operator(path, operator, &at)?);
        }
        check_whole(&elements, at)
    }

    /// Parses one operator. `$options` yields no node: it is parsed with its `$regex`.
    fn operator(&mut self, path: &str, op: Operator<'_>, at: &At<'_>) -> Parsed<Option<Node>> {
        let clause = |test| {
            Node::Clause(Clause {
                path: Path::new(path),
                test,
                implicit: false,
            })
        };
        let not = |how, node| Node::Not(how, Box::new(node));
        if op.value.is_document() || op.value.is_array() {
            self.check_depth(at)?;
        }
        Ok(Some(match op.name {
            "$ne" => not(
                NotSyntax::Ne,
                clause(self.comparison(Comparison::Eq, op, at)?),
            ),
            "$nin" => not(NotSyntax::Nin, clause(self.list(op, at)?)),
            "$exists" if !is_true(op.value) => not(NotSyntax::Absent, clause(Test::Exists)),
            "$not" => not(NotSyntax::Not, self.negated(path, op.value, at)?),
            "$options" => {
                check_has_regex(op, at)?;
                return Ok(None);
            }
            _ => clause(self.test(op, at)?),
        }))
    }

    /// Parses an operator that is a plain test.
    fn test(&mut self, op: Operator<'_>, at: &At<'_>) -> Parsed<Test> {
        match op.name {
            "$eq" => self.comparison(Comparison::Eq, op, at),
            "$gt" => self.comparison(Comparison::Gt, op, at),
            "$gte" => self.comparison(Comparison::Gte, op, at),
            "$lt" => self.comparison(Comparison::Lt, op, at),
            "$lte" => self.comparison(Comparison::Lte, op, at),
            "$in" => self.list(op, at),
            "$all" => self.all(op, at),
            "$elemMatch" => self.elem_match(op.value, at),
            "$regex" => self.regex(op.context, at),
            "$exists" => Ok(Test::Exists),
            "$type" => scalar::types(op.value, at),
            "$mod" => scalar::modulo(op.value, at),
            "$size" => scalar::size(op.value, at),
            "$bitsAllSet" => scalar::bits(BitOperator::AllSet, op, at),
            "$bitsAnySet" => scalar::bits(BitOperator::AnySet, op, at),
            "$bitsAllClear" => scalar::bits(BitOperator::AllClear, op, at),
            "$bitsAnyClear" => scalar::bits(BitOperator::AnyClear, op, at),
            name => Err(unknown(name, at, "an operator")),
        }
    }

    fn negated(&mut self, path: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Node> {
        if value.kind() == ElementType::RegularExpression {
            let test = self.regex_value(value, at)?;
            return Ok(Node::Clause(Clause {
                path: Path::new(path),
                test,
                implicit: true,
            }));
        }
        if !value.is_document() || value.elements().next().is_none() {
            let reason = "$not needs a document of operators or a regular expression.";
            return Err(refuse(Some("$not"), at, reason));
        }
        let mut nodes = Vec::new();
        self.operators(path, value, at, &mut nodes)?;
        Ok(all(nodes))
    }

    fn comparison(
        &mut self,
        comparison: Comparison,
        op: Operator<'_>,
        at: &At<'_>,
    ) -> Parsed<Test> {
        let name = op.name;
        if op.value.kind() == ElementType::RegularExpression && name != "$eq" {
            return Err(refuse(
                Some(name),
                at,
                format!("{name} takes no regular expression."),
            ));
        }
        Ok(Test::Compare(
            comparison,
            self.operand(Some(name), op.value, at)?,
        ))
    }

    /// Copies a value to compare with, and checks all of it.
    pub(super) fn operand(
        &mut self,
        name: Option<&str>,
        value: Value<'_>,
        at: &At<'_>,
    ) -> Parsed<Operand> {
        if value.kind() == ElementType::Undefined {
            return Err(refuse(name, at, "Nothing can be compared with undefined."));
        }
        self.check_value(value, at)?;
        Ok(Operand::new(value))
    }
}

fn check_has_regex(op: Operator<'_>, at: &At<'_>) -> Parsed<()> {
    if op.context.elements().any(|(name, _)| name == b"$regex") {
        return Ok(());
    }
    Err(refuse(
        Some("$options"),
        at,
        "$options needs a $regex beside it.",
    ))
}

/// Most components of a path: a server follows no longer one.
const MAX_COMPONENTS: usize = 180;

pub(super) fn check_path(path: &str, at: &At<'_>) -> Parsed<()> {
    if path.split('.').count() > MAX_COMPONENTS {
        let reason = format!("A path has more than {MAX_COMPONENTS} components.");
        return Err(refuse(None, at, reason));
    }
    Ok(())
}

/// Whether `$exists` takes a value as true: anything but false, null, undefined and zero.
fn is_true(value: Value<'_>) -> bool {
    use super::super::number::Number;
    match value.kind() {
        ElementType::Boolean => value.bytes() != [0],
        ElementType::Null | ElementType::Undefined => false,
        _ => Number::of(value).is_none_or(|number| number.exact_int() != Some(0)),
    }
}
