//! The number of subscriptions that a node holds, and its limit.

use crate::config;

/// A number of subscriptions, and of bytes of their documents.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Capacity {
    pub subscriptions: usize,
    /// Bytes of their documents. Their filters take about as much again.
    pub bytes: usize,
}

impl From<&config::Limits> for Capacity {
    fn from(limits: &config::Limits) -> Self {
        Self {
            subscriptions: limits.subscriptions,
            bytes: limits.subscriptions_bytes,
        }
    }
}

/// The capacity of a table, and how much of it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Occupancy {
    pub held: Capacity,
    pub most: Capacity,
}

impl Default for Occupancy {
    /// Returns an empty one without a limit.
    fn default() -> Self {
        let most = Capacity {
            subscriptions: usize::MAX,
            bytes: usize::MAX,
        };
        Self {
            held: Capacity::default(),
            most,
        }
    }
}

impl Occupancy {
    /// Whether so much more may be held.
    pub(crate) fn has_room_for(&self, more: Capacity) -> bool {
        let subscriptions = self.held.subscriptions.saturating_add(more.subscriptions);
        let bytes = self.held.bytes.saturating_add(more.bytes);
        subscriptions <= self.most.subscriptions && bytes <= self.most.bytes
    }

    /// Returns a warning for people once it is nearly full.
    pub(crate) fn warning(&self) -> Option<String> {
        let Capacity {
            subscriptions,
            bytes,
        } = self.most;
        [
            (
                "limits.subscriptions",
                self.held.subscriptions,
                subscriptions,
            ),
            ("limits.subscriptions_bytes", self.held.bytes, bytes),
        ]
        .into_iter()
        .find(|(_, held, most)| held.saturating_mul(5) >= most.saturating_mul(4))
        .map(|(setting, held, most)| {
            format!("subscriptions use {held} of the {most} that {setting} allows")
        })
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.held.subscriptions += 1;
        self.held.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.held.subscriptions -= 1;
        self.held.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_warns_before_it_is_full() {
        let occupied = |subscriptions, bytes| Occupancy {
            held: Capacity {
                subscriptions,
                bytes,
            },
            most: Capacity {
                subscriptions: 10,
                bytes: 1_000,
            },
        };
        for (subscriptions, bytes, warned, room) in [
            (0, 0, false, true),
            (7, 799, false, true),
            (8, 0, true, true),
            (0, 800, true, true),
            (10, 0, true, false),
            (0, 1_000, true, false),
        ] {
            let occupied = occupied(subscriptions, bytes);
            assert_eq!(occupied.warning().is_some(), warned, "{occupied:?}");
            let one = Capacity {
                subscriptions: 1,
                bytes: 100,
            };
            assert_eq!(occupied.has_room_for(one), room, "{occupied:?}");
        }
    }
}
