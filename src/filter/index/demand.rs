//! What a filter demands of an event before it can match, branch by branch.
//!
//! A filter becomes a list of conjunctions, of which a matching event meets at least one. Only
//! demands that an absent value cannot meet are taken: an event is found through what is in it.

use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use super::super::ast::{Clause, Comparison, List, Node, Operand, Test};
use super::super::compare::Rank;
#[cfg(test)]
use super::super::tally;
use super::super::value::Value;
use super::key;
use super::literal;

/// How many conjunctions the demands beside an `$or` are copied into.
const MAX_COPIES: usize = 64;

/// How many demands of one conjunction, and how many of its `$or`s, are considered.
const MAX_DEMANDS: usize = 128;
const MAX_DISJUNCTIONS: usize = 8;

/// The longest path put together from several that is worth a demand.
const MAX_ROUTE: usize = 4_096;

/// Demands that are made together.
pub(super) type Conjunction<'f> = Vec<Demand<'f>>;

/// Something that must stand at a path.
#[derive(Clone, Debug)]
pub(super) struct Demand<'f> {
    /// Where.
    pub(super) path: Route<'f>,
    /// What.
    pub(super) what: What,
}

/// A path as written, or put together from those of an `$elemMatch` and of a query in it.
#[derive(Clone, Debug)]
pub(super) enum Route<'f> {
    /// As written.
    Written(&'f str),
    /// Put together.
    Joined(Rc<str>),
}

impl Route<'_> {
    /// The path.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Written(path) => path,
            Self::Joined(path) => path,
        }
    }

    /// The path that goes on from this one; `None` if that is very long.
    fn join(&self, below: &str) -> Option<Self> {
        let above = self.as_str();
        let fits = above.len() + below.len() < MAX_ROUTE;
        fits.then(|| Self::Joined(format!("{above}.{below}").into()))
    }
}

/// What must stand at a path: some value there is one of these.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A value with one of these digests.
    Equal(SmallVec<[u64; 1]>),
    /// A text that begins so.
    Prefix(String),
    /// A value of this rank at or above the first place and, not always the same one, a value at
    /// or below the second.
    Range(Rank, u64, u64),
    /// Anything.
    Present,
}

impl Demand<'_> {
    /// Whether the demand is worth a copy.
    fn is_short(&self) -> bool {
        !matches!(&self.what, What::Equal(digests) if digests.len() > MAX_COPIES)
    }
}

/// Reads the demands of filters. Digests are taken under `seed`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Analysis {
    pub(super) seed: u64,
}

/// The parts of a conjunction while it is read.
#[derive(Default)]
struct Parts<'f> {
    demands: Conjunction<'f>,
    disjunctions: Vec<&'f [Node]>,
    impossible: bool,
}

impl<'f> Parts<'f> {
    /// Adds a demand, if there are not too many.
    fn demand(&mut self, path: &Route<'f>, what: What) {
        if self.demands.len() < MAX_DEMANDS {
            let path = path.clone();
            self.demands.push(Demand { path, what });
        }
    }
}

impl Analysis {
    /// The conjunctions of a filter. None at all means that nothing can match.
    pub(super) fn conjunctions(self, node: &Node) -> Vec<Conjunction<'_>> {
        let mut all = self.alternatives(node);
        all.iter_mut().for_each(intersect_ranges);
        all
    }

    /// The conjunctions as they are read.
    fn alternatives(self, node: &Node) -> Vec<Conjunction<'_>> {
        let mut parts = Parts::default();
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

    /// The conjunctions of an `$or`, each with the demands beside it. None if some branch makes
    /// no demand of its own, or there are too many.
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

    /// Adds the conjunctions of an `$or`. Those of an `$or` that is one of its branches are its own.
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

    fn read<'f>(self, node: &'f Node, parts: &mut Parts<'f>) {
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

    fn test<'f>(self, path: &Route<'f>, test: &'f Test, parts: &mut Parts<'f>) {
        let demand = match test {
            Test::Compare(Comparison::Eq, operand) => self.equal(operand),
            Test::Compare(comparison, operand) => range(*comparison, operand.value()),
            Test::In(list) => self.list(list),
            Test::Regex(pattern) => {
                let (source, options) = pattern.source();
                Some(match literal::prefix(source, options) {
                    prefix if prefix.is_empty() => What::Present,
                    prefix => What::Prefix(prefix),
                })
            }
            Test::All(tests) => {
                parts.impossible |= tests.is_empty();
                tests.iter().for_each(|test| self.test(path, test, parts));
                None
            }
            Test::ElemMatchValue(node) => {
                self.element(path, node, parts);
                Some(What::Present)
            }
            Test::ElemMatchDocument(node) => {
                self.members(path, node, parts);
                Some(What::Present)
            }
            Test::Exists | Test::Type(_) | Test::Mod(_) | Test::Size(_) | Test::Bits(_) => {
                Some(What::Present)
            }
        };
        if let Some(what) = demand {
            parts.demand(path, what);
        }
    }

    /// Operators on an element of an array at the path: the element is among the path's values.
    fn element<'f>(self, path: &Route<'f>, node: &'f Node, parts: &mut Parts<'f>) {
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

    /// A query on an element of an array at the path. In an element that is a document, its
    /// paths go on from this one. An element that is an array has nothing at them, unless they
    /// begin with a number.
    fn members<'f>(self, path: &Route<'f>, node: &'f Node, parts: &mut Parts<'f>) {
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

    fn equal(self, operand: &Operand) -> Option<What> {
        let value = operand.value();
        let digest = || key::digest(value, self.seed);
        (!is_met_by_absence(value)).then(|| What::Equal(smallvec![digest()]))
    }

    fn list(self, list: &List) -> Option<What> {
        let values = || list.values.iter().map(Operand::value);
        if values().any(is_met_by_absence) {
            return None;
        }
        if !list.patterns.is_empty() {
            return Some(What::Present);
        }
        let mut digests: SmallVec<_> = values()
            .map(|value| key::digest(value, self.seed))
            .collect();
        digests.sort_unstable();
        digests.dedup();
        Some(What::Equal(digests))
    }
}

fn is_met_by_absence(value: Value<'_>) -> bool {
    matches!(Rank::of(value.kind()), Rank::Null | Rank::Absent)
}

/// The range of a comparison. What is compared with the ends of the order, or with null, may be
/// of any kind or absent.
fn range(comparison: Comparison, operand: Value<'_>) -> Option<What> {
    let rank = Rank::of(operand.kind());
    if matches!(
        rank,
        Rank::MinKey | Rank::MaxKey | Rank::Null | Rank::Absent
    ) {
        return None;
    }
    let place = key::place(operand);
    Some(match comparison {
        Comparison::Lt | Comparison::Lte => What::Range(rank, 0, place),
        _ => What::Range(rank, place, u64::MAX),
    })
}

/// Makes one range of the last demand and an earlier one on the same path.
fn intersect_ranges(demands: &mut Conjunction<'_>) {
    let mut at = 0;
    while at < demands.len() {
        let (before, after) = demands.split_at_mut(at);
        let Some(demand) = after.first() else { return };
        let earlier = before
            .iter_mut()
            .find(|each| same_rank(each, demand) && each.path.as_str() == demand.path.as_str());
        match (earlier.map(|each| &mut each.what), &demand.what) {
            (Some(What::Range(_, lo, hi)), What::Range(_, other_lo, other_hi)) => {
                *lo = (*lo).max(*other_lo);
                *hi = (*hi).min(*other_hi);
                demands.swap_remove(at);
            }
            _ => at += 1,
        }
    }
}

fn same_rank(a: &Demand<'_>, b: &Demand<'_>) -> bool {
    matches!((&a.what, &b.what), (What::Range(a, ..), What::Range(b, ..)) if a == b)
}
