//! Filters that are legal but that no document can match.

use super::ast::{Clause, Node, Test};

/// Why the condition can never hold, if that is plain.
pub(super) fn reason(node: &Node) -> Option<String> {
    match node {
        Node::Always(false) => Some("$alwaysFalse matches nothing.".to_owned()),
        Node::And(_, nodes) => nodes.iter().find_map(reason),
        Node::Or(nodes) => nodes
            .iter()
            .map(reason)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .next(),
        Node::Clause(clause) => clause_reason(clause),
        Node::Always(true) | Node::Nor(_) | Node::Not(..) => None,
    }
}

fn clause_reason(clause: &Clause) -> Option<String> {
    match &clause.test {
        Test::In(list) if list.values.is_empty() && list.patterns.is_empty() => Some(format!(
            "$in on \"{}\" lists no values.",
            clause.path.as_str()
        )),
        Test::All(tests) if tests.is_empty() => Some(format!(
            "$all on \"{}\" lists no values.",
            clause.path.as_str()
        )),
        _ => None,
    }
}
