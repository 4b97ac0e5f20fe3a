//! The demands of a filter: values that an event must have before it can match.
//!
//! A filter becomes a list of conjunctions, and a matching event meets at least one of them. Only demands that an
//! absent value cannot meet are considered, since an event finds filters by the values that it has.

use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use super::super::ast::{Clause, Comparison, InList, Node, Operand, Test};
use super::super::compare::Rank;
#[cfg(test)]
use super::super::tally;
use super::super::value::Value;
use super::key;
use super::literal;

/// Most conjunctions that the demands beside an `$or` are copied into.
const MAX_COPIES: usize = 64;

/// Most demands of one conjunction, and most of its `$or`s, that are considered.
const MAX_DEMANDS: usize = 128;
const MAX_DISJUNCTIONS: usize = 8;

/// Most bytes of a path joined from several that is worth a demand.
const MAX_ROUTE_BYTES: usize = 4_096;

/// Demands that an event must meet together.
pub(super) type Conjunction<'f> = Vec<Demand<'f>>;

/// A value that an event must have at a path.
#[derive(Clone, Debug)]
pub(super) struct Demand<'f> {
    pub(super) path: Route<'f>,
    /// The values of which one must be there.
    pub(super) demanded: Demanded,
}

/// A path as written, or joined from the paths of an `$elemMatch` and of a query in it.
#[derive(Clone, Debug)]
pub(super) enum Route<'f> {
    /// A path as written.
    Written(&'f str),
    /// A joined path.
    Joined(Rc<str>),
}

impl Route<'_> {
    /// Returns the path as text.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Written(path) => path,
            Self::Joined(path) => path,
        }
    }

    /// Joins this path and one that goes on from it; `None` if the result is very long.
    fn join(&self, below: &str) -> Option<Self> {
        let above = self.as_str();
        let fits = above.len() + below.len() < MAX_ROUTE_BYTES;
        fits.then(|| Self::Joined(format!("{above}.{below}").into()))
    }
}

/// The values of which a path must have one.
#[derive(Clone, Debug)]
pub(super) enum Demanded {
    /// A value with one of these digests.
    Equal(SmallVec<[u64; 1]>),
    /// A text with this prefix.
    Prefix(String),
    /// A value of this rank whose ordinal is at or above the first number, and one, perhaps another, whose ordinal
    /// is at or below the second.
    Range(Rank, u64, u64),
    /// Any value.
    Present,
}

impl Demand<'_> {
    /// Whether the demand is small enough to copy.
    fn is_short(&self) -> bool {
        !matches!(&self.demanded, Demanded::Equal(digests) if digests.len() > MAX_COPIES)
    }
}

/// The analysis of filters. Digests are taken under `seed`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Analysis {
    pub(super) seed: u64,
}

/// A conjunction while it is read.
#[derive(Default)]
struct PartialConjunction<'f> {
    demands: Conjunction<'f>,
    disjunctions: Vec<&'f [Node]>,
    impossible: bool,
}

impl<'f> PartialConjunction<'f> {
    /// Adds a demand, if there are not too many.
    fn demand(&mut self, path: &Route<'f>, demanded: Demanded) {
        if self.demands.len() < MAX_DEMANDS {
            let path = path.clone();
            self.demands.push(Demand { path, demanded });
        }
    }
}

impl Analysis {
    /// Returns the conjunctions of a filter. If there are none, nothing can match.
    pub(super) fn conjunctions(self, node: &Node) -> Vec<Conjunction<'_>> {
        let mut all = self.alternatives(node);
        all.iter_mut().for_each(intersect_ranges);
        all
    }

    /// Returns the conjunctions with all ranges as they are written.
    fn alternatives(self, node: &Node) -> Vec<Conjunction<'_>> {
        let mut parts = PartialConjunction::default();
        self.read(node, &mut parts);
        if parts.impossible {
            return Vec::new();
        }
        let branches = parts.disjunctions.iter().take(MAX_DISJUNCTIONS);
        let branches = branches.filter_map(|branches| self.branches(branches, &parts.demands));
        match branches.min_by_key(Vec::len) {
            Some(branches) => branches,
            None => vec![parts.demands],
        }
    }

    /// Returns the conjunctions of an `$or`, each with the demands beside it; `None` if some branch has no demand
    /// of its own, or if there are too many.
    fn branches<'f>(
        self,
        nodes: &'f [Node],
        beside: &[Demand<'f>],
    ) -> Option<Vec<Conjunction<'f>>> {
        let mut all = Vec::new();
        self.collect(nodes, &mut all);
        let useful = all.iter().all(|conjunction| !conjunction.is_empty());
        if !useful || (!beside.is_empty() && all.len() > MAX_COPIES) {
            return None;
        }
        for conjunction in &mut all {
            let own = conjunction.len();
            let room = MAX_DEMANDS.saturating_sub(own);
            let beside = beside.iter().filter(|demand| demand.is_short()).take(room);
            conjunction.extend(beside.cloned());
            #[cfg(test)]
            tally::add(1 + conjunction.len() - own);
        }
        Some(all)
    }

    /// Adds the conjunctions of an `$or`. An `$or` that is one of its branches is flattened.
    fn collect<'f>(self, nodes: &'f [Node], all: &mut Vec<Conjunction<'f>>) {
        for node in nodes {
            match node {
                Node::Or(nodes) => self.collect(nodes, all),
                Node::And(_, nodes) if nodes.len() == 1 => self.collect(nodes, all),
                node => {
                    let alternatives = self.alternatives(node);
                    #[cfg(test)]
                    tally::add(alternatives.len());
                    all.extend(alternatives);
                }
            }
        }
    }

    fn read<'f>(self, node: &'f Node, parts: &mut PartialConjunction<'f>) {
        match node {
            Node::And(_, nodes) => nodes.iter().for_each(|node| self.read(node, parts)),
            Node::Or(nodes) => match &**nodes {
                [only] => self.read(only, parts),
                nodes => parts.disjunctions.push(nodes),
            },
            Node::Always(always) => parts.impossible |= !always,
            Node::Clause(clause) => {
                let path = Route::Written(clause.path.as_str());
                self.test(&path, &clause.test, parts);
            }
            Node::Nor(_) | Node::Not(..) => {}
        }
    }

    fn test<'f>(self, path: &Route<'f>, test: &'f Test, parts: &mut PartialConjunction<'f>) {
        let demand = match test {
            Test::Compare(Comparison::Eq, operand) => self.equal(operand),
            Test::Compare(comparison, operand) => range(*comparison, operand.value()),
            Test::In(list) => self.list(list),
            Test::Regex(pattern) => {
                let (source, options) = pattern.source();
                Some(match literal::prefix(source, options) {
                    prefix if prefix.is_empty() => Demanded::Present,
                    prefix => Demanded::Prefix(prefix),
                })
            }
            Test::All(tests) => {
                parts.impossible |= tests.is_empty();
                tests.iter().for_each(|test| self.test(path, test, parts));
                None
            }
            Test::ElemMatchValue(node) => {
                self.element(path, node, parts);
                Some(Demanded::Present)
            }
            Test::ElemMatchDocument(node) => {
                self.members(path, node, parts);
                Some(Demanded::Present)
            }
            Test::Exists | Test::Type(_) | Test::Mod(_) | Test::Size(_) | Test::Bits(_) => {
                Some(Demanded::Present)
            }
        };
        if let Some(what) = demand {
            parts.demand(path, what);
        }
    }

    /// Reads operators on an element of an array at the path. The element is among the path's values.
    fn element<'f>(self, path: &Route<'f>, node: &'f Node, parts: &mut PartialConjunction<'f>) {
        match node {
            Node::And(_, nodes) => {
                nodes
                    .iter()
                    .for_each(|node| self.element(path, node, parts));
            }
            Node::Clause(clause) => self.test(path, &clause.test, parts),
            _ => {}
        }
    }

    /// Reads a query on an element of an array at the path. If the element is a document, the query's paths go on from
    /// this one. If it is an array, it has no values at them unless they begin with a number.
    fn members<'f>(self, path: &Route<'f>, node: &'f Node, parts: &mut PartialConjunction<'f>) {
        match node {
            Node::And(_, nodes) => {
                nodes
                    .iter()
                    .for_each(|node| self.members(path, node, parts));
            }
            Node::Clause(Clause {
                path: below, test, ..
            }) => {
                let below = below.as_str();
                if !below.starts_with(|first: char| first.is_ascii_digit())
                    && let Some(path) = path.join(below)
                {
                    self.test(&path, test, parts);
                }
            }
            _ => {}
        }
    }

    fn equal(self, operand: &Operand) -> Option<Demanded> {
        let value = operand.value();
        let digest = || key::digest(value, self.seed);
        (!is_met_by_absence(value)).then(|| Demanded::Equal(smallvec![digest()]))
    }

    fn list(self, list: &InList) -> Option<Demanded> {
        let values = || list.values.iter().map(Operand::value);
        if values().any(is_met_by_absence) {
            return None;
        }
        if !list.patterns.is_empty() {
            return Some(Demanded::Present);
        }
        let mut digests: SmallVec<_> = values()
            .map(|value| key::digest(value, self.seed))
            .collect();
        digests.sort_unstable();
        digests.dedup();
        Some(Demanded::Equal(digests))
    }
}

fn is_met_by_absence(value: Value<'_>) -> bool {
    matches!(Rank::of(value.kind()), Rank::Null | Rank::Absent)
}

/// Returns the range of a comparison. `MinKey`, `MaxKey` and null have none: values of any kind, or none, may meet
/// them.
fn range(comparison: Comparison, operand: Value<'_>) -> Option<Demanded> {
    let rank = Rank::of(operand.kind());
    if matches!(
        rank,
        Rank::MinKey | Rank::MaxKey | Rank::Null | Rank::Absent
    ) {
        return None;
    }
    let ordinal = key::ordinal(operand);
    Some(match comparison {
        Comparison::Lt | Comparison::Lte => Demanded::Range(rank, 0, ordinal),
        _ => Demanded::Range(rank, ordinal, u64::MAX),
    })
}

/// Intersects ranges on the same path.
fn intersect_ranges(demands: &mut Conjunction<'_>) {
    let mut at = 0;
    while at < demands.len() {
        let (before, after) = demands.split_at_mut(at);
        let Some(demand) = after.first() else { return };
        let earlier = before
            .iter_mut()
            .find(|each| same_rank(each, demand) && each.path.as_str() == demand.path.as_str());
        match (earlier.map(|each| &mut each.demanded), &demand.demanded) {
            (Some(Demanded::Range(_, lo, hi)), Demanded::Range(_, other_lo, other_hi)) => {
                *lo = (*lo).max(*other_lo);
                *hi = (*hi).min(*other_hi);
                demands.swap_remove(at);
            }
            _ => at += 1,
        }
    }
}

fn same_rank(a: &Demand<'_>, b: &Demand<'_>) -> bool {
    matches!((&a.demanded, &b.demanded), (Demanded::Range(a, ..), Demanded::Range(b, ..)) if a == b)
}
