//! The combinations of demands by which events look up filters.
//!
//! A shape is a set of paths, with the use of each: filters on `{type, account}` are found by the digest of both.
//! An event tries each shape once, so there must be few of them. A shape is tried only if the event has a value at
//! its lead, the path that came to the index last.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::super::compare::Rank;
use super::hash::Seeded;
use super::paths::{PathId, Paths, ShapeId};
use super::slab::Slab;

/// Most shapes of several parts with one lead.
const MAX_LED: usize = 16;

/// The shape without demands, which is always in use. Its filters are tried on every event.
pub(super) const EVERYWHERE: ShapeId = 0;

/// A combination of demands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// The parts of the digest, in the order of the paths.
    pub(super) parts: SmallVec<[KeyPart; 4]>,
    /// The path whose values must lie in the filters' intervals, and their rank.
    pub(super) range: Option<(PathId, Rank)>,
}

/// A path, and the part of its value that goes into the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyPart {
    pub(super) path: PathId,
    pub(super) how: How,
}

/// The part of a value that goes into a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum How {
    /// The whole value.
    Equal,
    /// This many bytes at the beginning of a text.
    Prefix(u8),
    /// Nothing but its presence.
    Present,
}

/// The shapes in use.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    shapes: Slab<UsedShape>,
    ids: HashMap<Shape, ShapeId, Seeded>,
}

#[derive(Clone, Debug)]
struct UsedShape {
    shape: Shape,
    uses: usize,
}

impl Shape {
    /// Returns the path whose presence makes the shape worth a try.
    fn lead(&self) -> Option<PathId> {
        let parts = self.parts.iter().map(|part| part.path).max();
        parts.or(self.range.map(|(path, _)| path))
    }

    fn paths(&self) -> impl Iterator<Item = PathId> + '_ {
        let range = self.range.map(|(path, _)| path);
        self.parts.iter().map(|part| part.path).chain(range)
    }

    /// Whether each path can only have a few shapes like this.
    fn is_plain(&self) -> bool {
        self.parts.len() + usize::from(self.range.is_some()) <= 1
    }
}

impl Shapes {
    /// Makes a set of shapes with the one that has no demands.
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

    /// Returns a shape by its id.
    pub(super) fn get(&self, id: ShapeId) -> Option<&Shape> {
        self.shapes.get(id).map(|used| &used.shape)
    }

    /// Returns the id of a shape in use.
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

    /// Counts a use of a shape, and returns its id.
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
        let used = UsedShape {
            shape: shape.clone(),
            uses: 1,
        };
        let id = self.shapes.insert(used);
        self.ids.insert(shape, id);
        id
    }

    /// Ends a use, and removes the shape if that was the last one.
    pub(super) fn release(&mut self, id: ShapeId, paths: &mut Paths) {
        let Some(used) = self.shapes.get_mut(id) else {
            return;
        };
        used.uses -= 1;
        if used.uses > 0 {
            return;
        }
        let Some(UsedShape { shape, .. }) = self.shapes.remove(id) else {
            return;
        };
        self.ids.remove(&shape);
        if let Some(led) = shape.lead().and_then(|lead| paths.led_mut(lead)) {
            led.retain(|each| *each != id);
        }
        shape.paths().for_each(|path| paths.release(path));
    }

    /// Returns the number of shapes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }
}
