//! Items under small ids, which are used again once they are free.

#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Makes an empty slab.
    pub(super) const fn new() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Reserves memory for `more` items.
    pub(super) fn reserve(&mut self, more: usize) {
        self.items.reserve(more.saturating_sub(self.free.len()));
    }

    /// Inserts an item, and returns its id. Memory ends before the ids reach 2^31.
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

    /// Removes an item.
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let item = self.items.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(item)
    }

    /// Returns the item under `id`.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.items.get(id as usize)?.as_ref()
    }

    /// Returns the item under `id`.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.items.get_mut(id as usize)?.as_mut()
    }

    /// Iterates over all items.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }

    /// Iterates over the ids in use.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.items)
            .filter_map(|(id, item)| item.is_some().then_some(id))
    }

    /// Returns the number of items.
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}
