//! Intervals with ids, and the search for those that overlap a span.
//!
//! This is a B-tree in the order of the lower ends, in which each child knows the highest upper end below it. A
//! subtree is entered only if it holds an answer or borders on the span, so a search costs as much as it finds,
//! times the tree's height. A small set is one sorted vector.

use std::mem;

/// Most members of a node of the tree. Few in tests, so that their trees have some height.
const CAPACITY: usize = if cfg!(test) { 4 } else { 48 };

/// The values from `lo` to `hi`, ends included. Crossed ends contain no value, but may overlap a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    /// The lower end.
    pub(super) lo: u64,
    /// The upper end.
    pub(super) hi: u64,
    /// The filter.
    pub(super) id: u32,
}

/// A set of intervals.
#[derive(Clone, Debug)]
pub(super) enum Intervals {
    /// The intervals, sorted.
    Leaf(Vec<Interval>),
    /// Smaller sets, sorted.
    Inner(Vec<Child>),
}

#[derive(Clone, Debug)]
pub(super) struct Child {
    first: Interval,
    highest: u64,
    set: Intervals,
}

impl Intervals {
    /// Makes an empty set.
    pub(super) fn new() -> Self {
        Self::Leaf(Vec::new())
    }

    /// Adds an interval.
    pub(super) fn insert(&mut self, new: Interval) {
        if let Some(right) = self.add(new) {
            let left = Child::of(mem::replace(self, Self::new()));
            *self = Self::Inner(left.into_iter().chain([right]).collect());
        }
    }

    /// Removes an interval, if it is there.
    pub(super) fn remove(&mut self, old: Interval) {
        match self {
            Self::Leaf(intervals) => {
                if let Ok(at) = intervals.binary_search(&old) {
                    intervals.remove(at);
                }
            }
            Self::Inner(children) => {
                let at = child_for(children, old);
                if let Some(child) = children.get_mut(at) {
                    child.set.remove(old);
                    match Child::of(mem::replace(&mut child.set, Self::new())) {
                        Some(rest) => *child = rest,
                        None => drop(children.remove(at)),
                    }
                }
                if let [only] = children.as_mut_slice() {
                    *self = mem::replace(&mut only.set, Self::new());
                }
            }
        }
    }

    /// Returns the number of intervals.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(intervals) => intervals.len(),
            Self::Inner(children) => children.iter().map(|child| child.set.len()).sum(),
        }
    }

    /// Returns the only interval, if there is just one.
    pub(super) fn only(&self) -> Option<Interval> {
        match self {
            Self::Leaf(intervals) => match intervals.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            Self::Inner(_) => None,
        }
    }

    /// Hands the id of every interval that overlaps the span from `from` to `to` to `visit`.
    pub(super) fn overlapping(&self, from: u64, to: u64, visit: &mut impl FnMut(u32)) {
        match self {
            Self::Leaf(intervals) => intervals
                .iter()
                .take_while(|interval| interval.lo <= to)
                .filter(|interval| interval.hi >= from)
                .for_each(|interval| visit(interval.id)),
            Self::Inner(children) => children
                .iter()
                .take_while(|child| child.first.lo <= to)
                .filter(|child| child.highest >= from)
                .for_each(|child| child.set.overlapping(from, to, visit)),
        }
    }

    /// Adds an interval below this node. Returns the half that was split off, if the node was full.
    fn add(&mut self, new: Interval) -> Option<Child> {
        match self {
            Self::Leaf(intervals) => {
                intervals.insert(intervals.partition_point(|each| *each < new), new);
                upper_half(intervals).and_then(|half| Child::of(Self::Leaf(half)))
            }
            Self::Inner(children) => {
                let at = child_for(children, new);
                let child = children.get_mut(at)?;
                let right = child.set.add(new);
                child.first = child.first.min(new);
                child.highest = child.highest.max(new.hi);
                if let Some(right) = right {
                    child.highest = child.set.highest();
                    children.insert(at + 1, right);
                }
                upper_half(children).and_then(|half| Child::of(Self::Inner(half)))
            }
        }
    }

    fn first(&self) -> Option<Interval> {
        match self {
            Self::Leaf(intervals) => intervals.first().copied(),
            Self::Inner(children) => children.first().map(|child| child.first),
        }
    }

    fn highest(&self) -> u64 {
        match self {
            Self::Leaf(intervals) => intervals.iter().map(|each| each.hi).max(),
            Self::Inner(children) => children.iter().map(|child| child.highest).max(),
        }
        .unwrap_or(0)
    }
}

impl Child {
    /// Makes a child of a set, unless it is empty.
    fn of(set: Intervals) -> Option<Self> {
        let first = set.first()?;
        let highest = set.highest();
        Some(Self {
            first,
            highest,
            set,
        })
    }
}

/// Returns the index of the last child that begins at or before `interval`, or else of the first.
fn child_for(children: &[Child], interval: Interval) -> usize {
    children
        .partition_point(|child| child.first <= interval)
        .saturating_sub(1)
}

fn upper_half<T>(members: &mut Vec<T>) -> Option<Vec<T>> {
    (members.len() > CAPACITY).then(|| {
        let half = members.split_off(CAPACITY / 2);
        members.shrink_to_fit();
        half
    })
}
