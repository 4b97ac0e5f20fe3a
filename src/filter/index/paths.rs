//! The paths of all filters as a tree of names, so that one walk over a document finds the values at all of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use super::slab::Slab;

pub(super) type PathId = u32;
/// The id of a combination of demands; see [`Shapes`](super::shapes::Shapes).
pub(super) type ShapeId = u32;

/// The id of the document itself, where all paths begin. No path leads there, so it also means "not in the tree".
pub(super) const ROOT: PathId = 0;

/// Most components of a path in the tree. A longer one is walked for each filter by itself.
const MAX_COMPONENTS: usize = 100;

/// The tree of paths.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    nodes: Slab<TrieNode>,
}

/// The names that lead on from a node.
pub(super) type Children = HashMap<Box<[u8]>, PathId, BuildHasherDefault<NameHasher>>;

#[derive(Clone, Debug)]
struct TrieNode {
    parent: PathId,
    name: Box<[u8]>,
    children: Children,
    /// The uses of the path that ends here.
    uses: u32,
    /// The shapes that have this path as their lead.
    led: Vec<ShapeId>,
}

impl TrieNode {
    fn new(parent: PathId, name: &[u8]) -> Self {
        Self {
            parent,
            name: name.into(),
            children: Children::default(),
            uses: 0,
            led: Vec::new(),
        }
    }
}

impl Paths {
    /// Makes a tree without paths.
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(TrieNode::new(ROOT, b""));
        Self { nodes }
    }

    /// Counts a use of a path, and returns its id, or [`ROOT`] if the tree does not take it.
    pub(super) fn acquire(&mut self, path: &str) -> PathId {
        let mut components = path.as_bytes().split(|byte| *byte == b'.');
        let fits = |(at, name): (usize, &[u8])| at < MAX_COMPONENTS && !name.is_empty();
        if !components.clone().enumerate().all(fits) {
            return ROOT;
        }
        let end = components.try_fold(ROOT, |node, name| self.child_or_new(node, name));
        match end.and_then(|end| Some((end, self.nodes.get_mut(end)?))) {
            Some((end, node)) => {
                node.uses += 1;
                end
            }
            None => ROOT,
        }
    }

    /// Counts one more use of a path that is in use.
    pub(super) fn retain(&mut self, path: PathId) {
        if let Some(node) = self.nodes.get_mut(path).filter(|_| path != ROOT) {
            node.uses += 1;
        }
    }

    /// Ends a use, and removes the path if that was the last one.
    pub(super) fn release(&mut self, path: PathId) {
        if let Some(node) = self.nodes.get_mut(path).filter(|_| path != ROOT) {
            node.uses -= 1;
            self.prune(path);
        }
    }

    /// Returns the path as written.
    pub(super) fn written(&self, path: PathId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = path;
        while at != ROOT
            && let Some(node) = self.nodes.get(at)
        {
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        names.join(&b'.')
    }

    /// Returns the parent of a node.
    pub(super) fn parent(&self, node: PathId) -> Option<PathId> {
        self.nodes.get(node).map(|node| node.parent)
    }

    /// Returns the names that lead on from a node.
    pub(super) fn children(&self, node: PathId) -> Option<&Children> {
        self.nodes.get(node).map(|node| &node.children)
    }

    /// Whether any name leads on from a node.
    pub(super) fn has_children(&self, node: PathId) -> bool {
        self.children(node)
            .is_some_and(|children| !children.is_empty())
    }

    /// Returns the node that a name leads to.
    pub(super) fn child(&self, node: PathId, name: &[u8]) -> Option<PathId> {
        self.children(node)?.get(name).copied()
    }

    /// Returns the shapes that have this path as their lead.
    pub(super) fn led(&self, path: PathId) -> &[ShapeId] {
        self.nodes.get(path).map_or(&[], |node| &node.led)
    }

    /// Returns the shapes that have this path as their lead.
    pub(super) fn led_mut(&mut self, path: PathId) -> Option<&mut Vec<ShapeId>> {
        self.nodes.get_mut(path).map(|node| &mut node.led)
    }

    /// Returns the number of nodes, the root not counted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    fn child_or_new(&mut self, parent: PathId, name: &[u8]) -> Option<PathId> {
        if let Some(child) = self.nodes.get(parent)?.children.get(name) {
            return Some(*child);
        }
        let child = self.nodes.insert(TrieNode::new(parent, name));
        self.nodes
            .get_mut(parent)?
            .children
            .insert(name.into(), child);
        Some(child)
    }

    /// Removes a node that is no longer used, and then those above it.
    fn prune(&mut self, mut at: PathId) {
        while at != ROOT
            && self
                .nodes
                .get(at)
                .is_some_and(|node| node.uses == 0 && node.children.is_empty())
            && let Some(node) = self.nodes.remove(at)
        {
            at = node.parent;
            if let Some(parent) = self.nodes.get_mut(at) {
                parent.children.remove(&node.name);
            }
        }
    }
}

/// A hasher of names. They are short and chosen by people, so a fast hash will do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64(bytes);
    }

    fn write_usize(&mut self, _length: usize) {}
}
