//! Legal filters that no document can match.
//!
//! Only certain cases are reported. `{a: {$gt: 5, $lt: 3}}` is not one of them: `{a: [6, 2]}` matches.

use std::cmp::Ordering;
use std::fmt;

use super::ast::{Clause, Comparison, Node, Path, Test};
use super::compare::{Rank, compare, cost};
use super::cost::{Meter, Steps, TooExpensive};
use super::matching::TEST_STEPS;
use super::number::Number;
use super::value::Value;

/// Most steps of the search for a reason. Filters that people write take some hundred.
const MOST_STEPS: u64 = 10_000_000;

/// Returns the reason why the condition can never hold, if a short search finds one.
pub(super) fn reason(node: &Node) -> Option<String> {
    let why = of_node(node, &mut Steps::new(MOST_STEPS)).ok()??;
    Some(why.to_string())
}

/// A reason, and the paths above it, the innermost first.
struct Why<'f> {
    paths: Vec<&'f str>,
    reason: &'static str,
}

/// A reason, if there is one, or the end of the budget.
type Finding<'f> = Result<Option<Why<'f>>, TooExpensive>;

impl<'f> Why<'f> {
    fn new(reason: &'static str) -> Self {
        Self {
            paths: Vec::new(),
            reason,
        }
    }

    fn on(mut self, path: &'f Path) -> Self {
        self.paths.push(path.as_str());
        self
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in self.paths.iter().rev() {
            write!(f, "On \"{path}\": ")?;
        }
        f.write_str(self.reason)
    }
}

fn of_node<'f>(node: &'f Node, steps: &mut Steps) -> Finding<'f> {
    steps.charge(TEST_STEPS)?;
    match node {
        Node::Always(false) => Ok(Some(Why::new("$alwaysFalse matches nothing."))),
        Node::And(_, nodes) => match first(nodes, |node| of_node(node, steps))? {
            Some(why) => Ok(Some(why)),
            None => contradiction(nodes, steps),
        },
        Node::Or(nodes) => every(nodes, steps),
        Node::Nor(nodes) if nodes.iter().any(is_always) => {
            Ok(Some(Why::new("$nor excludes every document.")))
        }
        Node::Clause(clause) => {
            let why = of_test(&clause.test, steps)?;
            Ok(why.map(|why| why.on(&clause.path)))
        }
        Node::Always(true) | Node::Nor(_) | Node::Not(..) => Ok(None),
    }
}

/// Returns the first reason that any of `each` gives.
fn first<'f, T>(
    each: impl IntoIterator<Item = T>,
    mut reason: impl FnMut(T) -> Finding<'f>,
) -> Finding<'f> {
    for item in each {
        if let Some(why) = reason(item)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Returns the first reason, if all alternatives have one.
fn every<'f>(nodes: &'f [Node], steps: &mut Steps) -> Finding<'f> {
    let mut first = None;
    for node in nodes {
        let Some(why) = of_node(node, steps)? else {
            return Ok(None);
        };
        first.get_or_insert(why);
    }
    Ok(first)
}

fn is_always(node: &Node) -> bool {
    match node {
        Node::Always(always) => *always,
        Node::And(_, nodes) => nodes.iter().all(is_always),
        _ => false,
    }
}

fn of_test<'f>(test: &'f Test, steps: &mut Steps) -> Finding<'f> {
    steps.charge(TEST_STEPS)?;
    let reason = match test {
        Test::Compare(comparison, operand) if is_beyond(*comparison, operand.value()) => {
            "that type has no values beyond this one."
        }
        Test::In(list) if list.values.is_empty() && list.patterns.is_empty() => {
            "$in lists no values."
        }
        Test::All(tests) if tests.is_empty() => "$all lists no values.",
        Test::All(tests) => return first(tests, |test| of_test(test, steps)),
        Test::ElemMatchDocument(node) => return of_node(node, steps),
        Test::ElemMatchValue(node) => {
            return match of_node(node, steps)? {
                Some(why) => Ok(Some(why)),
                None => element_contradiction(node, steps),
            };
        }
        _ => return Ok(None),
    };
    Ok(Some(Why::new(reason)))
}

/// Whether a comparison asks for less than the least or more than the greatest value of its kind.
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

/// Finds a condition beside its negation, or a value that is required at a path that must be absent.
fn contradiction<'f>(nodes: &'f [Node], steps: &mut Steps) -> Finding<'f> {
    let mut clauses: Vec<&Clause> = nodes.iter().filter_map(clause_of).collect();
    clauses.sort_by_key(|clause| clause.path.as_str());
    first(nodes.iter().filter_map(negated_clause_of), |no| {
        let path = no.path.as_str();
        let from = clauses.partition_point(|clause| clause.path.as_str() < path);
        let same = clauses.iter().skip(from);
        first(same.take_while(|yes| yes.path == no.path), |yes| {
            let excludes = implies(&yes.test, &no.test, steps)?;
            Ok(excludes.then(|| Why::new("one condition excludes another.").on(&yes.path)))
        })
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

/// Whether any value that passes `yes` passes `no` too. Only the plainest cases are recognized.
fn implies(yes: &Test, no: &Test, steps: &mut Steps) -> Result<bool, TooExpensive> {
    steps.charge(TEST_STEPS)?;
    match (yes, no) {
        (Test::All(_), _) => Ok(false),
        (yes, Test::Exists) => Ok(!yes.passes(None, steps)?),
        // Equal values may differ in type, and null equals the absent value. Only comparisons treat all of them
        // alike.
        (Test::Compare(Comparison::Eq, operand), Test::Compare(..) | Test::In(_)) => {
            Ok(Rank::of(operand.value().kind()) != Rank::Null
                && no.passes(Some(operand.value()), steps)?)
        }
        _ => Ok(false),
    }
}

/// Finds two comparisons that no single value meets: inside `$elemMatch` one element has to meet both.
fn element_contradiction<'f>(node: &'f Node, steps: &mut Steps) -> Finding<'f> {
    let Node::And(_, nodes) = node else {
        return Ok(None);
    };
    let clauses = nodes.iter().filter_map(clause_of);
    let comparisons = clauses.filter_map(|clause| match &clause.test {
        Test::Compare(comparison, operand) => Some((*comparison, operand.value())),
        _ => None,
    });
    let comparisons: Vec<_> = comparisons.collect();
    first(&comparisons, |a| {
        first(&comparisons, |b| {
            steps.charge(TEST_STEPS + cost(a.1, b.1))?;
            Ok(exclude(*a, *b).then(|| Why::new("no single element meets all of $elemMatch.")))
        })
    })
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

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf, doc};

    use super::*;
    use crate::filter::Filter;

    fn steps_of(filter: &Document) -> u64 {
        let raw = RawDocumentBuf::try_from(filter).expect("documents have a raw form");
        let filter = Filter::parse(&raw).expect("the filter is legal");
        let mut steps = Steps::new(MOST_STEPS);
        let found = of_node(filter.root(), &mut steps);
        assert!(matches!(found, Ok(None) | Err(TooExpensive)));
        steps.spent()
    }

    fn check_linear(sizes: [usize; 3], filter: impl Fn(usize) -> Document) {
        let [small, middle, large] = sizes.map(|size| steps_of(&filter(size)) / size as u64);
        let most = small.min(middle) * 5 / 4 + 1;
        assert!(large <= most, "{small}, {middle} and {large} for each");
    }

    #[test]
    fn the_search_for_a_reason_grows_with_the_filter() {
        check_linear([20, 40, 80], |depth| {
            (0..depth).fold(doc! { "a": 1 }, |inside, _| {
                doc! { "a": { "$elemMatch": inside }, "$or": [{ "b": 1 }, { "c": 1 }] }
            })
        });
        check_linear([50, 100, 400], |number| {
            (0..number)
                .map(|at| {
                    (
                        format!("a{at}"),
                        Bson::Document(doc! { "$gt": 1, "$ne": 5 }),
                    )
                })
                .collect()
        });
    }

    #[test]
    fn what_is_not_found_soon_is_not_told() {
        // Each text would be tried with each pattern.
        let text = |n| doc! { "a": format!("{}{n}", "x".repeat(900)) };
        let c_string = |text: String| bson::raw::CString::try_from(text).expect("no NUL");
        let pattern = |n: usize| {
            Bson::RegularExpression(bson::Regex {
                pattern: c_string(format!("y{{{n}}}")),
                options: c_string(String::new()),
            })
        };
        let none = |n: usize| doc! { "a": { "$nin": [pattern(n)] } };
        let all: Vec<Document> = (0..400).map(text).chain((1..40).map(none)).collect();
        assert_eq!(steps_of(&doc! { "$and": all }), MOST_STEPS);
    }

    #[test]
    fn a_reason_names_the_paths_to_it() {
        let filter = doc! { "a": { "$elemMatch": { "b": { "$in": [] } } } };
        let raw = RawDocumentBuf::try_from(&filter).expect("documents have a raw form");
        let filter = Filter::parse(&raw).expect("the filter is legal");
        let reason = reason(filter.root());
        assert_eq!(
            reason.as_deref(),
            Some("On \"a\": On \"b\": $in lists no values.")
        );
    }
}
