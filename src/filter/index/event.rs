//! An event as the index sees it: the values at the paths that filters ask for, found in one walk over the raw
//! document.

use smallvec::SmallVec;

#[cfg(test)]
use super::super::tally;
use super::super::value::{Elements, Value};
use super::paths::{PathId, Paths, ROOT};

/// Most arrays within arrays that are entered, as in [`path`](super::super::path).
const MAX_ARRAYS: usize = 200;
/// Heads of the chains of seen paths, to begin with.
const HEAD_COUNT: usize = 128;
/// Mean length of a chain above which there are more heads.
const MEAN_CHAIN: usize = 8;
const END: u32 = u32::MAX;

/// A document and its values at the paths of a [`Paths`].
#[derive(Debug)]
pub(super) struct Event<'d> {
    document: &'d [u8],
    seen: SmallVec<[Seen<'d>; 16]>,
    /// The first of a chain through `seen`, by the low bits of a path's id.
    heads: [u32; HEAD_COUNT],
    /// A larger table of heads, once very many paths are seen; else empty.
    more_heads: Vec<u32>,
    /// The number of seen paths from which on there are more heads.
    crowded: usize,
    paths: &'d Paths,
    arrays: bool,
    /// The visits in arrays that are left. `None` once they did not suffice.
    visits: Option<usize>,
}

/// The values seen at a path.
#[derive(Debug)]
pub(super) struct Seen<'d> {
    pub(super) path: PathId,
    /// The values there.
    pub(super) values: PathValues<'d>,
    next: u32,
}

/// The values at a path.
#[derive(Debug)]
pub(super) enum PathValues<'d> {
    /// The only value: there is no array on the way or at the end.
    One(Value<'d>),
    /// All values that a test of any kind could be handed below arrays, or more. None if the event is not
    /// [surveyed](Event::is_surveyed).
    Many(Vec<Value<'d>>),
}

/// The nodes of one value, each once. There are several if a number is both an index of an array and a name in its
/// element. All are carried on together, so that everything below is walked once.
type Nodes = SmallVec<[PathId; 4]>;

/// The values at a path, as far as they are known without a walk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight<'d> {
    /// The only value, or the absence of one.
    Plain(Option<Value<'d>>),
    /// Arrays on the way: the path must be walked.
    Arrays,
}

impl<'d> Event<'d> {
    /// Walks a document. In arrays, each element is visited once for every path that leads there, and `visits` bounds
    /// these visits.
    pub(super) fn new(paths: &'d Paths, document: &'d [u8], visits: usize) -> Self {
        let mut event = Self {
            document,
            seen: SmallVec::new(),
            heads: [END; HEAD_COUNT],
            more_heads: Vec::new(),
            crowded: HEAD_COUNT * MEAN_CHAIN,
            paths,
            arrays: false,
            visits: Some(visits),
        };
        event.walk(paths, ROOT, document);
        if !event.is_surveyed() {
            event.forget_arrays();
        }
        event
    }

    /// Whether everything in arrays was seen. If not, nothing there is told.
    pub(super) fn is_surveyed(&self) -> bool {
        self.visits.is_some()
    }

    /// The document's bytes.
    pub(super) fn document(&self) -> &'d [u8] {
        self.document
    }

    /// Whether an array stands on the way to some path.
    pub(super) fn has_arrays(&self) -> bool {
        self.arrays
    }

    /// Returns everything that was seen.
    pub(super) fn seen(&self) -> &[Seen<'d>] {
        &self.seen
    }

    /// Returns the values that were seen at a path.
    pub(super) fn values(&self, path: PathId) -> Option<&PathValues<'d>> {
        self.find(path)
            .and_then(|at| Some(&self.seen.get(at)?.values))
    }

    /// Returns the values at a path, as far as they are known without a walk.
    pub(super) fn sight(&self, path: PathId) -> Sight<'d> {
        match self.values(path) {
            Some(PathValues::One(value)) => Sight::Plain(Some(*value)),
            None if path != ROOT && !self.is_below_array(path) => Sight::Plain(None),
            _ => Sight::Arrays,
        }
    }

    fn is_below_array(&self, path: PathId) -> bool {
        let up = std::iter::successors(Some(path), |path| self.paths.parent(*path));
        let mut up = up.take_while(|path| self.arrays && *path != ROOT);
        up.any(|path| matches!(self.values(path), Some(PathValues::Many(_))))
    }

    fn forget_arrays(&mut self) {
        for seen in &mut self.seen {
            if let PathValues::Many(values) = &mut seen.values {
                *values = Vec::new();
            }
        }
    }

    /// Counts visits. Returns whether they may be made.
    fn visit(&mut self, visits: usize) -> bool {
        self.visits = self.visits.and_then(|left| left.checked_sub(visits));
        self.is_surveyed()
    }

    /// Walks a document outside arrays. There a name counts once, so each node is reached once.
    fn walk(&mut self, paths: &Paths, node: PathId, document: &'d [u8]) {
        let Some(children) = paths.children(node) else {
            return;
        };
        let mut left = children.len();
        let mut elements = Elements::new(document);
        while left > 0
            && let Some((name, value)) = elements.next()
        {
            let Some(&child) = children.get(name) else {
                continue;
            };
            if self.find(child).is_some() {
                continue;
            }
            left -= 1;
            if value.is_array() {
                self.arrays = true;
                self.add(child, PathValues::Many(Vec::new()));
                self.enter_array(paths, &[child], value, 0);
            } else {
                self.add(child, PathValues::One(value));
                if value.is_document() {
                    self.walk(paths, child, value.bytes());
                }
            }
        }
    }

    /// Enters an array at nodes: its elements, itself, and everything below.
    fn enter_array(&mut self, paths: &Paths, nodes: &[PathId], array: Value<'d>, arrays: usize) {
        if !self.visit(nodes.len()) {
            return;
        }
        for node in nodes {
            self.push(*node, array);
        }
        let on = nodes.iter().filter(|node| paths.has_children(**node));
        let on: Nodes = on.copied().collect();
        for (name, element) in array.elements() {
            if !self.visit(nodes.len() + on.len()) {
                return;
            }
            for node in nodes {
                self.push(*node, element);
            }
            if on.is_empty() || arrays == MAX_ARRAYS {
                continue;
            }
            let targets = on.iter().filter_map(|node| paths.child(*node, name));
            let targets: Nodes = targets.collect();
            if targets.is_empty() {
                if element.is_document() {
                    self.walk_below(paths, &on, element.bytes(), arrays + 1);
                }
            } else {
                self.indexed(paths, &on, targets, element, arrays + 1);
            }
        }
    }

    /// Enters an element of an array at `nodes` whose index leads to `targets`.
    fn indexed(
        &mut self,
        paths: &Paths,
        nodes: &Nodes,
        targets: Nodes,
        element: Value<'d>,
        arrays: usize,
    ) {
        if !element.is_document() {
            return self.show(paths, &targets, element, arrays);
        }
        if !self.visit(targets.len() + nodes.len()) {
            return;
        }
        for node in &targets {
            self.push(*node, element);
        }
        let mut inside = targets;
        inside.extend_from_slice(nodes);
        inside.sort_unstable();
        inside.dedup();
        self.walk_below(paths, &inside, element.bytes(), arrays);
    }

    fn walk_below(&mut self, paths: &Paths, nodes: &[PathId], document: &'d [u8], arrays: usize) {
        for (name, value) in Elements::new(document) {
            if !self.visit(nodes.len()) {
                return;
            }
            let children = nodes.iter().filter_map(|node| paths.child(*node, name));
            let children: Nodes = children.collect();
            if !children.is_empty() {
                self.show(paths, &children, value, arrays);
            }
        }
    }

    fn show(&mut self, paths: &Paths, nodes: &[PathId], value: Value<'d>, arrays: usize) {
        if value.is_array() {
            return self.enter_array(paths, nodes, value, arrays);
        }
        if !self.visit(nodes.len()) {
            return;
        }
        for node in nodes {
            self.push(*node, value);
        }
        if value.is_document() && nodes.iter().any(|node| paths.has_children(*node)) {
            self.walk_below(paths, nodes, value.bytes(), arrays);
        }
    }

    fn find(&self, path: PathId) -> Option<usize> {
        let mut at = if self.more_heads.is_empty() {
            self.heads[path as usize % HEAD_COUNT]
        } else {
            self.more_heads[path as usize % self.more_heads.len()]
        };
        loop {
            #[cfg(test)]
            tally::add(1);
            let seen = self.seen.get(at as usize)?;
            if seen.path == path {
                return Some(at as usize);
            }
            at = seen.next;
        }
    }

    fn push(&mut self, path: PathId, value: Value<'d>) {
        match self.find(path).and_then(|at| self.seen.get_mut(at)) {
            Some(seen) => match &mut seen.values {
                PathValues::Many(values) => values.push(value),
                PathValues::One(first) => seen.values = PathValues::Many(vec![*first, value]),
            },
            None => self.add(path, PathValues::Many(vec![value])),
        }
    }

    fn add(&mut self, path: PathId, values: PathValues<'d>) {
        let next = self.link(path, self.seen.len());
        self.seen.push(Seen { path, values, next });
        if self.seen.len() == self.crowded {
            self.grow();
        }
    }

    /// Makes an element of `seen` the first of its chain. Returns the one that was first.
    fn link(&mut self, path: PathId, at: usize) -> u32 {
        let more = self.more_heads.len();
        let head = if more == 0 {
            &mut self.heads[path as usize % HEAD_COUNT]
        } else {
            &mut self.more_heads[path as usize % more]
        };
        std::mem::replace(head, u32::try_from(at).unwrap_or(END))
    }

    /// Keeps the chains short, however many paths are seen.
    fn grow(&mut self) {
        self.more_heads = vec![END; self.crowded];
        self.crowded *= MEAN_CHAIN;
        for at in 0..self.seen.len() {
            self.seen[at].next = self.link(self.seen[at].path, at);
        }
    }
}
