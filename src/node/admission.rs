//! Admission of TCP connections: permits for so many in all, and from one address.
//!
//! Each connection costs a descriptor, and a process has only so many. Without a free one, the node could
//! accept neither a liveness probe nor a connection to the database. So there are fewer permits than
//! descriptors.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};
use tokio::task::{AbortHandle, JoinHandle};

use crate::{
    carrier::{AddressPermits, TcpPermit},
    config::Limits,
    http::{Proxies, counted_address},
    telemetry::Metrics,
};

/// Descriptors for everything else, above all connections to the database.
const RESERVED_DESCRIPTORS: usize = 256;
/// Connections without a permit that get an answer at the same time.
const MOST_REFUSALS: usize = 64;
/// An upper bound for the permits: more connections do not fit into memory.
const MOST_PERMITS: usize = 1 << 20;
/// Time between two log lines about refused clients.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses that are kept without a permit, before they are forgotten.
const IDLE_ADDRESSES: usize = 1_024;

/// The limit that a connection hits.
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

    /// Returns the setting that says how many there may be.
    const fn limit(self) -> &'static str {
        match self {
            Self::Node => "tcp_connections",
            Self::Address => "tcp_connections_per_address",
        }
    }
}

/// The numbers of permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PermitCounts {
    all: usize,
    per_address: usize,
    /// Connections without a permit that get an answer.
    refusals: usize,
}

impl PermitCounts {
    /// Takes the settings, as far as the descriptors go.
    fn new(limits: &Limits, descriptors: usize) -> Self {
        let refusals = MOST_REFUSALS.min(descriptors / 8);
        let possible = descriptors.saturating_sub(RESERVED_DESCRIPTORS + refusals);
        let possible = possible.max(descriptors / 8).clamp(1, MOST_PERMITS);
        let all = match limits.tcp_connections {
            0 => possible,
            wished => wished.min(possible),
        };
        let per_address = match limits.tcp_connections_per_address {
            // All clients may come through one proxy. One client must leave something for others.
            0 => (all - all / 8).max(1),
            wished => wished.min(all),
        };
        Self {
            all,
            per_address,
            refusals,
        }
    }
}

/// The permits of a node. Only the accept loop hands them out.
#[derive(Debug)]
pub(super) struct Admission {
    permits: PermitCounts,
    addresses: HashMap<IpAddr, Arc<AddressPermits>>,
    /// Peers with the clients of many addresses behind them.
    proxies: Arc<Proxies>,
    /// Tasks that answer connections without a permit, the oldest first.
    refusals: VecDeque<AbortHandle>,
    turned_away: u64,
    last_logged: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// Begins with all permits free.
    pub(super) fn new(limits: &Limits, proxies: Arc<Proxies>, metrics: Arc<Metrics>) -> Self {
        let descriptors = descriptors();
        let permits = PermitCounts::new(limits, descriptors);
        let PermitCounts {
            all, per_address, ..
        } = permits;
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
            per_address,
            "limits on TCP connections"
        );
        Self {
            permits,
            addresses: HashMap::new(),
            proxies,
            refusals: VecDeque::new(),
            turned_away: 0,
            last_logged: None,
            metrics,
        }
    }

    /// Takes a permit for a connection from this address. The share of one address is not asked of a trusted proxy.
    pub(super) fn admit(&mut self, address: IpAddr) -> Result<TcpPermit, Full> {
        self.forget();
        if self.taken() >= self.permits.all {
            return Err(Full::Node);
        }
        let metrics = &self.metrics;
        let own = self.addresses.entry(counted_address(address));
        let own = own.or_insert_with(|| AddressPermits::new(Arc::clone(metrics)));
        if own.taken() >= self.permits.per_address && !self.proxies.trust(address) {
            return Err(Full::Address);
        }
        Ok(own.take())
    }

    /// Returns the permits in use. The gauge counts them, and nothing else moves it.
    fn taken(&self) -> usize {
        usize::try_from(self.metrics.http.tcp_connections.get()).unwrap_or(0)
    }

    /// Keeps a connection without a permit while it gets an answer. Only so many of the newest are kept: a client
    /// with a request sends it at once, and a silent one makes room.
    pub(super) fn turn_away<T>(&mut self, full: Full, serving: &JoinHandle<T>) {
        self.refusals.retain(|task| !task.is_finished());
        if self.refusals.len() >= self.permits.refusals.max(1)
            && let Some(oldest) = self.refusals.pop_front()
        {
            oldest.abort();
        }
        self.refusals.push_back(serving.abort_handle());
        self.metrics.http.tcp_connection_refused(full.name());
        self.metrics.access.limited(full.limit());
        self.turned_away += 1;
        if self
            .last_logged
            .is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
        {
            let (full, count) = (full.name(), std::mem::take(&mut self.turned_away));
            tracing::warn!(
                full,
                count,
                "turning TCP connections away: the limit is reached"
            );
            self.last_logged = Some(Instant::now());
        }
    }

    /// Forgets addresses that have no permit.
    fn forget(&mut self) {
        if self.addresses.len() > 2 * self.taken() + IDLE_ADDRESSES {
            self.addresses.retain(|_, permits| permits.taken() > 0);
        }
    }
}

/// Returns the number of descriptors that this process may have.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn limits(all: usize, per_address: usize) -> Limits {
        Limits {
            tcp_connections: all,
            tcp_connections_per_address: per_address,
            ..Limits::default()
        }
    }

    fn proxies() -> Arc<Proxies> {
        Arc::new(Proxies::new(&config::Proxy {
            trusted: vec!["10.9.0.0/16".to_owned()],
            ..config::Proxy::default()
        }))
    }

    #[test]
    fn there_are_fewer_permits_than_descriptors() {
        for (wished, descriptors, all, per_address) in [
            ((0, 0), 20_000, 19_680, 17_220),
            ((0, 0), 1_024, 704, 616),
            ((0, 0), 100, 12, 11),
            ((0, 0), 1, 1, 1),
            (
                (0, 0),
                usize::MAX,
                MOST_PERMITS,
                MOST_PERMITS - MOST_PERMITS / 8,
            ),
            ((500, 0), 1_024, 500, 438),
            ((500, 10), 1_024, 500, 10),
            ((5_000, 5_000), 1_024, 704, 704),
        ] {
            let permits = PermitCounts::new(&limits(wished.0, wished.1), descriptors);
            assert_eq!(
                (permits.all, permits.per_address),
                (all, per_address),
                "{wished:?} {descriptors}"
            );
            assert!(all + permits.refusals <= descriptors, "{permits:?}");
        }
    }

    #[test]
    fn a_permit_is_free_again_when_it_is_dropped() {
        let metrics = Arc::new(Metrics::default());
        let mut admission = Admission::new(&limits(3, 2), proxies(), Arc::clone(&metrics));
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
    fn a_trusted_proxy_may_take_all_permits() {
        let mut admission = Admission::new(&limits(3, 1), proxies(), Arc::default());
        let proxy: IpAddr = "::ffff:10.9.8.7".parse().unwrap();
        let _taken = [0, 1, 2].map(|_| admission.admit(proxy).unwrap());
        assert_eq!(admission.admit(proxy).unwrap_err(), Full::Node);
    }

    #[test]
    fn addresses_without_a_permit_are_forgotten() {
        let mut admission = Admission::new(&limits(10, 0), proxies(), Arc::default());
        let _kept = admission.admit([10, 0, 0, 1].into()).unwrap();
        for n in 0..10_000_u32 {
            drop(admission.admit(IpAddr::V4(n.into())).unwrap());
        }
        assert!(admission.addresses.len() <= IDLE_ADDRESSES + 20);
        assert!(admission.addresses.contains_key(&[10, 0, 0, 1].into()));
    }

    #[tokio::test]
    async fn of_connections_without_a_permit_the_newest_get_an_answer() {
        let mut admission = Admission::new(&limits(1, 1), proxies(), Arc::default());
        let refusals = admission.permits.refusals;
        let spawn = || tokio::spawn(std::future::pending::<()>());
        let waiting: Vec<_> = (0..=refusals).map(|_| spawn()).collect();
        for task in &waiting {
            admission.turn_away(Full::Node, task);
        }
        let mut waiting = waiting.into_iter();
        assert!(waiting.next().unwrap().await.unwrap_err().is_cancelled());
        assert!(waiting.all(|task| !task.is_finished()));
    }
}
