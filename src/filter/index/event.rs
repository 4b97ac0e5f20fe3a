//! An event as the index sees it: what stands at the paths that filters ask for, found in one walk
//! over the raw document.

use smallvec::SmallVec;

#[cfg(test)]
use super::super::tally;
use super::super::value::{Elements, Value};
use super::paths::{PathId, Paths, ROOT};

/// How many arrays within arrays are entered, as in [`path`](super::super::path).
const MAX_ARRAYS: usize = 200;
const HEADS: usize = 128;
/// How long a chain is on average before there are more heads.
const CHAIN: usize = 8;
const END: u32 = u32::MAX;

/// A document and its values at the paths of a [`Paths`].
#[derive(Debug)]
pub(super) struct Event<'d> {
    document: &'d [u8],
    seen: SmallVec<[Seen<'d>; 16]>,
    /// By the low bits of a path's number, the first of a chain through `seen`.
    heads: [u32; HEADS],
    /// More of them, where very many paths are seen; else none.
    more_heads: Vec<u32>,
    /// From how many paths on there are more heads.
    crowded: usize,
    paths: &'d Paths,
    arrays: bool,
    /// How many visits may still be made in arrays. `None` once they did not suffice.
    visits: Option<usize>,
}

/// Something seen at a path.
#[derive(Debug)]
pub(super) struct Seen<'d> {
    /// The path.
    pub(super) path: PathId,
    /// What stands there.
    pub(super) values: Values<'d>,
    next: u32,
}

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Values<'d> {
    /// This, and no array stands on the way or at the end.
    One(Value<'d>),
    /// All that a test of any kind could be shown below arrays, or more; nothing where the event is not
    /// [surveyed](Event::is_surveyed).
    Many(Vec<Value<'d>>),
}

/// Nodes at which one value stands, each once. There are several where a number is both a place in an
/// array and a name in its element: all are carried on together, so that what lies below is walked once.
type Nodes = SmallVec<[PathId; 4]>;

/// What a single filter may conclude about a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight<'d> {
    /// This value, or the absence of one, is all there is.
    Plain(Option<Value<'d>>),
    /// There are arrays: the path must be walked.
    Arrays,
}

impl<'d> Event<'d> {
    /// Walks a document. In arrays, each element is visited once for every path that leads there, and so
    /// many such visits may be made.
    pub(super) fn new(paths: &'d Paths, document: &'d [u8], visits: usize) -> Self {
        let mut event = Self {
            document,
            seen: SmallVec::new(),
            heads: [END; HEADS],
            more_heads: Vec::new(),
            crowded: HEADS * CHAIN,
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

    /// Everything that was seen.
    pub(super) fn seen(&self) -> &[Seen<'d>] {
        &self.seen
    }

    /// What was seen at a path.
    pub(super) fn values(&self, path: PathId) -> Option<&Values<'d>> {
        self.find(path)
            .and_then(|at| Some(&self.seen.get(at)?.values))
    }

    /// What a single filter may conclude about a path.
    pub(super) fn sight(&self, path: PathId) -> Sight<'d> {
        match self.values(path) {
            Some(Values::One(value)) => Sight::Plain(Some(*value)),
            None if path != ROOT && !self.is_below_array(path) => Sight::Plain(None),
            _ => Sight::Arrays,
        }
    }

    fn is_below_array(&self, path: PathId) -> bool {
        let up = std::iter::successors(Some(path), |path| self.paths.parent(*path));
        let mut up = up.take_while(|path| self.arrays && *path != ROOT);
        up.any(|path| matches!(self.values(path), Some(Values::Many(_))))
    }

    fn forget_arrays(&mut self) {
        for seen in &mut self.seen {
            if let Values::Many(values) = &mut seen.values {
                *values = Vec::new();
            }
        }
    }

    /// Whether so many more visits may be made.
    fn visit(&mut self, visits: usize) -> bool {
        self.visits = self.visits.and_then(|left| left.checked_sub(visits));
        self.is_surveyed()
    }

    /// Where no array has been entered, a name counts once, so each node is reached once.
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
                self.add(child, Values::Many(Vec::new()));
                self.enter_array(paths, &[child], value, 0);
            } else {
                self.add(child, Values::One(value));
                if value.is_document() {
                    self.walk(paths, child, value.bytes());
                }
            }
        }
    }

    /// An array at nodes: its elements, itself, and what lies below.
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
            let places = on.iter().filter_map(|node| paths.child(*node, name));
            let places: Nodes = places.collect();
            if places.is_empty() {
                if element.is_document() {
                    self.walk_below(paths, &on, element.bytes(), arrays + 1);
                }
            } else {
                self.place(paths, &on, places, element, arrays + 1);
            }
        }
    }

    /// An element of an array at nodes that is also what `places` name.
    fn place(
        &mut self,
        paths: &Paths,
        nodes: &Nodes,
        places: Nodes,
        element: Value<'d>,
        arrays: usize,
    ) {
        if !element.is_document() {
            return self.show(paths, &places, element, arrays);
        }
        if !self.visit(places.len() + nodes.len()) {
            return;
        }
        for node in &places {
            self.push(*node, element);
        }
        let mut inside = places;
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
            self.heads[path as usize % HEADS]
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
                Values::Many(values) => values.push(value),
                Values::One(first) => seen.values = Values::Many(vec![*first, value]),
            },
            None => self.add(path, Values::Many(vec![value])),
        }
    }

    fn add(&mut self, path: PathId, values: Values<'d>) {
        let next = self.link(path, self.seen.len());
        self.seen.push(Seen { path, values, next });
        if self.seen.len() == self.crowded {
            self.grow();
        }
    }

    /// Makes what is at a place in `seen` the first of its chain; what was.
    fn link(&mut self, path: PathId, at: usize) -> u32 {
        let more = self.more_heads.len();
        let head = if more == 0 {
            &mut self.heads[path as usize % HEADS]
        } else {
            &mut self.more_heads[path as usize % more]
        };
        std::mem::replace(head, u32::try_from(at).unwrap_or(END))
    }

    /// Keeps the chains short, however many paths are seen.
    fn grow(&mut self) {
        self.more_heads = vec![END; self.crowded];
        self.crowded *= CHAIN;
        for at in 0..self.seen.len() {
            self.seen[at].next = self.link(self.seen[at].path, at);
        }
    }
}
