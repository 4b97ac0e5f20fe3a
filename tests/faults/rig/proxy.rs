//! A TCP proxy that misbehaves when it is told to.
//!
//! Nothing on crates.io does this inside a test and is kept up: `noxious` is a server of its own, last
//! released years ago, and knows neither half-open connections nor a reset of those that are open.

mod pump;

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Cuts that a connection may still have to notice; one that misses some is cut all the same.
const CUTS_WAITING: usize = 16;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Flow {
    /// They pass.
    #[default]
    Free,
    /// They pass after a while.
    Delayed(Duration),
    /// No more than so many pass in a second.
    Throttled(u32),
    /// None passes. Those that were sent meanwhile come through when it is over, as TCP has it.
    Held,
}

/// Both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Weather {
    /// From the one who dialled to the one who was dialled.
    pub(crate) up: Flow,
    /// The answers.
    pub(crate) down: Flow,
}

impl Weather {
    /// The same in both directions.
    pub(crate) const fn both(flow: Flow) -> Self {
        Self {
            up: flow,
            down: flow,
        }
    }
}

/// What happens to all connections that are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// Both ends get a reset.
    Both,
    /// The one who was dialled gets a reset; the one who dialled hears nothing, ever.
    TargetOnly,
    /// The other way round.
    CallerOnly,
    /// None that is whole; but what is half open gets its reset, as if the lost machine were back.
    HalfOpen,
}

/// A listening proxy. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    cuts: broadcast::Sender<Cut>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What each connection is given.
#[derive(Clone, Debug)]
struct Link {
    target: SocketAddr,
    /// The last octet that stands in place of the 1 where the target speaks of `127.0.0.1`.
    alias: Option<u8>,
    weather: watch::Receiver<Weather>,
    stop: CancellationToken,
}

impl Proxy {
    /// Passes connections on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), target, None).await
    }

    /// Passes connections to `127.0.0.ALIAS` on to the same port of 127.0.0.1, and puts the one for
    /// the other in what comes back. A member of a replica set tells its clients where all members
    /// are; so they stay with the proxies, while the members themselves talk past them.
    pub(crate) async fn alias(alias: u8, target: SocketAddr) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, alias], target.port()));
        Self::listen(address, target, Some(alias)).await
    }

    async fn listen(at: SocketAddr, target: SocketAddr, alias: Option<u8>) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let (weather, watched) = watch::channel(Weather::default());
        let (cuts, _) = broadcast::channel(CUTS_WAITING);
        let proxy = Self {
            address: listener.local_addr()?,
            weather,
            cuts,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let link = Link {
            target,
            alias,
            weather: watched,
            stop: proxy.stop.clone(),
        };
        let accepting = accept(listener, link, proxy.cuts.clone(), proxy.tasks.clone());
        let stop = proxy.stop.clone();
        proxy.tasks.spawn(stop.run_until_cancelled_owned(accepting));
        Ok(proxy)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to bytes from now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Cuts all connections that are open.
    pub(crate) fn cut(&self, cut: Cut) {
        // Nobody hears it where none is open.
        drop(self.cuts.send(cut));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    link: Link,
    cuts: broadcast::Sender<Cut>,
    tasks: TaskTracker,
) {
    loop {
        match listener.accept().await {
            Ok((caller, _)) => {
                tasks.spawn(link.clone().serve(caller, cuts.subscribe()));
            }
            // Out of descriptors, or the caller is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Link {
    async fn serve(self, mut caller: TcpStream, mut cuts: broadcast::Receiver<Cut>) {
        let Ok(mut target) = TcpStream::connect(self.target).await else {
            return reset(caller);
        };
        for end in [&caller, &target] {
            if end.set_nodelay(true).is_err() {
                return;
            }
        }
        let cut = tokio::select! {
            () = pump::both(&mut caller, &mut target, self.weather, self.alias) => return,
            () = self.stop.cancelled() => return,
            cut = next_cut(&mut cuts) => cut,
        };
        let silent = match cut {
            Cut::TargetOnly => {
                reset(target);
                caller
            }
            Cut::CallerOnly => {
                reset(caller);
                target
            }
            Cut::Both | Cut::HalfOpen => {
                reset(caller);
                return reset(target);
            }
        };
        // Nothing is read from it and nothing is written, as if the other end had lost its power.
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = cuts.recv() => {}
        }
        reset(silent);
    }
}

/// The next cut of connections that are whole.
async fn next_cut(cuts: &mut broadcast::Receiver<Cut>) -> Cut {
    loop {
        match cuts.recv().await {
            Ok(Cut::HalfOpen) => {}
            Ok(cut) => return cut,
            // There were more cuts than can wait, or there is no proxy any more.
            Err(_) => return Cut::Both,
        }
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    // It fails on a socket that is dead already.
    drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
    drop(stream);
}
