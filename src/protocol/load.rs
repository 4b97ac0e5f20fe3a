//! How many bytes wait on this node for all connections together.
//!
//! What is shared counts once, however many connections it waits for, and for as long as it waits for
//! any of them: a [`Share`] belongs to the bytes, and ends with them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The sum of all shares. Clones count together.
#[derive(Clone, Default, Debug)]
pub struct Load(Arc<AtomicU64>);

impl Load {
    /// A load that is counted in `counter`.
    pub fn on(counter: Arc<AtomicU64>) -> Self {
        Self(counter)
    }

    /// Counts so many bytes until the share is dropped.
    pub fn share(&self, bytes: usize) -> Share {
        let bytes = bytes as u64;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Share {
            load: self.clone(),
            bytes,
        }
    }

    /// Bytes that wait now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that wait.
#[derive(Debug)]
pub struct Share {
    load: Load,
    bytes: u64,
}

impl Share {
    /// Counts so many bytes more.
    pub fn grow(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        self.load.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_until_it_is_dropped() {
        let load = Load::default();
        let mut one = load.share(1);
        one.grow(2);
        let two = load.clone().share(4);
        assert_eq!(load.bytes(), 7);
        drop(one);
        assert_eq!(load.bytes(), 4);
        drop(two);
        assert_eq!(load.bytes(), 0);
    }
}
