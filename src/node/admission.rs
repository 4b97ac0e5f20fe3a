//! How many TCP connections a node takes, in all and from one address.
//!
//! Each costs a descriptor, and a process has only so many. Where they are all taken, nothing can be accepted
//! any more, neither the question whether this node lives nor a connection to the database. So there are fewer
//! places than descriptors.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};
use tokio::task::{AbortHandle, JoinHandle};

use crate::{
    carrier::{AddressPermits, TcpPermit},
    config::Limits,
    telemetry::Metrics,
};

/// Descriptors for everything else: connections to the database, above all.
const OTHERS: usize = 256;
/// Connections beyond the places that are heard all the same.
const ROOM: usize = 64;
/// Nobody has more memory than this.
const MOST: usize = 1 << 20;
/// How often the log tells that clients are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Addresses without a place are forgotten when there are so many more than places.
const SLACK: usize = 1_024;

/// Whose places are all taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    Node,
    Address,
}

impl Full {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Address => "address",
        }
    }
}

/// How many there are of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Numbers {
    all: usize,
    of_address: usize,
    room: usize,
}

impl Numbers {
    /// What the settings say, as far as the descriptors go.
    fn new(limits: &Limits, descriptors: usize) -> Self {
        let room = ROOM.min(descriptors / 8);
        let possible = descriptors.saturating_sub(OTHERS + room);
        let possible = possible.max(descriptors / 8).clamp(1, MOST);
        let all = match limits.tcp_connections {
            0 => possible,
            wished => wished.min(possible),
        };
        let of_address = match limits.tcp_connections_per_address {
            // One proxy may stand before all clients; one client leaves something for others.
            0 => (all - all / 8).max(1),
            wished => wished.min(all),
        };
        Self {
            all,
            of_address,
            room,
        }
    }
}

/// The places of a node. The accept loop alone gives them away.
#[derive(Debug)]
pub(super) struct Admission {
    numbers: Numbers,
    of_address: HashMap<IpAddr, Arc<AddressPermits>>,
    /// Those beyond the places, oldest first.
    room: VecDeque<AbortHandle>,
    turned_away: u64,
    told: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// All of them free.
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let descriptors = descriptors();
        let numbers = Numbers::new(limits, descriptors);
        let Numbers {
            all, of_address, ..
        } = numbers;
        if limits.tcp_connections > all {
            tracing::warn!(
                descriptors,
                taken = all,
                "limits.tcp_connections is more than the file descriptors allow"
            );
        }
        tracing::info!(
            descriptors,
            tcp_connections = all,
            per_address = of_address,
            "limits on TCP connections"
        );
        Self {
            numbers,
            of_address: HashMap::new(),
            room: VecDeque::new(),
            turned_away: 0,
            told: None,
            metrics,
        }
    }

    /// Takes a place for a connection from this address.
    pub(super) fn admit(&mut self, address: IpAddr) -> Result<TcpPermit, Full> {
        self.forget();
        if self.taken() >= self.numbers.all {
            return Err(Full::Node);
        }
        let metrics = &self.metrics;
        let own = self.of_address.entry(network(address));
        let own = own.or_insert_with(|| AddressPermits::new(Arc::clone(metrics)));
        if own.taken() >= self.numbers.of_address {
            return Err(Full::Address);
        }
        Ok(own.take())
    }

    /// The gauge is the count: nobody else moves it.
    fn taken(&self) -> usize {
        usize::try_from(self.metrics.http.tcp_connections.get()).unwrap_or(0)
    }

    /// Keeps a connection for which there was no place while it is answered: so many of the newest. Who has
    /// something to ask does so at once; who says nothing makes room.
    pub(super) fn turn_away<T>(&mut self, full: Full, serving: &JoinHandle<T>) {
        self.room.retain(|task| !task.is_finished());
        if self.room.len() >= self.numbers.room.max(1)
            && let Some(oldest) = self.room.pop_front()
        {
            oldest.abort();
        }
        self.room.push_back(serving.abort_handle());
        self.metrics.http.tcp_connection_refused(full.name());
        self.turned_away += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let (full, count) = (full.name(), std::mem::take(&mut self.turned_away));
            tracing::warn!(full, count, "turning TCP connections away: no slot is left");
            self.told = Some(Instant::now());
        }
    }

    /// Forgets addresses that have no place.
    fn forget(&mut self) {
        if self.of_address.len() > 2 * self.taken() + SLACK {
            self.of_address.retain(|_, places| places.taken() > 0);
        }
    }
}

/// How many descriptors this process may have.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// What counts as one address: of IPv6 the network, of which a single host has all addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize, of_address: usize) -> Limits {
        Limits {
            tcp_connections: all,
            tcp_connections_per_address: of_address,
            ..Limits::default()
        }
    }

    #[test]
    fn there_are_fewer_places_than_descriptors() {
        for (wished, descriptors, all, of_address) in [
            ((0, 0), 20_000, 19_680, 17_220),
            ((0, 0), 1_024, 704, 616),
            ((0, 0), 100, 12, 11),
            ((0, 0), 1, 1, 1),
            ((0, 0), usize::MAX, MOST, MOST - MOST / 8),
            ((500, 0), 1_024, 500, 438),
            ((500, 10), 1_024, 500, 10),
            ((5_000, 5_000), 1_024, 704, 704),
        ] {
            let numbers = Numbers::new(&limits(wished.0, wished.1), descriptors);
            assert_eq!(
                (numbers.all, numbers.of_address),
                (all, of_address),
                "{wished:?} {descriptors}"
            );
            assert!(all + numbers.room <= descriptors, "{numbers:?}");
        }
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let metrics = Arc::new(Metrics::default());
        let mut admission = Admission::new(&limits(3, 2), Arc::clone(&metrics));
        let [one, other, third]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| address.parse().unwrap());
        let first = admission.admit(one).unwrap();
        let _second = admission.admit(one).unwrap();
        assert_eq!(admission.admit(one).unwrap_err(), Full::Address);
        let _third = admission.admit(other).unwrap();
        assert_eq!(admission.admit(third).unwrap_err(), Full::Node);
        assert_eq!(metrics.http.tcp_connections.get(), 3);
        drop(first);
        assert_eq!(metrics.http.tcp_connections.get(), 2);
        admission.admit(third).unwrap();
        admission.admit(one).unwrap();
    }

    #[test]
    fn addresses_without_a_place_are_forgotten() {
        let mut admission = Admission::new(&limits(10, 0), Arc::default());
        let _kept = admission.admit([10, 0, 0, 1].into()).unwrap();
        for n in 0..10_000_u32 {
            drop(admission.admit(IpAddr::V4(n.into())).unwrap());
        }
        assert!(admission.of_address.len() <= SLACK + 20);
        assert!(admission.of_address.contains_key(&[10, 0, 0, 1].into()));
    }

    #[test]
    fn one_host_is_one_address() {
        for (address, counts_as) in [
            ("10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let counted = network(address.parse().unwrap());
            assert_eq!(counted, counts_as.parse::<IpAddr>().unwrap());
        }
    }

    #[tokio::test]
    async fn of_those_beyond_the_places_the_newest_are_heard() {
        let mut admission = Admission::new(&limits(1, 1), Arc::default());
        let room = admission.numbers.room;
        let spawn = || tokio::spawn(std::future::pending::<()>());
        let waiting: Vec<_> = (0..=room).map(|_| spawn()).collect();
        for task in &waiting {
            admission.turn_away(Full::Node, task);
        }
        let mut waiting = waiting.into_iter();
        assert!(waiting.next().unwrap().await.unwrap_err().is_cancelled());
        assert!(waiting.all(|task| !task.is_finished()));
    }
}
