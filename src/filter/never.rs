//! Filters that are legal but that no document can match.
//!
//! Only what is certain is told. `{a: {$gt: 5, $lt: 3}}` is not among it: `{a: [6, 2]}` matches.

use std::cmp::Ordering;

use super::ast::{Clause, Comparison, Node, Test};
use super::compare::{Rank, compare};
use super::cost::{Free, sure};
use super::number::Number;
use super::value::Value;

/// Why the condition can never hold, if that is plain.
pub(super) fn reason(node: &Node) -> Option<String> {
    match node {
        Node::Always(false) => Some("$alwaysFalse matches nothing.".to_owned()),
        Node::And(_, nodes) => nodes
            .iter()
            .find_map(reason)
            .or_else(|| contradiction(nodes)),
        Node::Or(nodes) => every(nodes),
        Node::Nor(nodes) if nodes.iter().any(is_always) => {
            Some("$nor excludes every document.".to_owned())
        }
        Node::Clause(clause) => clause_reason(clause),
        Node::Always(true) | Node::Nor(_) | Node::Not(..) => None,
    }
}

/// The first reason if all alternatives have one.
fn every(nodes: &[Node]) -> Option<String> {
    let reasons: Option<Vec<_>> = nodes.iter().map(reason).collect();
    reasons?.into_iter().next()
}

fn is_always(node: &Node) -> bool {
    match node {
        Node::Always(always) => *always,
        Node::And(_, nodes) => nodes.iter().all(is_always),
        _ => false,
    }
}

fn clause_reason(clause: &Clause) -> Option<String> {
    let path = clause.path.as_str();
    test_reason(&clause.test).map(|why| format!("On \"{path}\": {why}"))
}

fn test_reason(test: &Test) -> Option<String> {
    match test {
        Test::Compare(comparison, operand) if is_beyond(*comparison, operand.value()) => {
            Some("nothing lies beyond the end of that type's values.".to_owned())
        }
        Test::In(list) if list.values.is_empty() && list.patterns.is_empty() => {
            Some("$in lists no values.".to_owned())
        }
        Test::All(tests) if tests.is_empty() => Some("$all lists no values.".to_owned()),
        Test::All(tests) => tests.iter().find_map(test_reason),
        Test::ElemMatchDocument(node) => reason(node),
        Test::ElemMatchValue(node) => reason(node).or_else(|| element_contradiction(node)),
        _ => None,
    }
}

/// Whether a comparison asks for less than the least or more than the greatest of its kind.
fn is_beyond(comparison: Comparison, operand: Value<'_>) -> bool {
    let first = operand.bytes().first();
    match (comparison, Rank::of(operand.kind())) {
        (Comparison::Gt | Comparison::Lt, Rank::Number) => {
            Number::of(operand).is_some_and(Number::is_nan)
        }
        (Comparison::Gt, Rank::Null | Rank::MaxKey)
        | (Comparison::Lt, Rank::Null | Rank::MinKey) => true,
        (Comparison::Lt, Rank::Text) => operand.text().is_some_and(<[u8]>::is_empty),
        (Comparison::Lt, Rank::Boolean) => first == Some(&0),
        (Comparison::Gt, Rank::Boolean) => first != Some(&0),
        _ => false,
    }
}

/// A condition and its negation, or a value asked for at a path that must be absent.
fn contradiction(nodes: &[Node]) -> Option<String> {
    let clauses = || nodes.iter().filter_map(clause_of);
    nodes.iter().filter_map(negated_clause_of).find_map(|no| {
        let yes = clauses().find(|yes| yes.path == no.path && implies(&yes.test, &no.test))?;
        Some(format!(
            "On \"{}\": one condition excludes another.",
            yes.path.as_str()
        ))
    })
}

fn clause_of(node: &Node) -> Option<&Clause> {
    match node {
        Node::Clause(clause) => Some(clause),
        _ => None,
    }
}

fn negated_clause_of(node: &Node) -> Option<&Clause> {
    match node {
        Node::Not(_, inner) => clause_of(inner),
        _ => None,
    }
}

/// Whether some value's passing `yes` means that it passes `no`, in the plainest cases.
fn implies(yes: &Test, no: &Test) -> bool {
    match (yes, no) {
        (Test::All(_), _) => false,
        (yes, Test::Exists) => !sure(yes.passes(None, &mut Free)),
        // Equal values may differ in type, and null equals what is absent: only comparisons treat
        // all of them alike.
        (Test::Compare(Comparison::Eq, operand), Test::Compare(..) | Test::In(_)) => {
            Rank::of(operand.value().kind()) != Rank::Null
                && sure(no.passes(Some(operand.value()), &mut Free))
        }
        _ => false,
    }
}

/// Two comparisons that no single value meets. Inside `$elemMatch` there is but one.
fn element_contradiction(node: &Node) -> Option<String> {
    let Node::And(_, nodes) = node else {
        return None;
    };
    let comparisons = || {
        nodes
            .iter()
            .filter_map(clause_of)
            .filter_map(|clause| match &clause.test {
                Test::Compare(comparison, operand) => Some((*comparison, operand.value())),
                _ => None,
            })
    };
    let exclusive = comparisons().any(|a| comparisons().any(|b| exclude(a, b)));
    exclusive.then(|| "no single element meets all of $elemMatch.".to_owned())
}

fn exclude((a, x): (Comparison, Value<'_>), (b, y): (Comparison, Value<'_>)) -> bool {
    let (rank, other) = (Rank::of(x.kind()), Rank::of(y.kind()));
    let plain = |rank| !matches!(rank, Rank::MinKey | Rank::MaxKey | Rank::Null);
    if !plain(rank) || !plain(other) {
        return false;
    }
    if rank != other {
        return true;
    }
    let order = compare(x, y);
    match (a, b) {
        (Comparison::Eq, _) => !b.accepts_of(Some(x), y),
        (Comparison::Gt, Comparison::Lt | Comparison::Lte) | (Comparison::Gte, Comparison::Lt) => {
            order != Ordering::Less
        }
        (Comparison::Gte, Comparison::Lte) => order == Ordering::Greater,
        _ => false,
    }
}
