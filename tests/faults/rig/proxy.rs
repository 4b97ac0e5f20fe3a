//! A TCP proxy that misbehaves on demand.
//!
//! Nothing on crates.io does this inside a test and is maintained: `noxious` is a server of its own, last released
//! years ago, and knows neither half-open connections nor a reset of open ones.

mod pump;

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The cuts that a connection may still have to notice. One that misses some is cut all the same.
const CUTS_WAITING: usize = 16;

/// The treatment of the bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Flow {
    /// They pass.
    #[default]
    Free,
    /// They pass after a while.
    Delayed(Duration),
    /// At most this many pass in a second.
    Throttled(u32),
    /// None passes. Bytes that were sent meanwhile come through at the end, as TCP has it.
    Held,
}

/// The weather in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Weather {
    /// From the one who dialled to the one who was dialled.
    pub(crate) up: Flow,
    /// The answers.
    pub(crate) down: Flow,
}

impl Weather {
    /// Makes the same weather in both directions.
    pub(crate) const fn both(flow: Flow) -> Self {
        Self {
            up: flow,
            down: flow,
        }
    }
}

/// The treatment of all open connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// Both ends get a reset.
    Both,
    /// The one who was dialled gets a reset. The one who dialled hears nothing, ever.
    TargetOnly,
    /// The other way round.
    CallerOnly,
    /// Whole connections stay. Half-open ones get their reset, as if the lost machine were back.
    HalfOpen,
}

/// A listening proxy. When it is dropped, the listener and every connection close.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    cuts: broadcast::Sender<Cut>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The setting of a connection.
#[derive(Clone, Debug)]
struct Link {
    target: SocketAddr,
    /// The last octet that replaces the 1 where the target speaks of `127.0.0.1`.
    alias: Option<u8>,
    weather: watch::Receiver<Weather>,
    stop: CancellationToken,
}

impl Proxy {
    /// Starts a proxy that passes connections on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), target, None).await
    }

    /// Starts a proxy that passes connections from `127.0.0.ALIAS` to the same port of 127.0.0.1, and replaces the
    /// latter with the former in the answers. A member of a replica set tells its clients the addresses of all members.
    /// So the clients stay with the proxies, while the members talk past them.
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

    /// Returns the proxy's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather from now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Cuts all open connections.
    pub(crate) fn cut(&self, cut: Cut) {
        // Without a connection nobody receives this.
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
        // Nothing is read and nothing is written, as if the other end had lost its power.
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = cuts.recv() => {}
        }
        reset(silent);
    }
}

/// Waits for the next cut of whole connections.
async fn next_cut(cuts: &mut broadcast::Receiver<Cut>) -> Cut {
    loop {
        match cuts.recv().await {
            Ok(Cut::HalfOpen) => {}
            Ok(cut) => return cut,
            // There were more cuts than can wait, or the proxy is gone.
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
