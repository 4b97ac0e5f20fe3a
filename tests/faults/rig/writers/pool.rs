//! The subscriptions that clients may choose from.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{RngExt as _, rngs::StdRng};

/// A subscription that clients may choose.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) id: String,
    /// It never changes: fit for clients that are not told of changes.
    pub(crate) stable: bool,
}

/// The subscriptions that are there, as far as is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Offers>>);

#[derive(Debug, Default)]
struct Offers {
    all: Vec<Offer>,
    /// The one that all ticks match.
    ticks: Option<String>,
}

impl Pool {
    fn with<T>(&self, f: impl FnOnce(&mut Offers) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Any of them.
    pub(crate) fn choose(&self, random: &mut StdRng, stable: bool) -> Option<String> {
        self.with(|offers| {
            let fit: Vec<_> = offers.all.iter().filter(|o| o.stable || !stable).collect();
            let chosen = (!fit.is_empty()).then(|| fit[random.random_range(0..fit.len())]);
            chosen.map(|offer| offer.id.clone())
        })
    }

    /// The one that all ticks match.
    pub(crate) fn ticks(&self) -> Option<String> {
        self.with(|offers| offers.ticks.clone())
    }

    pub(crate) fn set_ticks(&self, id: String) {
        self.with(|offers| offers.ticks = Some(id));
    }

    /// Nobody should choose this one any more.
    pub(crate) fn withdraw(&self, id: &str) {
        self.with(|offers| {
            offers.all.retain(|offer| offer.id != id);
            offers.ticks.take_if(|ticks| ticks == id);
        });
    }

    pub(super) fn offer(&self, offer: Offer) {
        self.with(|offers| offers.all.push(offer));
    }
}
