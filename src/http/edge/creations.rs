//! Subscriptions that are being created, for as long as this node's router may not know them.
//!
//! A tenant may have so many. The router knows how many it has, and the requests that are under way add to that: whoever
//! asks counts those before it whose subscriptions the router does not know yet. So requests at the same time do not all
//! take the last place, and one that is sent again is not refused for what it stored before.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::router::Counted;

/// The subscriptions that are being created, by whom they count for.
#[derive(Default, Debug)]
pub(crate) struct Creations(Mutex<UnderWay>);

#[derive(Default, Debug)]
struct UnderWay {
    of: HashMap<Counted, Vec<Creation>>,
    next: u64,
}

#[derive(Debug)]
struct Creation {
    number: u64,
    ids: Vec<Box<str>>,
}

impl Creations {
    /// Notes subscriptions that are about to be created. Returns a number, and the ids of those that were noted before.
    pub(super) fn begin(&self, counted: &Counted, ids: &[Box<str>]) -> (u64, Vec<Box<str>>) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = under_way.next;
        under_way.next += 1;
        let all = under_way.of.entry(counted.clone()).or_default();
        let before = all.iter().flat_map(|one| one.ids.iter().cloned()).collect();
        let ids = ids.to_vec();
        all.push(Creation { number, ids });
        (number, before)
    }

    /// Notes that only these of them will be created.
    pub(super) fn keep(&self, counted: &Counted, number: u64, ids: Vec<Box<str>>) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = under_way.of.get_mut(counted);
        let mut all = all.into_iter().flatten();
        if let Some(one) = all.find(|one| one.number == number) {
            one.ids = ids;
        }
    }

    pub(super) fn end(&self, counted: &Counted, number: u64) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = under_way.of.get_mut(counted) {
            all.retain(|one| one.number != number);
            if all.is_empty() {
                under_way.of.remove(counted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_under_way_are_seen_until_they_end() {
        let creations = Creations::default();
        let of = |name: &str| Counted::Tenant(name.into());
        let ids = |ids: &[&str]| ids.iter().map(|id| Box::from(*id)).collect::<Vec<_>>();
        let (first, before) = creations.begin(&of("a"), &ids(&["1", "2"]));
        assert!(before.is_empty());
        assert!(creations.begin(&of("b"), &ids(&["3"])).1.is_empty());
        let (second, before) = creations.begin(&of("a"), &ids(&["4"]));
        assert_eq!(before, ids(&["1", "2"]));
        creations.keep(&of("a"), first, ids(&["2"]));
        let (third, before) = creations.begin(&of("a"), &[]);
        assert_eq!(before, ids(&["2", "4"]));
        creations.end(&of("a"), third);
        creations.end(&of("a"), first);
        assert_eq!(creations.begin(&of("a"), &[]).1, ids(&["4"]));
        creations.end(&of("a"), second);
        assert!(creations.begin(&of("a"), &[]).1.is_empty());
    }
}
