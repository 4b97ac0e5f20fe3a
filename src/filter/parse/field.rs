//! What stands at a field: a value, or a document of operators.

use bson::spec::ElementType;

use super::super::ast::{Clause, Comparison, List, Negation, Node, Operand, Path, Test};
use super::super::compare::compare;
use super::super::value::{Elements, Value};
use super::at::{At, refuse};
use super::{Parsed, Parser, all, check_whole, text, unknown};

impl Parser<'_> {
    /// `path: value`, into one node or several.
    pub(super) fn field(
        &mut self,
        path: &str,
        value: Value<'_>,
        at: &At<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        if is_operators(value) {
            return self.operators(path, value, at, nodes);
        }
        self.count(at)?;
        let test = Test::Compare(Comparison::Eq, self.operand(None, value, at)?);
        nodes.push(Node::Clause(Clause {
            path: Path::new(path),
            test,
            implicit: true,
        }));
        Ok(())
    }

    fn operators(
        &mut self,
        path: &str,
        value: Value<'_>,
        at: &At<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        self.check_depth(at)?;
        let mut elements = value.elements();
        for (name, value) in &mut elements {
            let name = text(name, at)?;
            let at = at.then(name);
            self.count(&at)?;
            nodes.push(self.operator(path, name, value, &at)?);
        }
        check_whole(&elements, at)
    }

    fn operator(&mut self, path: &str, name: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Node> {
        let clause = |test| {
            Node::Clause(Clause {
                path: Path::new(path),
                test,
                implicit: false,
            })
        };
        let not = |how, node| Node::Not(how, Box::new(node));
        Ok(match name {
            "$eq" => clause(self.comparison(name, Comparison::Eq, value, at)?),
            "$gt" => clause(self.comparison(name, Comparison::Gt, value, at)?),
            "$gte" => clause(self.comparison(name, Comparison::Gte, value, at)?),
            "$lt" => clause(self.comparison(name, Comparison::Lt, value, at)?),
            "$lte" => clause(self.comparison(name, Comparison::Lte, value, at)?),
            "$ne" => not(
                Negation::Ne,
                clause(self.comparison(name, Comparison::Eq, value, at)?),
            ),
            "$in" => clause(self.list(name, value, at)?),
            "$nin" => not(Negation::Nin, clause(self.list(name, value, at)?)),
            "$exists" if is_true(value) => clause(Test::Exists),
            "$exists" => not(Negation::Absent, clause(Test::Exists)),
            "$not" => not(Negation::Not, self.negated(path, value, at)?),
            _ => return Err(unknown(name, at, "an operator")),
        })
    }

    fn negated(&mut self, path: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Node> {
        if !value.is_document() || value.elements().next().is_none() {
            return Err(refuse(
                Some("$not"),
                at,
                "$not needs a document of operators.",
            ));
        }
        let mut nodes = Vec::new();
        self.operators(path, value, at, &mut nodes)?;
        Ok(all(nodes))
    }

    fn comparison(
        &self,
        name: &str,
        comparison: Comparison,
        value: Value<'_>,
        at: &At<'_>,
    ) -> Parsed<Test> {
        if value.kind() == ElementType::RegularExpression && name != "$eq" {
            return Err(refuse(
                Some(name),
                at,
                format!("{name} takes no regular expression."),
            ));
        }
        Ok(Test::Compare(
            comparison,
            self.operand(Some(name), value, at)?,
        ))
    }

    fn list(&self, name: &str, value: Value<'_>, at: &At<'_>) -> Parsed<Test> {
        if !value.is_array() {
            return Err(refuse(Some(name), at, format!("{name} needs an array.")));
        }
        let mut values = Vec::new();
        let mut elements = value.elements();
        for (index, (_, value)) in (&mut elements).enumerate() {
            if index == self.limits.list_values {
                let reason = format!("{name} has more than {index} values.");
                return Err(refuse(Some(name), at, reason));
            }
            let index = index.to_string();
            values.push(self.operand(Some(name), value, &at.then(&index))?);
        }
        check_whole(&elements, at)?;
        values.sort_by(|a, b| compare(a.value(), b.value()));
        values.dedup_by(|a, b| compare(a.value(), b.value()).is_eq());
        Ok(Test::In(Box::new(List {
            values: values.into(),
        })))
    }

    /// A value to compare with, checked to its ends.
    fn operand(&self, name: Option<&str>, value: Value<'_>, at: &At<'_>) -> Parsed<Operand> {
        if value.kind() == ElementType::Undefined {
            return Err(refuse(name, at, "Nothing can be compared with undefined."));
        }
        self.check_value(value, at)?;
        Ok(Operand::new(value))
    }

    fn check_value(&self, value: Value<'_>, at: &At<'_>) -> Parsed<()> {
        if !value.is_document() && !value.is_array() {
            return Ok(());
        }
        self.check_depth(at)?;
        let mut elements: Elements<'_> = value.elements();
        for (name, value) in &mut elements {
            self.check_value(value, &at.then(text(name, at)?))?;
        }
        check_whole(&elements, at)
    }
}

/// Whether a document holds operators, not fields: its first name begins with `$`, unless it is
/// a database reference.
fn is_operators(value: Value<'_>) -> bool {
    let names = || value.elements().map(|(name, _)| name);
    value.is_document()
        && names().next().is_some_and(|first| first.starts_with(b"$"))
        && !(names().any(|name| name == b"$ref") && names().any(|name| name == b"$id"))
}

/// Truth as the server takes it in `$exists`: anything but false, null, undefined and zero.
fn is_true(value: Value<'_>) -> bool {
    use super::super::number::Number;
    match value.kind() {
        ElementType::Boolean => value.bytes() != [0],
        ElementType::Null | ElementType::Undefined => false,
        _ => Number::of(value).is_none_or(|number| number.exact_int() != Some(0)),
    }
}
