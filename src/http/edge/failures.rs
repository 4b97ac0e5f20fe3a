//! The bound on credentials that do not stand, from one address.
//!
//! It counts against addresses and never against a key: nobody can lock others out by presenting their key wrongly. Requests
//! from loopback are not counted. They come from a process of this machine, which could do worse, or from a proxy on it
//! that is not trusted, and then are everybody's.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::DefaultClock,
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};

use super::client_address::{ClientAddress, counted_address};

/// The most addresses that are remembered. Beyond it, the one that failed first is forgotten.
const MOST_ADDRESSES: usize = 10_000;
const MINUTE: Duration = Duration::from_mins(1);

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// The addresses from which credentials were presented that do not stand.
#[derive(Debug)]
pub(crate) struct Failures {
    /// `None`: there may be any number.
    per_minute: Option<NonZeroU32>,
    addresses: Mutex<Addresses>,
}

#[derive(Default, Debug)]
struct Addresses {
    known: HashMap<IpAddr, Address>,
    /// The same addresses, in the order in which they came.
    order: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Address {
    failures: Limiter,
    /// Nothing is looked at until then.
    blocked_until: Option<Instant>,
}

impl Failures {
    /// Returns the bound of so many in a minute, 0 being none.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: NonZeroU32::new(per_minute),
            addresses: Mutex::default(),
        }
    }

    /// Returns the time for which no credential from the client's address is looked at; `None` if one is.
    pub(super) fn blocked(&self, client: Option<ClientAddress>) -> Option<Duration> {
        let address = counted(client)?;
        let addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let until = addresses.known.get(&address)?.blocked_until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Notes that a credential from the client's address does not stand.
    pub(super) fn note(&self, client: Option<ClientAddress>) {
        let (Some(per_minute), Some(address)) = (self.per_minute, counted(client)) else {
            return;
        };
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = addresses.find(address, per_minute);
        let left = known.failures.check();
        if left.map_or(0, |state| state.remaining_burst_capacity()) == 0 {
            known.blocked_until = Some(Instant::now() + MINUTE / per_minute.get());
        }
    }
}

impl Addresses {
    /// Returns an address, which has not failed yet if it is not known.
    fn find(&mut self, address: IpAddr, per_minute: NonZeroU32) -> &mut Address {
        if !self.known.contains_key(&address) {
            if self.order.len() >= MOST_ADDRESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(address);
        }
        self.known.entry(address).or_insert_with(|| Address {
            failures: RateLimiter::direct(Quota::per_minute(per_minute)).with_middleware(),
            blocked_until: None,
        })
    }
}

/// Returns the address that counts; `None` if it does not count.
fn counted(client: Option<ClientAddress>) -> Option<IpAddr> {
    let ip = client?.ip();
    (!ip.is_loopback()).then(|| counted_address(ip))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as requests have it")]
    fn client(ip: impl Into<IpAddr>) -> Option<ClientAddress> {
        Some(SocketAddr::new(ip.into(), 1).into())
    }

    #[test]
    fn so_many_failures_block_an_address_and_no_other() {
        let failures = Failures::new(3);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(client);
        for _ in 0..3 {
            assert_eq!(failures.blocked(one), None);
            failures.note(one);
        }
        let left = failures.blocked(one).unwrap();
        assert!(left <= MINUTE / 3, "{left:?}");
        assert_eq!(failures.blocked(other), None);
        // Blocked ones do not fill the table again and again.
        failures.note(one);
        assert_eq!(failures.addresses.lock().unwrap().order.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_loopback_none() {
        let failures = Failures::new(1);
        let ip = |text: &str| client(text.parse::<IpAddr>().unwrap());
        failures.note(ip("2001:db8::1"));
        assert!(failures.blocked(ip("2001:db8::ffff:2")).is_some());
        assert!(failures.blocked(ip("2001:db8:0:1::1")).is_none());
        for local in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            failures.note(ip(local));
            assert!(failures.blocked(ip(local)).is_none(), "{local}");
        }
        failures.note(None);
        let none = Failures::new(0);
        none.note(ip("192.0.2.1"));
        assert!(none.blocked(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let failures = Failures::new(1);
        let most = u32::try_from(MOST_ADDRESSES).unwrap();
        let nth = |n: u32| client(Ipv4Addr::from_bits(0x0A00_0000 + n));
        for n in 0..=most {
            failures.note(nth(n));
        }
        assert!(failures.blocked(nth(0)).is_none());
        assert!(failures.blocked(nth(1)).is_some());
        assert!(failures.blocked(nth(most)).is_some());
        assert_eq!(
            failures.addresses.lock().unwrap().known.len(),
            MOST_ADDRESSES
        );
    }
}
