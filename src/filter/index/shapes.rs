//! The combinations of demands by which events look filters up.
//!
//! A shape says which paths are looked at together and how: filters on `{type, account}` are found
//! by the digest of both. An event tries each shape once, so there must be few of them. A shape
//! is tried only if there is something at its lead, the path that came to the index last.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::super::compare::Rank;
use super::hash::Seeded;
use super::paths::{PathId, Paths, ShapeId};
use super::slab::Slab;

/// How many shapes of several parts one path may lead.
const MAX_LED: usize = 16;

/// The shape without demands, which is always in use. Its filters are tried on every event.
pub(super) const EVERYWHERE: ShapeId = 0;

/// A combination of demands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// What goes into the digest, in the order of the paths.
    pub(super) parts: SmallVec<[Part; 4]>,
    /// The path whose values must lie in the filters' intervals.
    pub(super) range: Option<(PathId, Rank)>,
}

/// A path, and what of its value goes into the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) path: PathId,
    pub(super) how: How,
}

/// What of a value goes into a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum How {
    /// The value.
    Equal,
    /// That many bytes at the beginning of a text.
    Prefix(u8),
    /// Only that it is there.
    Present,
}

/// The shapes in use.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    shapes: Slab<Used>,
    ids: HashMap<Shape, ShapeId, Seeded>,
}

#[derive(Clone, Debug)]
struct Used {
    shape: Shape,
    uses: usize,
}

impl Shape {
    /// The path whose presence makes the shape worth a try.
    fn lead(&self) -> Option<PathId> {
        let parts = self.parts.iter().map(|part| part.path).max();
        parts.or(self.range.map(|(path, _)| path))
    }

    fn paths(&self) -> impl Iterator<Item = PathId> + '_ {
        let range = self.range.map(|(path, _)| path);
        self.parts.iter().map(|part| part.path).chain(range)
    }

    /// Whether there can only be a few shapes like this for each path.
    fn is_plain(&self) -> bool {
        self.parts.len() + usize::from(self.range.is_some()) <= 1
    }
}

impl Shapes {
    /// No shapes, but for the one without demands.
    pub(super) fn new(seed: u64) -> Self {
        let mut shapes = Self {
            shapes: Slab::new(),
            ids: HashMap::with_hasher(Seeded(seed)),
        };
        let everywhere = Shape {
            parts: SmallVec::new(),
            range: None,
        };
        shapes.add(everywhere);
        shapes
    }

    /// A shape by its number.
    pub(super) fn get(&self, id: ShapeId) -> Option<&Shape> {
        self.shapes.get(id).map(|used| &used.shape)
    }

    /// The number of a shape in use.
    pub(super) fn find(&self, shape: &Shape) -> Option<ShapeId> {
        self.ids.get(shape).copied()
    }

    /// Whether the shape is in use or may come into use.
    pub(super) fn admits(&self, shape: &Shape, paths: &Paths) -> bool {
        let crowded = || {
            shape
                .lead()
                .is_some_and(|lead| paths.led(lead).len() >= MAX_LED)
        };
        shape.is_plain() || !crowded() || self.ids.contains_key(shape)
    }

    /// Counts a use of a shape and gives its number.
    pub(super) fn acquire(&mut self, shape: &Shape, paths: &mut Paths) -> ShapeId {
        if let Some(id) = self.find(shape) {
            self.retain(id);
            return id;
        }
        shape.paths().for_each(|path| paths.retain(path));
        let id = self.add(shape.clone());
        if let Some(led) = shape.lead().and_then(|lead| paths.led_mut(lead)) {
            led.push(id);
        }
        id
    }

    /// Counts one more use of a shape that is in use.
    pub(super) fn retain(&mut self, id: ShapeId) {
        if let Some(used) = self.shapes.get_mut(id) {
            used.uses += 1;
        }
    }

    fn add(&mut self, shape: Shape) -> ShapeId {
        let used = Used {
            shape: shape.clone(),
            uses: 1,
        };
        let id = self.shapes.insert(used);
        self.ids.insert(shape, id);
        id
    }

    /// Ends a use, and forgets the shape if that was the last.
    pub(super) fn release(&mut self, id: ShapeId, paths: &mut Paths) {
        let Some(used) = self.shapes.get_mut(id) else {
            return;
        };
        used.uses -= 1;
        if used.uses > 0 {
            return;
        }
        let Some(Used { shape, .. }) = self.shapes.remove(id) else {
            return;
        };
        self.ids.remove(&shape);
        if let Some(led) = shape.lead().and_then(|lead| paths.led_mut(lead)) {
            led.retain(|each| *each != id);
        }
        shape.paths().for_each(|path| paths.release(path));
    }

    /// How many shapes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }
}
