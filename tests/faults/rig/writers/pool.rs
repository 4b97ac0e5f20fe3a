//! The subscriptions that clients may choose from.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt as _, rngs::StdRng};

/// A subscription that clients may choose.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) id: String,
    /// True if it never changes, so that it is fit for clients that are not told of changes.
    pub(crate) stable: bool,
}

/// The subscriptions that exist, as far as is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Offers>>);

#[derive(Debug, Default)]
struct Offers {
    all: Vec<Offer>,
    /// The permanent subscriptions, by their purpose.
    standing: BTreeMap<String, String>,
}

impl Pool {
    fn with<T>(&self, f: impl FnOnce(&mut Offers) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Chooses any of them.
    pub(crate) fn choose(&self, random: &mut StdRng, stable: bool) -> Option<String> {
        self.with(|offers| {
            let fit: Vec<_> = offers.all.iter().filter(|o| o.stable || !stable).collect();
            let chosen = (!fit.is_empty()).then(|| fit[random.random_range(0..fit.len())]);
            chosen.map(|offer| offer.id.clone())
        })
    }

    /// Returns the permanent subscription for a purpose, if it exists.
    pub(crate) fn standing(&self, name: &str) -> Option<String> {
        self.with(|offers| offers.standing.get(name).cloned())
    }

    pub(crate) fn set_standing(&self, name: &str, id: String) {
        self.with(|offers| offers.standing.insert(name.to_owned(), id));
    }

    /// Takes a subscription out of the choice.
    pub(crate) fn withdraw(&self, id: &str) {
        self.with(|offers| {
            offers.all.retain(|offer| offer.id != id);
            offers.standing.retain(|_, standing| standing != id);
        });
    }

    pub(super) fn offer(&self, offer: Offer) {
        self.with(|offers| offers.all.push(offer));
    }
}
