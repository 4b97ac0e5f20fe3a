//! Things under small numbers, which are given out again once free.

/// A vector with holes.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// An empty slab.
    pub(super) const fn new() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Makes room for `more` items.
    pub(super) fn reserve(&mut self, more: usize) {
        self.items.reserve(more.saturating_sub(self.free.len()));
    }

    /// Puts an item in and gives its number. There is room for 2^31 items; memory ends before.
    pub(super) fn insert(&mut self, item: T) -> u32 {
        if let Some(id) = self.free.pop()
            && let Some(hole) = self.items.get_mut(id as usize)
        {
            *hole = Some(item);
            return id;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes an item out.
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let item = self.items.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(item)
    }

    /// The item under `id`.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.items.get(id as usize)?.as_ref()
    }

    /// The item under `id`, to be changed.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.items.get_mut(id as usize)?.as_mut()
    }

    /// All items, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }

    /// The numbers in use.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.items)
            .filter_map(|(id, item)| item.is_some().then_some(id))
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}
